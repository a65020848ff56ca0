package frame

import "logferry/internal/record"

// Groups says which lines belong together and become one record. A line
// begins a record when it matches Start, or does not match Continue, whichever
// are set; behind one that matches End the next record begins. Whatever stands at the offset where a
// read begins is the beginning of a record, so that offsets need nothing beside them.
type Groups struct {
	Start, Continue, End *Pattern // nil: not looked for

	MaxLines int      // a longer group is cut behind this many lines
	MaxBytes int      // or before the line that would make it longer than this, inner newlines included; never more than Lines.MaxBytes
	Charset  *Charset // what lines are decoded from before they are matched
}

// AppendGroups is Append for records of several lines, which stand in their
// values as they stand in the file. The last group is complete only when
// something stands behind it: until then it is left where it is, and open is
// true. final takes what is there for all of it, save for a line without its newline.
func (l Lines) AppendGroups(g *Groups, dst []record.Record, buf []byte, offset int64, max int, final bool) (recs []record.Record, used int, open bool, c Counts) {
	n, first, last, lines := 0, 0, 0, 0 // the group under way is buf[first:last]
	if offset == 0 {
		n = l.Unit.mark(buf)
		first = n
	}
	var scratch []byte
	emit := func() {
		dst = l.add(dst, buf[first:last], offset+int64(first), last-first, &c)
		first, used, lines = n, n, 0
	}
	for len(dst) < max {
		begin, end := l.Unit.Newline(buf[n:], offset+int64(n))
		if begin < 0 {
			break
		}
		line := l.Unit.trimCR(buf[n : n+begin])
		if g.Charset != nil && !g.Charset.Same(line) {
			scratch, _ = g.Charset.Append(scratch[:0], line, l.Unit, false)
			line = scratch
		}
		if lines > 0 && (lines >= g.MaxLines || n+begin-first > g.MaxBytes || g.begins(line)) {
			if emit(); len(dst) == max {
				break
			}
		}
		last, lines = n+begin, lines+1
		n += end
		if g.End != nil && g.End.Match(line) {
			emit()
		}
	}
	if lines > 0 && (final || len(buf)-first > g.MaxBytes+1) { // + 1: half a newline of pairs
		emit()
	}
	return dst, used, lines > 0, c
}

func (g *Groups) begins(line []byte) bool {
	return g.Start != nil && g.Start.Match(line) || g.Continue != nil && !g.Continue.Match(line)
}

// Preset is the pattern of the lines that continue the traces of a language;
// nil for one that is not known.
func Preset(language string) *Pattern {
	if p, ok := presets()[language]; ok {
		return MustCompile(p)
	}
	return nil
}

// Presets lists the languages that Preset knows.
func Presets() []string { return []string{"java", "python", "go", "node", "ruby", "dotnet"} }

func presets() map[string]string {
	return map[string]string{
		"java": `^(?:[ \t]|Caused by: |Suppressed: |\.\.\. \d+ |(?:[a-z]\w*\.)+[A-Z][\w$]*(?:Exception|Error|Throwable)\b)`,
		"python": `^(?:[ \t]|$|Traceback \(most recent call last\):|During handling of the above exception|The above exception was the direct cause|` +
			`(?:\w+\.)*\w*(?:Error|Exception|Warning|Interrupt|Exit|StopIteration|ExceptionGroup)(?::|$)|(?:[a-z_]\w*\.)+[A-Z]\w*(?::|$))`,
		"go": `^(?:[ \t]|$|goroutine \d+ |created by |panic\(.*\)$|\[signal |exit status |runtime stack:|\.\.\.additional frames|\.\.\.\d+ frames elided|` +
			`(?:[\w~%-]+(?:\.[\w~%-]+)*/)*[\w~%-]+\.[^\s:=]*\(.*\)$|r\w{1,5} +0x)`,
		"node":   `^(?:[ \t]|$|\}|\]|(?:Uncaught )?\w*(?:Error|Exception)\b(?: \[\w+\])?(?::|$)|Node\.js v\d)`,
		"ruby":   "^(?:[ \\t]|$|[^\\s:]+:\\d+:in [`'][^`']*'$|Caused by:$)",
		"dotnet": `^(?:[ \t]|--- End of |(?:[A-Z]\w*\.)+\w*Exception\b)`,
	}
}
