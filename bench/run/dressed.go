package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"

	"logferry/bench/gen"
)

// dressed makes one file of the generator's lines, each written by wrap, which
// appends what stands in the file for line n (without its newline) to dst.
func (b *bench) dressed(wrap func(dst []byte, n int64, line []byte) []byte) func(root string) (*dataset, error) {
	return func(root string) (*dataset, error) {
		dir := filepath.Join(root, "topic-0")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		size, err := writeFile(filepath.Join(dir, "dressed.log"), func(w io.Writer) error {
			lines := gen.New(1, seed)
			var line, out []byte
			for n := range b.opt.scaleLines {
				line = lines.Append(line[:0], uint64(n))
				out = wrap(out, n, bytes.TrimSuffix(line, []byte("\n")))
				if len(out) < 1<<16 && n+1 < b.opt.scaleLines {
					continue
				}
				if _, err := w.Write(out); err != nil {
					return err
				}
				out = out[:0]
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return &dataset{dirs: []string{dir}, lines: []int64{b.opt.scaleLines}, bytes: size}, nil
	}
}

// plainLine is the line itself, for records that are not what stands in the file
// and so cannot be verified line by line.
func plainLine(dst []byte, _ int64, line []byte) []byte { return append(append(dst, line...), '\n') }

const criStamp = "2025-10-10T13:55:36.123456789Z stdout "

// criLine is a line of a container as containerd writes it.
func criLine(dst []byte, _ int64, line []byte) []byte {
	return append(append(append(dst, criStamp+"F "...), line...), '\n')
}

// criParts is the same with every second line in two parts.
func criParts(dst []byte, n int64, line []byte) []byte {
	if n%2 == 0 {
		return criLine(dst, n, line)
	}
	half := len(line) / 2
	dst = append(append(append(dst, criStamp+"P "...), line[:half]...), '\n')
	return criLine(dst, n, line[half:])
}

// dockerLine is a line of a container as Docker's json-file writes it.
func dockerLine(dst []byte, _ int64, line []byte) []byte {
	text, _ := json.Marshal(string(line) + "\n")
	dst = append(append(dst, `{"log":`...), text...)
	return append(dst, `,"stream":"stdout","time":"2025-10-10T13:55:36.123456789Z"}`+"\n"...)
}

// jsonLine is a line of a program that logs JSON.
func jsonLine(dst []byte, n int64, line []byte) []byte {
	text, _ := json.Marshal(string(line))
	dst = append(append(dst, `{"level":"info","user":"u`...), byte('0'+n%8))
	return append(append(append(dst, `","message":`...), text...), "}\n"...)
}

// traced is a log in which every tenth record is a stack trace of eight lines more.
func traced(dst []byte, n int64, line []byte) []byte {
	dst = append(append(append(dst, "2025-10-10 13:55:36,123 INFO "...), line...), '\n')
	if n%10 != 0 {
		return dst
	}
	dst = append(dst, "java.lang.IllegalStateException: the shop is closed\n"...)
	for range 7 {
		dst = append(dst, "\tat com.example.shop.Checkout.confirm(Checkout.java:118)\n"...)
	}
	return dst
}
