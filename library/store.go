package library

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/secretfile"
)

// ErrInUse is returned by [OpenStore] if another process has the folder open.
var ErrInUse = errors.New("library: the store is in use by another process")

const (
	storeLock   = "lock"
	storeSuffix = ".library"
	maxStored   = 512 << 20 // bytes of one file
)

// A Store stores the libraries of a device in a folder: for each, the record
// and the key of the device's instance, in one file of mode 0600. A crash
// leaves the file as it was before or after a change. A Store serves one
// [Libraries] ([Config.Store]), and prints as a placeholder.
type Store struct {
	dir  string
	most int // bytes of one file
	lock *os.File

	mu     sync.Mutex // guards what follows
	stored map[uuid.UUID]stored
}

// A stored is the content of a file.
type stored struct {
	Version  int                     `json:"version"` // 1
	Instance identity.RemoteIdentity `json:"instance"`
	Key      string                  `json:"key"` // its seed, in base64
	Record   json.RawMessage         `json:"record"`

	record Record
	key    identity.Identity
}

// OpenStore opens a folder, which it creates if necessary, and reads all
// libraries in it. It fails with [ErrInUse] if another process has the folder
// open, and with an error that names the file if a file is not valid, or other
// users may read it: see [identity.ErrPermissions].
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("library: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, storeLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("library: %w", err)
	}
	if err := lockFile(lock); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %s (%w)", ErrInUse, dir, err)
	}
	s := &Store{dir: dir, most: maxStored, lock: lock, stored: map[uuid.UUID]stored{}}
	if err := s.read(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// read reads all files, and removes those that a crash has left.
func (s *Store) read() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("library: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if strings.HasPrefix(e.Name(), secretfile.TempPrefix) {
			os.Remove(path)
		}
		id, ok := strings.CutSuffix(e.Name(), storeSuffix)
		if !ok {
			continue
		}
		b, err := secretfile.Read(path, int64(s.most), false)
		if err != nil {
			return fmt.Errorf("library: %w", err)
		}
		one, err := parseStored(b)
		if err == nil && one.record.ID.String() != id {
			err = fmt.Errorf("it is library %v", one.record.ID)
		}
		if err != nil {
			return fmt.Errorf("library: %s: %w", path, err)
		}
		s.stored[one.record.ID] = one
	}
	return nil
}

func parseStored(b []byte) (one stored, err error) {
	if err := json.Unmarshal(b, &one); err != nil {
		return one, errors.New("it is damaged, or not the file of a library") // the contents stay out of the error
	}
	if one.Version != 1 {
		return one, fmt.Errorf("version %d is not known here", one.Version)
	}
	seed, err := base64.RawStdEncoding.Strict().DecodeString(one.Key)
	if err == nil {
		one.key, err = identity.FromSeed(seed)
	}
	if one.Key = ""; err != nil || one.key.Remote() != one.Instance {
		return one, errors.New("its key was altered; restore it from a backup")
	}
	if one.record, err = DecodeRecord(one.Record); err != nil {
		return one, err
	}
	one.Record = nil
	return one, one.record.Validate()
}

// Close lets other processes open the folder. The libraries of the store must
// not change afterwards.
func (s *Store) Close() error { return errors.Join(unlockFile(s.lock), s.lock.Close()) }

// load adds the libraries to a hook that does not run yet.
func (s *Store) load(h *Libraries) {
	for _, one := range s.stored {
		if _, err := h.enter(one.record, one.key); err != nil {
			h.broken = errors.Join(h.broken, fmt.Errorf("library: %v: %w", one.record.ID, err))
		}
	}
}

// keep writes a record.
func (s *Store) keep(r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.stored[r.ID]
	if !ok {
		return fmt.Errorf("library: %v is not in the store", r.ID)
	}
	one.record = r
	return s.write(one)
}

// create adds a library.
func (s *Store) create(r Record, instance identity.Identity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.stored[r.ID]; ok { // New could not add it, and its key must not be lost
		return fmt.Errorf("library: %v is in the store", r.ID)
	}
	return s.write(stored{Version: 1, Instance: instance.Remote(), record: r, key: instance})
}

// write writes a file. The caller holds mu.
func (s *Store) write(one stored) error {
	one.Key = base64.RawStdEncoding.EncodeToString(one.key.PrivateKey().Seed())
	var err error
	if one.Record, err = one.record.Encode(); err != nil {
		return err
	}
	b, err := json.Marshal(one)
	if err != nil {
		return fmt.Errorf("library: %w", err)
	}
	if b = append(b, '\n'); len(b) > s.most { // it could not be read again
		return fmt.Errorf("library: a record of %d bytes, of %d", len(b), s.most)
	}
	if err := secretfile.Replace(s.path(one.record.ID), b, false); err != nil {
		return fmt.Errorf("library: %w", err)
	}
	one.Key, one.Record, one.record = "", nil, one.record.Clone()
	s.stored[one.record.ID] = one
	return nil
}

// remove removes a library and its key.
func (s *Store) remove(id uuid.UUID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.stored, id)
	if err := os.Remove(s.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("library: %w", err)
	}
	return nil
}

func (s *Store) path(id uuid.UUID) string { return filepath.Join(s.dir, id.String()+storeSuffix) }

// IDs returns the UUIDs of the libraries in the store, in order.
func (s *Store) IDs() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []uuid.UUID
	for id := range s.stored {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return ids
}

// String returns a placeholder.
func (s *Store) String() string { return "a store of libraries in " + s.dir }

// Format prints the placeholder for every verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue returns the placeholder.
func (s *Store) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON fails with [identity.ErrSecret].
func (s *Store) MarshalJSON() ([]byte, error) { return nil, identity.ErrSecret }
