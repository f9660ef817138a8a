package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// maxLine bounds a line of a log in bytes.
const maxLine = 64 << 10

// A logFile is an append-only file of JSON lines, which are rewritten as fewer,
// equivalent lines when they have become many. It survives the end of the
// process at any byte: an incomplete last line is dropped.
type logFile struct {
	path string

	mu    sync.Mutex
	f     *os.File
	lines int
	dirty bool
}

// openLog opens a log, or creates it, and replays its lines.
func openLog(path string, replay func(line []byte) error) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &logFile{path: path, f: f}
	whole, err := l.read(f, replay)
	if err == nil {
		err = f.Truncate(whole)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// read replays the complete lines of r, and returns their size.
func (l *logFile) read(r io.Reader, replay func(line []byte) error) (whole int64, err error) {
	buffered := bufio.NewReaderSize(r, maxLine)
	for {
		line, err := buffered.ReadSlice('\n')
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return whole, fmt.Errorf("line %d: %w", l.lines+1, err)
		}
		if err := replay(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return whole, fmt.Errorf("line %d: %w", l.lines+1, err)
		}
		l.lines++
		whole += int64(len(line))
	}
}

// add appends a line. It survives the process when add returns, and is on the
// disk after sync.
func (l *logFile) add(v any) error {
	if l == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return os.ErrClosed
	}
	l.dirty = true
	l.lines++
	_, err = l.f.Write(append(b, '\n'))
	return err
}

// sync flushes added lines to the disk.
func (l *logFile) sync() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil || !l.dirty {
		return nil
	}
	l.dirty = false
	return l.f.Sync()
}

// crowded reports whether the log has many more lines than it needs.
func (l *logFile) crowded(needed int) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines > 1000+4*needed
}

// rewrite replaces all lines. Nothing may be added meanwhile.
func (l *logFile) rewrite(all []any) error {
	if l == nil {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(l.path), filepath.Base(l.path)+".*")
	if err != nil {
		return err
	}
	w := bufio.NewWriter(tmp)
	encoder := json.NewEncoder(w)
	for _, v := range all {
		err = errors.Join(err, encoder.Encode(v))
	}
	if err = errors.Join(err, w.Flush(), tmp.Sync(), tmp.Close()); err != nil {
		os.Remove(tmp.Name())
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return errors.Join(os.ErrClosed, os.Remove(tmp.Name()))
	}
	// Some systems do not rename open files.
	err = errors.Join(l.f.Close(), os.Rename(tmp.Name(), l.path))
	f, failed := os.OpenFile(l.path, os.O_RDWR|os.O_APPEND, 0o600)
	if failed != nil {
		l.f = nil
		return errors.Join(err, failed)
	}
	l.f, l.lines, l.dirty = f, len(all), false
	return err
}

func (l *logFile) close() error {
	if l == nil {
		return nil
	}
	err := l.sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	err = errors.Join(err, l.f.Close())
	l.f = nil
	return err
}
