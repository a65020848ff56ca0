// Package tail reads one file: which file it is, the next block of whole
// lines, and what became of it.
//
// A File keeps two offsets. The read offset is where the next batch begins;
// only the goroutine that reads moves it. The committed offset is how far the
// file is delivered; only acknowledgements move it, as a contiguous prefix.
// Both always stand between two lines: a line without its newline is not
// read, it is left where it is until the newline comes.
package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"logferry/collector/checkpoint"
	"logferry/collector/envelope"
	"logferry/collector/frame"
	"logferry/collector/shape"
	"logferry/internal/record"
)

// BlockBytes is the most that one system call reads, and so the size of a
// full batch.
const BlockBytes = 256 << 10

// maxRecords bounds the records of one batch, for files of very short lines.
const maxRecords = 4096

var (
	// ErrNotRegular refuses everything that is not a regular file.
	ErrNotRegular = errors.New("not a regular file")
	// ErrOther means that the name leads to another file than the one asked for.
	ErrOther = errors.New("another file has this name now")
	// ErrNotAllowed refuses a file that the task may not read.
	ErrNotAllowed = errors.New("not allowed")
	// ErrTruncated means that the file is shorter than what was read of it.
	ErrTruncated = errors.New("file was truncated")
)

// Deps is what all files of a task share. Its functions may be called from
// any goroutine and must not block.
type Deps struct {
	Frame    frame.Lines
	Groups   *frame.Groups                       // nil: a record is one line
	Wrapped  func(path string) *frame.Containers // how the lines of the file at a path are wrapped; nil, or a nil result: not at all
	Quiet    time.Duration                       // how long a file must be quiet until its last group is complete
	Shape    *shape.Shape                        // nil: every record is sent as it was cut
	Envelope *envelope.Envelope                  // nil: records carry what they have by themselves
	FS       FS                                  // nil: Kernel
	Now      func() time.Time                    // the clock that stamps files; nil: time.Now
	Pool     *Pool
	Budget   Budget
	Store    *checkpoint.Store
	Log      *slog.Logger

	MostRecords int // of a batch, 0: as many as fit
	MostBytes   int // read at once, about; 0: as many as fit

	RecordOverhead int                               // bytes that the sink holds for each record beside its value
	Links          Links                             // which links may lead to a file
	Allow          func(path, resolved string) error // refuses files outside of what the task may read, by the path that was opened and the one that it leads to; nil allows all
	Read           func(b *record.Batch, raw int)    // told of each batch that was read, with the bytes it accounts for
	Acked          func(b *record.Batch)             // told of each batch that was resolved
	Long           func(cut, dropped int)            // told of lines longer than the bound
	Shaped         func(c shape.Counts)              // told of what Shape did
	Dressed        func(c envelope.Counts)           // told of what Envelope left out or could not read
	Unwrapped      func(c frame.Counts)              // told of what became of wrapped lines
	Ending         <-chan struct{}                   // ends the search through a compressed file
}

// Info is what one look at a name shows.
type Info struct {
	ID       checkpoint.FileID
	Size     int64  // bytes
	Mode     uint32 // the kind of file: unix.S_IFREG, unix.S_IFDIR...
	Modified int64  // Unix nanoseconds
	Changed  int64  // last change of the file or its names, Unix nanoseconds
	Birth    int64  // creation, Unix nanoseconds; 0 where the file system keeps none
}

// File is one regular file, for as long as it exists under any name. Its
// methods are called by one goroutine at a time, except Checkpoint, Status and
// the acknowledgements, which may come from anywhere at any time.
type File struct {
	deps *Deps
	src  *record.Source
	id   checkpoint.FileID

	off     int64  // read offset: start of the next line that was not read yet
	scan    int64  // no newline stands in [off, scan)
	guard   []byte // the bytes just before off, to notice a file that was rewritten
	suspect bool   // look at the guard even if the size is the same
	full    bool   // the last read filled its block: more is there without asking
	waits   bool   // its file system has no reads that do not wait

	wrapped  *frame.Containers // nil: the file's lines are not wrapped
	form     *envelope.Form    // nil: see Deps.Envelope
	rest     *Rest             // what stands before the file's beginning, until that is read
	grouping bool              // whole lines stand in [off, scan) that wait for what comes behind them
	keep     bool              // see KeepGroup
	ending   bool              // they are to wait no longer
	grown    time.Time         // when grouping was last found to be longer, and before when it was found

	mu      sync.Mutex // guards what follows
	fd      int        // -1 while closed
	path    string     // where to open it; follows renames that were seen
	tracker *checkpoint.Tracker
	size    int64
	birth   int64
	head    checkpoint.Sum
	tail    checkpoint.Sum
	tailAt  int64 // the offset that tail belongs to
	moved   time.Time
	done    bool
	rotated bool
	gone    bool // its last mark is made

	packed *archive // nil for a plain file; only the reader touches it
	ends   []endSum // of a compressed file; guarded by mu
	since  int64    // of a compressed file: see SetSince

	elsewhere *atomic.Pointer[[]string] // see SetElsewhere
	once      *once                     // see ReadOnce; nil: the file is followed

	unsure error // see Unsure
	stale  bool  // see Drop
	given  bool  // see GiveUp

	heir  *File // took over what was read before a truncation
	short bool  // it ends before the offset that it took over
}

// Open opens the regular file at path and starts at its beginning. src.File is
// filled in by the caller from ID later; see SetSource.
func Open(path string, deps *Deps) (*File, error) {
	f, err := newFile(path, deps)
	if err != nil {
		return nil, err
	}
	if err := f.refreshSums(); err != nil { // what it begins with tells what it is
		f.Close()
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return f, nil
}

func newFile(path string, deps *Deps) (*File, error) {
	f := &File{deps: deps, fd: -1, path: path, moved: deps.now()}
	if err := f.open(); err != nil {
		return nil, err
	}
	f.tracker = checkpoint.NewTracker(0)
	return f, nil
}

// open fills f.fd, f.id, f.birth and f.size.
func (f *File) open() error {
	fd, info, err := f.deps.openRegular(f.path)
	if err != nil {
		return err
	}
	known := f.id != (checkpoint.FileID{})
	if known && (f.id != info.ID || (f.birth != 0 && info.Birth != f.birth)) {
		f.deps.fs().Close(fd)
		return ErrOther
	}
	if !known { // written once: they are asked for from anywhere
		f.id, f.birth = info.ID, info.Birth
	}
	f.fd, f.size = fd, info.Size
	return nil
}

// openRegular opens a regular file that the task may read, without following
// what it might be instead. The kind is looked at before the open, so that a
// device feels nothing; what decides is asked of the descriptor, so that nobody
// can swap anything between check and open.
func (d *Deps) openRegular(path string) (int, Info, error) {
	info, err := d.fs().Look(path)
	if err != nil {
		return -1, info, err
	}
	if info.Mode != unix.S_IFREG {
		return -1, info, fmt.Errorf("open %s: %w", path, WhyNot(info.Mode))
	}
	fd, err := d.fs().Open(path, d.Links)
	if err != nil {
		return -1, info, d.orLinks(path, err)
	}
	if fd >= maxDescriptor() { // the kernel gives the lowest number that is free
		d.fs().Close(fd)
		return -1, info, &fs.PathError{Op: "open", Path: path, Err: unix.EMFILE}
	}
	if info, err = d.checkOpened(fd, path, unix.S_IFREG, ErrNotRegular); err != nil {
		d.fs().Close(fd)
		return -1, info, err
	}
	return fd, info, nil
}

// maxDescriptor bounds the numbers of the descriptors that files may take. The
// rest is for connections, without which no file would ever be let go.
var maxDescriptor = sync.OnceValue(func() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt
	}
	n := int(limit.Cur)
	return n - min(n/2, max(64, n/8))
})

// orLinks is why an open failed: that links were in the way, or what the kernel says.
func (d *Deps) orLinks(path string, err error) error {
	if errors.Is(err, unix.ELOOP) && d.Links != LinksAll {
		return fmt.Errorf("open %s: %w: %w", path, ErrNotAllowed, d.Links.why())
	}
	return err
}

// checkOpened asks what was opened. If it is of another kind, the error is other;
// what the task may not read is ErrNotAllowed.
func (d *Deps) checkOpened(fd int, path string, kind uint32, other error) (Info, error) {
	info, err := d.fs().Inspect(fd)
	if err != nil {
		return info, fmt.Errorf("stat %s: %w", path, err)
	}
	if info.Mode != kind {
		return info, fmt.Errorf("open %s: %w", path, other)
	}
	if d.Allow == nil && d.Links != LinksRefused {
		return info, nil
	}
	resolved, err := resolvedPath(fd, path)
	if err != nil {
		return info, fmt.Errorf("resolve %s: %w", path, err)
	}
	if err := d.mayRead(path, resolved); err != nil {
		if now, lookErr := d.fs().Look(path); errors.Is(lookErr, fs.ErrNotExist) || lookErr == nil && now.ID != info.ID {
			return info, ErrOther // renamed since it was opened: its new place says nothing of the path
		}
		return info, fmt.Errorf("open %s: %w: %w", path, ErrNotAllowed, err)
	}
	return info, nil
}

func (d *Deps) mayRead(path, resolved string) error {
	if d.Links == LinksRefused && filepath.Clean(path) != resolved {
		return LinksRefused.why()
	}
	if d.Allow == nil {
		return nil
	}
	return d.Allow(path, resolved)
}

func (l Links) why() error {
	if l == LinksRefused {
		return errors.New("a symbolic link is in the path, and symlinks are refused")
	}
	return errors.New("a link of /proc, or too many symbolic links, are in the path")
}

func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// ID is the file's identity.
func (f *File) ID() checkpoint.FileID { return f.id }

// SetSource names the origin of the batches; to be called before Read.
func (f *File) SetSource(src *record.Source) {
	if f.src = src; f.deps.Wrapped != nil {
		f.wrapped = f.deps.Wrapped(src.Path)
	}
	if f.deps.Envelope != nil {
		f.form = f.deps.Envelope.For(src)
	}
}

// SetElsewhere gives the directories that the path's generations move to, to
// be stored with the file's state; to be called before Read.
func (f *File) SetElsewhere(list *atomic.Pointer[[]string]) { f.elsewhere = list }

// Directory is where the open file is now, or was before its last name was
// removed; empty when nobody can tell.
func (f *File) Directory() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return ""
	}
	p, err := resolvedPath(f.fd, f.path)
	if err != nil || !filepath.IsAbs(p) {
		return ""
	}
	return filepath.Dir(p)
}

// Birth is when the file was created, in Unix nanoseconds.
func (f *File) Birth() int64 { return f.birth }

// SeekTo makes off both the read and the committed offset. Only before the
// first Read, or after Reset.
func (f *File) SeekTo(off int64) {
	f.off, f.scan, f.full, f.grouping = off, off, false, f.rest != nil
	f.loadGuard()
	f.mu.Lock()
	f.tracker = checkpoint.NewTracker(off)
	f.noteEndLocked()
	_ = f.refreshSumsLocked()
	f.mu.Unlock()
}

// Reset starts again at the beginning of a file that was truncated.
// Acknowledgements of what was read before no longer move its offset.
func (f *File) Reset() {
	f.mu.Lock()
	f.head, f.tail, f.tailAt = checkpoint.Sum{}, checkpoint.Sum{}, 0
	f.moved = f.deps.now()
	if size, _, err := f.deps.fs().Size(f.fd); err == nil {
		f.size = size
	}
	f.mu.Unlock()
	f.SeekTo(0)
	f.Mark()
}

// IsOpen reports whether the descriptor is open.
func (f *File) IsOpen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fd >= 0
}

// Close gives the descriptor back. The offsets stay, and Reopen goes on.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return
	}
	_ = f.refreshSumsLocked()
	f.Rest()
	f.deps.fs().Close(f.fd)
	f.fd = -1
}

// Drop closes a descriptor that leads nowhere any more, without a last look
// through it. The offsets stay, and Reopen goes on.
func (f *File) Drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd >= 0 {
		f.Rest()
		f.deps.fs().Close(f.fd)
		f.fd = -1
	}
	f.stale, f.full = true, false
}

// Stale reports whether the file was dropped and is not open again. Only the
// reader may ask.
func (f *File) Stale() bool { return f.stale }

// GiveUp closes the file for good at the offset where its reader stands, and
// returns how many bytes behind it are not read.
func (f *File) GiveUp() (bytes int64) {
	size, _, _ := f.Stat()
	f.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale, f.full, f.given = false, false, true
	f.size, f.scan, f.grouping = f.off, f.off, false
	if r := f.rest; r != nil {
		f.rest = nil
		size += int64(r.n)
		defer r.blk.Done()
	}
	return max(size-f.off, 0)
}

// GivenUp reports whether GiveUp was called. Only the reader may ask.
func (f *File) GivenUp() bool { return f.given }

// Reopen opens the file again where it was last seen. ErrOther means that it
// has been renamed or replaced, also by a file that uses its inode again; a
// not-exist error that the name is gone; ErrTruncated that other bytes stand
// where it was read before.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd >= 0 {
		return nil
	}
	if err := f.open(); err != nil {
		return err
	}
	f.stale = false
	if f.packed != nil {
		f.packed.fd = f.fd
		return nil // nobody writes to it
	}
	if f.head.Len > 0 && f.size >= int64(f.head.Len) && !f.holdsLocked(f.head, 0) ||
		f.tail.Len > 0 && f.size >= f.tailAt && !f.holdsLocked(f.tail, f.tailAt-int64(f.tail.Len)) {
		return ErrTruncated
	}
	return nil
}

// holdsLocked reports whether the bytes at an offset are those that a sum was
// made of. A range that cannot be read is no proof of the contrary.
func (f *File) holdsLocked(want checkpoint.Sum, at int64) bool {
	got, ok, _ := f.sumRange(at, want.Len)
	return !ok || got == want
}

// Renamed tells where the file can be opened from now on.
func (f *File) Renamed(path string) {
	f.mu.Lock()
	f.path = path
	f.mu.Unlock()
}

// WatchPath names the open file itself, whatever its directory entry is now.
func (f *File) WatchPath() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd >= 0 {
		return fdPath(f.fd, f.path)
	}
	return f.path
}

// Stat looks at the file behind the open descriptor: its size in bytes and
// whether any name still leads to it. With an error both are as last known.
func (f *File) Stat() (size int64, linked bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		return f.size, true, nil
	}
	if size, linked, err = f.deps.fs().Size(f.fd); err != nil {
		return f.size, true, fmt.Errorf("stat %s: %w", f.path, err)
	}
	f.size = size
	if f.packed != nil {
		f.size = f.packed.size(size)
	}
	return f.size, linked, nil
}

// Offset is where the next batch begins. Only the reader may ask.
func (f *File) Offset() int64 { return f.off }

// Full reports whether the last Read filled its block, so that more is likely
// to be there.
func (f *File) Full() bool { return f.full }

// Grown reports whether the open file is longer, or shorter, than what was
// looked at. With an error nobody knows.
func (f *File) Grown() (bool, error) {
	if !f.IsOpen() {
		return false, nil
	}
	size, _, err := f.Stat()
	return err == nil && size != f.scan, err
}

// Differs reports whether a closed file is not what it was, by the size and
// the creation time (0: unknown) found under its name.
func (f *File) Differs(size, birth int64) bool {
	return size != f.scan || (f.birth != 0 && birth != 0 && birth != f.birth)
}

// SetRotated notes that the file was renamed or deleted, for Status.
func (f *File) SetRotated() {
	f.mu.Lock()
	f.rotated = true
	f.mu.Unlock()
}

// SeekToLastLine starts at the end: behind the last newline, so that a line
// which is being written is sent whole. With an error it stays where it is.
func (f *File) SeekToLastLine() error {
	f.mu.Lock()
	size := f.size
	f.mu.Unlock()
	at, err := f.lastLine(size, int64(f.deps.Frame.MaxBytes))
	if err != nil {
		return fmt.Errorf("look for the last line of %s: %w", f.path, err)
	}
	f.SeekTo(at)
	return nil
}

// lastLine looks backwards from end for the last newline, most bytes at most,
// and returns the offset behind it.
func (f *File) lastLine(end, most int64) (int64, error) {
	const step = 4 << 10
	var buf [step]byte
	lines, err := f.lines()
	if err != nil {
		return 0, err
	}
	if lines.Unit != frame.Bytes {
		end -= end % 2
	}
	for at := end; end-at < most; {
		n := min(at, step)
		at -= n
		m, err := f.preadFull(buf[:n], at)
		if err != nil {
			return 0, err
		}
		if i := lines.Unit.LastNewline(buf[:m], at); i >= 0 {
			return at + int64(i), nil
		}
		if at == 0 {
			return 0, nil
		}
	}
	return end, nil
}
