package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Widths and paces of what is shown.
const (
	clockWidth   = 8
	labelWidth   = 8
	plainWidth   = 110                    // of a line where there is no terminal
	recordEvery  = 500 * time.Millisecond // between two arriving lines of the sample logs that are shown
	ownEvery     = 50 * time.Millisecond  // the same of lines that the user wrote
	redrawEvery  = 500 * time.Millisecond // of the status line on a terminal
	statusEvery  = 5 * time.Second        // between status lines elsewhere
	defaultWidth = 100
)

// Colours, as SGR parameters.
const (
	dim    = "2"
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// show writes the story: one aligned line for each thing that happens, some of
// the lines that arrive, and on a terminal a status line that stays at the
// bottom. It may be used from any goroutine.
type show struct {
	out      io.Writer
	began    time.Time
	terminal bool
	width    func() int
	root     string // cut off file names

	mu         sync.Mutex
	records    bool         // arriving lines are shown
	lastRecord [2]time.Time // of the sample logs, and the user's
	status     string       // stands at the bottom of the terminal
	lastStatus time.Time
}

func newShow(out io.Writer, root string) *show {
	s := &show{out: out, began: time.Now(), root: root, width: func() int { return plainWidth }}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return s
	}
	s.terminal = true
	s.width = func() int {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
		return defaultWidth
	}
	return s
}

// step tells one thing that happened.
func (s *show) step(label, format string, args ...any) { s.line(cyan, label, format, args...) }

// good and bad tell how it ended.
func (s *show) good(label, format string, args ...any) { s.line(green, label, format, args...) }
func (s *show) bad(label, format string, args ...any)  { s.line(red, label, format, args...) }

func (s *show) line(colour, label, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.short(fmt.Sprintf(format, args...))
	s.print(s.paint(dim, s.clock()) + "  " + s.paint(colour, pad(label)) + "  " + text)
}

// plain is a step without a time.
func (s *show) plain(label, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print(strings.Repeat(" ", clockWidth+2) + s.paint(bold, pad(label)) + "  " + fmt.Sprintf(format, args...))
}

// table writes rows of a thing and what it is, under one label.
func (s *show) table(label string, rows [][2]string) {
	width := 0
	for _, row := range rows {
		width = max(width, len(row[0]))
	}
	for _, row := range rows {
		s.plain(label, "%s", strings.TrimRight(fmt.Sprintf("%-*s  %s", width, row[0], row[1]), " "))
		label = ""
	}
}

// blank leaves a line free.
func (s *show) blank() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.print("")
}

// record shows an arriving line, if it is some time since the last one. own
// says that the user wrote it.
func (s *show) record(own bool, topic string, partition int32, offset int64, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.records {
		return
	}
	now, kind, every, colour := time.Now(), 0, recordEvery, yellow
	if own {
		kind, every, colour = 1, ownEvery, green
	}
	if now.Sub(s.lastRecord[kind]) < every {
		return
	}
	s.lastRecord[kind] = now
	place := fmt.Sprintf("%s[%d]@%d", topic, partition, offset)
	head := s.clock() + "  " + pad("arrived") + "  " + place + "  "
	text := cut(printable(value), s.width()-utf8.RuneCountInString(head)-1)
	s.print(s.paint(dim, s.clock()) + "  " + s.paint(colour, pad("arrived")) + "  " + place + "  " + s.paint(dim, text))
}

func (s *show) showRecords(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = on
}

// setStatus renews the status line: at the bottom of a terminal, now and then
// as a line of its own elsewhere.
func (s *show) setStatus(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.terminal {
		if now.Sub(s.lastStatus) < redrawEvery {
			return
		}
		s.lastStatus = now
		s.status = s.paint(dim, s.clock()) + "  " + s.paint(bold, pad("status")) + "  " + cut(text, s.width()-22)
		fmt.Fprint(s.out, "\r\x1b[K"+s.status)
		return
	}
	if s.lastStatus.IsZero() {
		s.lastStatus = now
	}
	if now.Sub(s.lastStatus) >= statusEvery {
		s.lastStatus = now
		s.print(s.clock() + "  " + pad("status") + "  " + text)
	}
}

// endStatus takes the status line away.
func (s *show) endStatus() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status != "" {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
	s.status = ""
}

// print needs mu.
func (s *show) print(line string) {
	if s.status == "" {
		fmt.Fprintln(s.out, line)
		return
	}
	fmt.Fprint(s.out, "\r\x1b[K"+line+"\n"+s.status)
}

func (s *show) clock() string {
	return fmt.Sprintf("%*.2fs", clockWidth-1, time.Since(s.began).Seconds())
}

// short writes files relative to the sandbox's directory.
func (s *show) short(text string) string { return strings.ReplaceAll(text, s.root+"/", "") }

func (s *show) paint(colour, text string) string {
	if !s.terminal || os.Getenv("NO_COLOR") != "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func pad(label string) string { return fmt.Sprintf("%-*s", labelWidth, label) }

// printable keeps what a log holds from steering the terminal.
func printable(value []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == utf8.RuneError {
			return '·'
		}
		return r
	}, string(value))
}

func cut(text string, width int) string {
	if width < 1 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// count writes a number with separators: 20,000.
func count[T int | int64 | uint64](n T) string {
	digits := fmt.Sprint(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// ms writes a duration in milliseconds.
func ms(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", d.Seconds()*1000)
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// size writes a number of bytes.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
