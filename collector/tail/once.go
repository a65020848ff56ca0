package tail

import (
	"strings"
	"time"

	"logferry/collector/checkpoint"
)

// once is what a file that is read once, to its end, has beside its offsets.
// All but the first two are guarded by the file's mu.
type once struct {
	until int64
	moved func()

	ended   checkpoint.Once // OnceOpen until EndOnce
	read    int64           // records read
	records int64           // records delivered: of what stands before the committed offset
	counts  []readCount     // of batches that may be on their way
	endedAt time.Time       // when the last record was acknowledged; zero: not all are, or nobody asked
}

// readCount is how many records stand before an offset.
type readCount struct {
	end     int64
	records int64
}

// ReadOnce says that the file is read once, and that until bytes were in it when
// that began. moved is told when the committed offset has moved; it must not block.
// To be called before Resume and Read.
func (f *File) ReadOnce(until int64, moved func()) {
	f.once = &once{until: until, moved: moved, ended: checkpoint.OnceOpen}
}

// EndOnce notes that nothing more will be read, and why. The file has ended when
// what was read is resolved.
func (f *File) EndOnce(how checkpoint.Once) {
	f.mu.Lock()
	f.once.ended = how
	f.mu.Unlock()
	f.Mark()
}

// Damage is why a compressed file cannot be read behind its last byte; nil while
// none was found.
func (f *File) Damage() error {
	if f.packed == nil {
		return nil
	}
	return f.packed.damage
}

// countOnce notes a batch that ends at the read offset.
func (f *File) countOnce(records int) {
	f.mu.Lock()
	f.once.read += int64(records)
	f.once.counts = append(f.once.counts, readCount{f.off, f.once.read})
	f.mu.Unlock()
}

// onceStateLocked adds to the state how far the file is.
func (f *File) onceStateLocked(s *checkpoint.State) {
	o := f.once
	passed := 0
	for passed < len(o.counts) && o.counts[passed].end <= s.Offset {
		o.records = o.counts[passed].records
		passed++
	}
	o.counts = o.counts[passed:]
	s.Once, s.Until, s.Records = checkpoint.OnceOpen, o.until, o.records
	if f.tracker.Pending() > 0 || o.ended == checkpoint.OnceOpen {
		return
	}
	if o.endedAt.IsZero() {
		o.endedAt = s.Updated
	}
	s.Once, s.Updated = o.ended, o.endedAt // an acknowledgement that is still being noted does not change it
}

// otherPackings are the first bytes of compressed files that cannot be read.
var otherPackings = map[string]string{
	"BZh": "bzip2", "\xfd7zXZ\x00": "xz", "\x04\x22\x4d\x18": "lz4", "PK\x03\x04": "zip", "7z\xbc\xaf\x27\x1c": "7z", "\x1f\x9d": "compress",
}

// OtherPacking names the format of a compressed file that is read as it
// stands; empty for a plain one.
func (f *File) OtherPacking() (string, error) {
	var first [6]byte
	n, err := f.preadFull(first[:], 0)
	if err != nil || f.packed != nil {
		return "", err
	}
	for magic, name := range otherPackings {
		if strings.HasPrefix(string(first[:n]), magic) && (name != "bzip2" || n > 4 && first[3] >= '1' && first[3] <= '9' && first[4] == '1') {
			return name, nil
		}
	}
	return "", nil
}
