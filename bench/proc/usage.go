package proc

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of times in /proc/PID/stat: USER_HZ is 100 on every
// architecture that Go knows.
const tick = 10 * time.Millisecond

// Usage is what a program and its children have cost at one moment.
type Usage struct {
	CPU     time.Duration // user and system time since the start
	RSS     int64         // memory held now, bytes
	PeakRSS int64         // the most that each process has held, summed, bytes
}

// stat is what is used of /proc/PID/stat; see proc(5).
type stat struct {
	pid, parent, group int
	own                time.Duration // user and system time
	waited             time.Duration // of children that have ended
}

// Usage adds up the program, its descendants, and what else is in its process
// group. Processes that end while it looks are left out.
func (p *Proc) Usage() (Usage, error) {
	var u Usage
	for _, s := range members(p.PID(), allStats()) {
		u.CPU += max(s.own, threads(s.pid)) + s.waited
		rss, peak := memory(s.pid)
		u.RSS += rss
		u.PeakRSS += peak
	}
	if u.RSS == 0 { // at most zombies are left
		return u, fmt.Errorf("measure process %d: it is gone", p.PID())
	}
	return u, nil
}

// UsageOf returns what one process has cost, without its children.
func UsageOf(pid int) (Usage, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, err)
	}
	s, err := parseStat(b)
	if err != nil {
		return Usage{}, fmt.Errorf("measure process %d: %w", pid, err)
	}
	u := Usage{CPU: max(s.own, threads(pid))}
	u.RSS, u.PeakRSS = memory(pid)
	return u, nil
}

func allStats() []stat {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // its only error is a bad pattern
	var out []stat
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		if s, err := parseStat(b); err == nil {
			out = append(out, s)
		}
	}
	return out
}

// members picks root, its descendants and its group.
func members(root int, all []stat) []stat {
	in := map[int]bool{root: true}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if !in[s.pid] && (in[s.parent] || s.group == root) {
				in[s.pid], grown = true, true
			}
		}
	}
	var out []stat
	for _, s := range all {
		if in[s.pid] {
			out = append(out, s)
		}
	}
	return out
}

// parseStat reads one line of /proc/PID/stat. The program's name stands in
// parentheses and may hold anything.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndex(b, []byte(") "))
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("parse /proc/PID/stat: %q", b)
	}
	fields := strings.Fields(string(b[end+2:]))
	const parent, group, utime, cstime = 1, 2, 11, 14 // counted from the state, which is 0
	if len(fields) <= cstime {
		return stat{}, fmt.Errorf("parse /proc/PID/stat: %q", b)
	}
	var s stat
	var err error
	number := func(text string) int {
		n, nerr := strconv.Atoi(text)
		if nerr != nil {
			err = fmt.Errorf("parse /proc/PID/stat: %w", nerr)
		}
		return n
	}
	s.pid = number(strings.TrimSpace(string(b[:open])))
	s.parent, s.group = number(fields[parent]), number(fields[group])
	for i, f := range fields[utime : cstime+1] {
		spent := time.Duration(number(f)) * tick
		if i < 2 {
			s.own += spent
		} else {
			s.waited += spent
		}
	}
	return s, err
}

// threads is what the threads of a process that still live have used, in
// nanoseconds where the kernel keeps them: a tick is too coarse for a process
// that hardly does anything. 0 when it does not keep them.
func threads(pid int) time.Duration {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // its only error is a bad pattern
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		sum += parseSchedstat(b)
	}
	return sum
}

// parseSchedstat reads the first number of /proc/PID/task/TID/schedstat:
// nanoseconds on a processor.
func parseSchedstat(b []byte) time.Duration {
	on, _, _ := strings.Cut(string(b), " ")
	ns, err := strconv.ParseInt(on, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}

// memory is what a process holds and has held at most, in bytes.
func memory(pid int) (rss, peak int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0
	}
	return parseMemory(b)
}

func parseMemory(status []byte) (rss, peak int64) {
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch {
		case err != nil:
		case name == "VmRSS":
			rss = kib << 10
		case name == "VmHWM":
			peak = kib << 10
		}
	}
	return rss, peak
}
