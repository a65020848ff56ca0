package idle

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unload gives back the pages of the program itself that only its start needed:
// the tables and code with which packages and their types are set up. What is
// needed on comes back by itself from the kernel's cache of the file. Only
// what cannot be written to is touched.
func Unload() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("look for the program: %w", err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("look for the program's pages: %w", err)
	}
	defer func() { _ = maps.Close() }()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		from, to, ok := readOnly(lines.Text(), program)
		if !ok {
			continue
		}
		if err := drop(from, to); err != nil {
			return fmt.Errorf("give back the program's pages: %w", err)
		}
	}
	return nil
}

// readOnly returns where a line of /proc/self/maps says that file is mapped
// without the right to write.
func readOnly(line, file string) (from, to uintptr, ok bool) {
	f := strings.Fields(line) // FROM-TO rwxp OFFSET DEVICE INODE PATH
	if len(f) < 6 || !strings.HasPrefix(f[1], "r-") || !strings.HasSuffix(f[1], "p") || strings.Join(f[5:], " ") != file {
		return 0, 0, false
	}
	a, b, _ := strings.Cut(f[0], "-")
	start, err := strconv.ParseUint(a, 16, 64)
	if err != nil {
		return 0, 0, false
	}
	end, err := strconv.ParseUint(b, 16, 64)
	return uintptr(start), uintptr(end), err == nil && end > start
}

func drop(from, to uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
	if errno != 0 {
		return errno
	}
	return nil
}
