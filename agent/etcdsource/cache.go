package etcdsource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"logferry/agent/rollout"
)

// cacheVersion is the version of the cache file's format.
const cacheVersion = 1

// cacheFile is the cache as it lies on disk.
type cacheFile struct {
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"` // of Body, in hex
	Body    json.RawMessage `json:"body"`
}

// cacheBody is the set at one moment. The values are kept as they were
// written, and read anew by whatever version of the agent finds them.
type cacheBody struct {
	Prefix   string      `json:"prefix"` // of the keys, with its slash
	Revision int64       `json:"revision"`
	Good     []cacheItem `json:"good"`
	Bad      []cacheItem `json:"bad,omitempty"` // newest versions that were refused

	Planned []cacheItem              `json:"planned,omitempty"` // newest versions that go from wave to wave
	Before  []cacheItem              `json:"before,omitempty"`  // what this agent had before it took those
	States  map[string]rollout.State `json:"states,omitempty"`

	Groups map[string]cacheBody `json:"groups,omitempty"` // the same of each group of the agent
}

type cacheItem struct {
	Name     string `json:"name"`
	Revision int64  `json:"revision"`
	Value    []byte `json:"value"`
	Created  int64  `json:"created,omitempty"` // of planned versions
}

func (i cacheItem) asValue() value { return value{i.Value, i.Revision, i.Created} }

// errDamaged is returned for a cache whose content cannot be trusted.
var errDamaged = errors.New("damaged")

// export returns the set's content for saveCache.
func (s *taskSet) export() cacheBody {
	body := cacheBody{Prefix: s.prefix, Revision: s.revision}
	item := func(name string, v value) cacheItem { return cacheItem{name, v.rev, v.raw, v.created} }
	for name, g := range s.good {
		body.Good = append(body.Good, item(name, g.value))
	}
	for name, b := range s.bad {
		if _, planned := s.roll.newest[name]; !planned {
			body.Bad = append(body.Bad, item(name, b.value))
		}
	}
	for name, p := range s.roll.newest {
		body.Planned = append(body.Planned, item(name, p.value))
	}
	for name, v := range s.roll.before {
		body.Before = append(body.Before, item(name, v))
	}
	body.States = maps.Clone(s.roll.states)
	return body
}

// restore fills an empty set. What was good once and is no more, since the
// agent or its allow_paths changed, is refused like any other value.
func (s *taskSet) restore(body cacheBody) {
	s.revision = body.Revision
	if body.States != nil {
		s.roll.states = body.States
	}
	for _, item := range body.Before {
		s.roll.before[item.Name] = item.asValue()
	}
	for _, item := range body.Good {
		s.use(item.Name, item.asValue())
	}
	for _, items := range [][]cacheItem{body.Bad, body.Planned} {
		for _, item := range items {
			s.put(item.Name, item.asValue())
		}
	}
}

// loadCache reads the cache file. Its error is errDamaged when the file is
// there and makes no sense, fs.ErrNotExist when there is none.
func loadCache(path string) (cacheBody, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return cacheBody{}, fmt.Errorf("read task cache: %w", err)
	}
	var file cacheFile
	if err := json.Unmarshal(data, &file); err != nil {
		return cacheBody{}, fmt.Errorf("read task cache: %w: %w", errDamaged, err)
	}
	if file.Version != cacheVersion {
		return cacheBody{}, fmt.Errorf("read task cache: %w: version %d is not known, only %d", errDamaged, file.Version, cacheVersion)
	}
	if sum := sha256.Sum256(file.Body); hex.EncodeToString(sum[:]) != file.SHA256 {
		return cacheBody{}, fmt.Errorf("read task cache: %w: its check sum is wrong", errDamaged)
	}
	var body cacheBody
	if err := json.Unmarshal(file.Body, &body); err != nil {
		return cacheBody{}, fmt.Errorf("read task cache: %w: %w", errDamaged, err)
	}
	return body, nil
}

// saveCache replaces the cache file; whenever the machine stops, either the old or
// the new one is there.
func saveCache(path string, body cacheBody) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write task cache: %w", err)
		}
	}()
	inner, err := json.Marshal(body)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(inner)
	data, err := json.Marshal(cacheFile{Version: cacheVersion, SHA256: hex.EncodeToString(sum[:]), Body: inner})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	if err := writeSynced(path+".tmp", data); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(path))
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// setAside moves a damaged cache out of the way and returns its new name.
func setAside(path string) (string, error) {
	aside := path + ".damaged"
	if err := os.Rename(path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("set damaged task cache aside: %w", err)
	}
	return aside, nil
}
