package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// suggest names the known word that the operator most likely meant, or all of
// them when none is near.
func suggest(word string, known []string, otherwise string) string {
	best, bestDistance := "", 3
	for _, k := range known {
		d := distance(strings.ToLower(word), k)
		if d < bestDistance && d*2 <= len(k) {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return otherwise + " " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// distance counts the letters to insert, delete, replace or swap with their
// neighbour (optimal string alignment) to make b of a.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}

// plainEscapes rewrites the two escapes of a JSON text that the YAML decoder
// refuses, \/ and surrogate pairs, as the characters that they stand for. Other texts,
// and all line numbers, stay as they are.
func plainEscapes(data []byte) []byte {
	isObject := bytes.HasPrefix(bytes.TrimLeftFunc(data, unicode.IsSpace), []byte("{"))
	if !isObject || !bytes.ContainsRune(data, '\\') || !json.Valid(data) {
		return data
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		if data[i] != '\\' {
			out = append(out, data[i])
			i++
			continue
		}
		if r := utf16.DecodeRune(escaped(data[i:]), escaped(data[min(i+6, len(data)):])); r != utf8.RuneError {
			out = utf8.AppendRune(out, r)
			i += 12
			continue
		}
		if data[i+1] != '/' {
			out = append(out, '\\')
		}
		out = append(out, data[i+1])
		i += 2
	}
	return out
}

// escaped reads the \uXXXX at the start of data; -1 if there is none.
func escaped(data []byte) rune {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
