package tail

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrPipe refuses a named pipe where files are followed.
	ErrPipe = fmt.Errorf("%w but a named pipe; a task of its own with pipe: true reads it", ErrNotRegular)
	// ErrNotPipe refuses everything that is not a named pipe.
	ErrNotPipe = fmt.Errorf("not a named pipe; a task without pipe: true collects files")
)

// WhyNot says why what is of this kind is not collected as a file.
func WhyNot(mode uint32) error {
	if mode == unix.S_IFIFO {
		return ErrPipe
	}
	return ErrNotRegular
}

// OpenPipe opens a named pipe for reading, without waiting for a writer. What is
// opened is what allow is asked about; nil allows all. A pipe that is refused was not open
// for a moment, or a writer might take that for its reader.
func OpenPipe(path string, links Links, allow func(path, resolved string) error) (fd int, info Info, err error) {
	var k Kernel
	if info, err = k.Look(path); err != nil {
		return -1, info, err
	}
	if info.Mode != unix.S_IFIFO {
		return -1, info, fmt.Errorf("open %s: %w", path, ErrNotPipe)
	}
	d := Deps{Links: links, Allow: allow}
	place, err := openPlace(path, links)
	if err != nil {
		return -1, info, d.orLinks(path, err)
	}
	defer k.Close(place)
	if info, err = d.checkOpened(place, path, unix.S_IFIFO, ErrNotPipe); err != nil {
		return -1, info, err
	}
	fd, err = k.Open(fdPath(place, path), LinksAll)
	return fd, info, err
}

// openPlace opens a name without opening what stands there.
func openPlace(path string, links Links) (fd int, err error) {
	err = ignoringEINTR(func() (err error) {
		fd, err = openFile(path, placeFlags, links)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}
