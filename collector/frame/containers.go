package frame

import (
	"bytes"
	"strconv"
	"time"

	"logferry/internal/record"
)

// Containers says how the lines of container logs become records: what their
// runtime wrapped them in is taken off, and the parts that it cut a long line
// into are joined again, for each stream by itself.
type Containers struct {
	Format Format
	Groups *Groups // which of the lines are one record; nil: each one is

	// Apart ends what waits in one stream, when a line of the other one is
	// stamped so much later.
	Apart time.Duration
}

// RunBytes is how far records that are not complete reach at most, with what
// the other stream wrote in between, for lines of at most maxLine bytes.
func RunBytes(maxLine int) int { return maxLine + 63<<10 }

// With several lines a record, both streams may each have one that is not
// complete at any moment. Where one of them begins a new record, the other's is
// taken for complete when it has rested for groupRest, or both reach over runBytes.
const (
	groupRest = 100 * time.Millisecond
	runBytes  = 64 << 10
)

// What HeaderPartial says.
var (
	partSplit      = []byte("split")      // it reached over the bound
	partUnfinished = []byte("unfinished") // its rest did not come in time
)

var streamHeaders = [2][]record.Header{
	{{Key: record.HeaderStream, Value: []byte("stdout")}},
	{{Key: record.HeaderStream, Value: []byte("stderr")}},
}

var newline = []byte{'\n'}

// AppendContainers is Append for the lines of containers. Records whose rest is
// missing are left where they are with all that stands behind them, and open is
// true; final takes what is there for all of it. Values that do not stand in
// buf, and Extras, stand in space. A time that is after latest is left out.
func (l Lines) AppendContainers(k *Containers, dst []record.Record, buf []byte, offset int64, max int, final bool, latest time.Time, space *Space) (recs []record.Record, used int, open bool, c Counts) {
	cut := containerCut{Lines: l, k: k, dst: dst, buf: buf, offset: offset, latest: latest, space: space, kept: len(dst)}
	n := 0
	for len(cut.dst) < max || cut.opened > 0 {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			break
		}
		cut.line(buf[n:n+i], n, n+i+1)
		n += i + 1
	}
	open = cut.opened > 0
	if why := partUnfinished; open && (final || len(buf)-cut.begin() > RunBytes(l.MaxBytes)) {
		if !final {
			why = partSplit
		}
		cut.closeAll(why)
		cut.keep(n)
	}
	clear(cut.dst[cut.kept:])
	return cut.dst[:cut.kept], cut.used, open, cut.keptCounts
}

// containerCut is one call of AppendContainers.
type containerCut struct {
	Lines
	k      *Containers
	buf    []byte
	offset int64
	latest time.Time
	space  *Space
	stamps stamps
	text   []byte // decoded, to be matched

	dst    []record.Record
	groups [2]containerGroup // of stdout and stderr
	opened int               // how many of them are open
	counts Counts

	kept, used int // how much of dst is sure, and of buf: no group was open there
	keptCounts Counts
}

// containerGroup is a record of one stream that is not complete.
type containerGroup struct {
	open   bool
	within bool // its last line is not complete
	at     int  // its place in dst
	begin  int  // where it begins in buf
	pieces [][]byte
	size   int // of the pieces, in bytes
	lines  int // that are complete
	first  time.Time
	last   time.Time
}

// keep notes that what stands before n needs nothing behind it.
func (c *containerCut) keep(n int) { c.kept, c.used, c.keptCounts = len(c.dst), n, c.counts }

// begin is where the first open group begins.
func (c *containerCut) begin() int {
	a, b := &c.groups[0], &c.groups[1]
	if !a.open || b.open && b.begin < a.begin {
		return b.begin
	}
	return a.begin
}

// line takes a line which stands in [begin, end) of the block.
func (c *containerCut) line(line []byte, begin, end int) {
	if c.opened > 0 && (len(line) > c.MaxBytes || end-1-c.begin() > RunBytes(c.MaxBytes)) {
		c.closeAll(partSplit)
	}
	if w, ok := c.k.Format.unwrap(line, &c.stamps); ok && len(line) <= c.MaxBytes {
		w.text = c.unescaped(w)
		w.text = c.trimmed(w)
		c.part(w, begin, end)
	} else {
		c.alone(line, begin, len(line))
	}
	if c.opened == 0 {
		c.keep(end)
	}
}

// part takes a line, or a part of one, that can be joined to others.
func (c *containerCut) part(w wrapped, begin, end int) {
	own, other := &c.groups[0], &c.groups[1]
	if w.stderr {
		own, other = other, own
	}
	if own.open {
		switch text := w.text; {
		case own.within:
			if own.size+len(text) > c.MaxBytes {
				c.close(own, partSplit)
			}
		case own.lines >= c.k.Groups.MaxLines, own.size+1+len(text) > c.k.Groups.MaxBytes, c.k.Groups.begins(c.decoded(text)):
			c.close(own, nil)
		}
	}
	if other.open && c.over(other, w.time, !own.open, end) {
		c.close(other, partUnfinished)
	}
	if c.opened == 0 {
		c.keep(begin)
	}
	switch {
	case own.open:
		if !own.within {
			own.add(newline)
		}
	case w.partial || c.k.Groups != nil:
		*own = containerGroup{open: true, at: len(c.dst), begin: begin, pieces: own.pieces[:0], first: w.time}
		c.opened++
		c.dst = append(c.dst, record.Record{Offset: c.offset + int64(begin), Extra: c.extra(w)})
	default:
		c.dst = append(c.dst, record.Record{Value: w.text, Offset: c.offset + int64(begin), Extra: c.extra(w)})
		return
	}
	own.add(w.text)
	if own.within, own.last = w.partial, w.time; w.partial {
		return
	}
	own.lines++
	if c.k.Groups == nil || c.k.Groups.End != nil && c.k.Groups.End.Match(c.decoded(w.text)) {
		c.close(own, nil)
	}
}

func (g *containerGroup) add(piece []byte) {
	g.pieces = append(g.pieces, piece)
	g.size += len(piece)
}

// over reports whether a group is taken for complete when the other stream has
// a line of this time, which ends at end. begins says that a record begins with that line.
func (c *containerCut) over(g *containerGroup, now time.Time, begins bool, end int) bool {
	rested := now.Sub(g.last)
	if g.within || !begins {
		return rested >= c.k.Apart
	}
	return rested >= groupRest || now.Sub(g.first) >= c.k.Apart || end-c.begin() > runBytes
}

// decoded is the text that patterns are held against.
func (c *containerCut) decoded(text []byte) []byte {
	if cs := c.k.Groups.Charset; cs != nil && !cs.Same(text) {
		c.text, _ = cs.Append(c.text[:0], text, c.Unit, false)
		return c.text
	}
	return text
}

func (c *containerCut) closeAll(why []byte) {
	for i := range c.groups {
		if g := &c.groups[i]; g.open {
			c.close(g, why)
		}
	}
}

// close completes a group's record; why says what kept its last line from
// being complete, if that is so.
func (c *containerCut) close(g *containerGroup, why []byte) {
	r := &c.dst[g.at]
	if r.Value = g.pieces[0]; len(g.pieces) > 1 {
		text := c.space.Open(g.size)
		for _, p := range g.pieces {
			text = append(text, p...)
		}
		r.Value = c.space.Close(text)
	}
	if g.within {
		if r.Extra = r.Extra.With(record.HeaderPartial, why); &why[0] == &partSplit[0] {
			c.counts.Split++
		} else {
			c.counts.Unfinished++
		}
	}
	g.open = false
	c.opened--
}

// alone takes a line that is joined to no other: one that is not in the format,
// too long, or the last of its file. length is that of the line, of which the
// end may be missing.
func (c *containerCut) alone(line []byte, begin, length int) {
	offset := c.offset + int64(begin)
	w, ok := c.k.Format.unwrap(line, &c.stamps)
	if !ok || length > c.MaxBytes && line[0] == '{' {
		c.counts.Foreign++
		c.dst = c.add(c.dst, line, offset, length, &c.counts)
		return
	}
	size := len(w.text) + length - len(line)
	if w.text = c.unescaped(w); length == len(line) {
		w.text = c.trimmed(w)
		size = len(w.text)
	}
	if size > c.MaxBytes && c.DropLong {
		c.counts.Dropped++
		return
	}
	x := c.extra(w)
	if w.partial {
		c.counts.Split++
		x = x.With(record.HeaderPartial, partSplit)
	}
	if size > c.MaxBytes {
		c.counts.Cut++
		x = x.With(record.HeaderTruncated, strconv.AppendInt(nil, int64(size), 10))
	}
	c.dst = append(c.dst, record.Record{Value: w.text[:min(len(w.text), c.MaxBytes)], Offset: offset, Extra: x})
}

// unescaped is the text of a line as the container wrote it.
func (c *containerCut) unescaped(w wrapped) []byte {
	if !w.escaped {
		return w.text
	}
	return c.space.Close(AppendUnescaped(c.space.Open(len(w.text)), w.text))
}

// trimmed is the unescaped text without the \r that a terminal puts before the newline.
func (c *containerCut) trimmed(w wrapped) []byte {
	if w.partial || c.KeepCR {
		return w.text
	}
	return Bytes.trimCR(w.text)
}

// extra is what a record has of its line beside the text.
func (c *containerCut) extra(w wrapped) *record.Extra {
	x := c.space.Extra()
	x.Headers, x.Stream = streamHeaders[0], record.Stdout
	if w.stderr {
		x.Headers, x.Stream = streamHeaders[1], record.Stderr
	}
	if !w.time.After(c.latest) && w.time.Unix() >= 0 {
		x.Time = w.time
	}
	return x
}

// OneContainer is One for the lines of containers; see AppendContainers.
func (l Lines) OneContainer(k *Containers, dst []record.Record, line []byte, offset int64, length int, latest time.Time, space *Space) ([]record.Record, Counts) {
	cut := containerCut{Lines: l, k: k, dst: dst, offset: offset, latest: latest, space: space}
	cut.alone(line, 0, length)
	return cut.dst, cut.counts
}
