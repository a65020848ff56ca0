package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// FileID names a file on this host for as long as it exists: device and
// inode. An inode is used again after a deletion, so a FileID alone never
// proves that a file is the same: see State.
type FileID struct {
	Dev, Ino uint64
}

// String is the form used in headers and the API: "device-inode" in hex.
func (id FileID) String() string { return fmt.Sprintf("%x-%x", id.Dev, id.Ino) }

func (id FileID) key() []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, id.Dev)
	binary.BigEndian.PutUint64(b[8:], id.Ino)
	return b
}

func parseKey(b []byte) (FileID, error) {
	if len(b) != 16 {
		return FileID{}, fmt.Errorf("checkpoint key of %d bytes, want 16", len(b))
	}
	return FileID{Dev: binary.BigEndian.Uint64(b), Ino: binary.BigEndian.Uint64(b[8:])}, nil
}

// Sum is a hash of a range of a file's bytes.
type Sum struct {
	Len  int    `json:"len"`
	Hash uint64 `json:"hash"`
}

// SumOf hashes b: FNV-1a, 64 bits.
func SumOf(b []byte) Sum {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return Sum{Len: len(b), Hash: h.Sum64()}
}

// Of reports whether b begins with the bytes that the sum was made of. Of no
// bytes anything is a beginning.
func (s Sum) Of(b []byte) bool {
	return s.Len == 0 || (len(b) >= s.Len && SumOf(b[:s.Len]) == s)
}

// maxSumBytes bounds the range of a stored hash, so that a damaged value
// cannot ask for a read of any size.
const maxSumBytes = 64 << 10

// State is what is remembered of one file of one task.
type State struct {
	Path    string    `json:"path"`           // the name it was collected under, not where it may be now
	Offset  int64     `json:"offset"`         // committed: everything before it is delivered
	Birth   int64     `json:"birth"`          // creation time in Unix nanoseconds; 0 where the file system keeps none
	Head    Sum       `json:"head"`           // the first bytes of the file
	Tail    Sum       `json:"tail"`           // the bytes just before Offset
	Updated time.Time `json:"updated"`        // when Offset last moved
	Done    bool      `json:"done,omitempty"` // rotated away and read to its end

	// Of a compressed file: its format, and a moment in Unix nanoseconds at or before which the
	// file that was compressed was created. Offset, Head and Tail are of the bytes that were compressed.
	Packed string `json:"packed,omitempty"`
	Since  int64  `json:"since,omitempty"`
	// Elsewhere lists the directories outside of the path's own to which generations were moved.
	Elsewhere []string `json:"elsewhere,omitempty"`
	// Given says that another task took this place over since the task last read the file.
	Given bool `json:"given,omitempty"`

	// Of a file of a task that reads once.
	Once    Once  `json:"once,omitempty"`
	Until   int64 `json:"until,omitempty"`   // bytes that were in it when the task began; 0 for a compressed one
	Records int64 `json:"records,omitempty"` // delivered of what stands before Offset
}

// Once says how far a file is that is read once.
type Once string

const (
	OnceNot    Once = ""       // it is followed
	OnceOpen   Once = "open"   // it is to be read, or on
	OnceEnded  Once = "ended"  // it is delivered to its end
	OnceFailed Once = "failed" // its end cannot be read; the next start tries again
)

// Again is the state with which a file that is read once is read from its beginning.
func (s State) Again() State {
	return State{Path: s.Path, Birth: s.Birth, Updated: s.Updated, Once: OnceOpen, Until: s.Until}
}

const (
	stateVersion = 1
	// packedVersion keeps a program that does not know compressed files from
	// reading one as it stands.
	packedVersion = 2
)

func encodeState(s State) ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode checkpoint of %s: %w", s.Path, err)
	}
	version := byte(stateVersion)
	if s.Packed != "" {
		version = packedVersion
	}
	return append([]byte{version}, b...), nil
}

// decodeState reads a stored value: one version byte, then JSON.
func decodeState(b []byte) (State, error) {
	var s State
	if len(b) == 0 {
		return s, errors.New("empty checkpoint value")
	}
	if b[0] != stateVersion && b[0] != packedVersion {
		return s, fmt.Errorf("checkpoint value of version %d, this program knows %d", b[0], packedVersion)
	}
	if err := json.Unmarshal(b[1:], &s); err != nil {
		return s, fmt.Errorf("decode checkpoint value: %w", err)
	}
	if s.Offset < 0 || s.Head.Len < 0 || s.Head.Len > maxSumBytes ||
		s.Tail.Len < 0 || s.Tail.Len > maxSumBytes || int64(s.Tail.Len) > s.Offset {
		return s, fmt.Errorf("checkpoint value of %s is out of range", s.Path)
	}
	if len(s.Elsewhere) == 0 {
		s.Elsewhere = nil
	}
	return s, nil
}
