package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/uuid"
)

// A Log is a file that only grows. It begins with 16 bytes of text and the
// library's UUID, followed by records:
//
//	size  field
//	4     length of the content, at least 1, little-endian
//	4     CRC-32C of the length
//	4     CRC-32C of the content
//	      content
//
// The checksums protect against accidents, not against programs that can write
// to the file, since these can also read the keys next to it. CRC-32C finds
// every damage within 32 bits in a row, misses one in four thousand million
// others, and costs next to nothing. The length has a checksum of its own, so
// that a record that ends beyond the end of the file is known to be unfinished,
// because the program or the computer stopped, and not damaged.
//
// When the log is opened, such an unfinished record is cut off, as are zero
// bytes at the end, which some file systems leave after a power failure. Any
// other damage is an error that says where, and nothing is changed.
//
// Sync makes appended records survive a power failure. A device calls it before
// it shares an operation of its own; operations of others can be fetched again.
type Log struct {
	file *os.File
	size int64 // up to the end of the last complete record
	err  error // sticks: a failed write that could not be undone
}

const (
	logHeader    = 16 + 16
	recordHeader = 12
)

var (
	logMagic   = []byte("sdp2p-notes-log2")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// A DamageError says that a log is damaged.
type DamageError struct {
	Path string
	At   int64 // where the first damaged record begins
	Why  string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s. Nothing was changed. Restore the file from a copy that is newer than "+
		"the last change here; or begin with an empty folder, and pair this device again", e.Path, e.At, e.Why)
}

// OpenLog opens the log of a library, or makes one, and calls each with all
// records in it. It returns how many bytes of an unfinished record it has cut
// off.
func OpenLog(path string, library uuid.UUID, each func(at int64, content []byte) error) (l *Log, cut int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	l = &Log{file: f}
	header := append(bytes.Clone(logMagic), library[:]...)
	got := make([]byte, logHeader)
	n, err := f.ReadAt(got, 0)
	if err != nil && err != io.EOF {
		return nil, 0, err
	}
	if n < logHeader { // new, or it was being made
		if !bytes.HasPrefix(header, got[:n]) && !zero(got[:n]) {
			return nil, 0, &DamageError{path, 0, "it does not begin as a log does"}
		}
		if _, err := f.WriteAt(header, 0); err != nil {
			return nil, 0, err
		}
		l.size = logHeader
		return l, 0, errors.Join(f.Truncate(logHeader), f.Sync(), syncFolder(filepath.Dir(path)))
	}
	if !bytes.Equal(got, header) {
		return nil, 0, &DamageError{path, 0, "it does not begin as the log of this library does"}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	l.size, err = l.scan(logHeader, info.Size(), each)
	var damage *DamageError
	if errors.As(err, &damage) && damage.Why == "" {
		err = nil // not finished
	}
	if err != nil {
		return nil, 0, err
	}
	if cut = info.Size() - l.size; cut > 0 {
		if err := errors.Join(f.Truncate(l.size), f.Sync()); err != nil {
			return nil, 0, err
		}
	}
	return l, cut, nil
}

// Append appends records in one write, and returns where each begins. They need
// a Sync to survive a power failure.
func (l *Log) Append(contents ...[]byte) (at []int64, err error) {
	if l.err != nil {
		return nil, l.err
	}
	var b []byte
	for _, c := range contents {
		at = append(at, l.size+int64(len(b)))
		length := binary.LittleEndian.AppendUint32(nil, uint32(len(c)))
		b = append(b, length...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(length, castagnoli))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(c, castagnoli))
		b = append(b, c...)
	}
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		l.err = l.file.Truncate(l.size) // as if nothing had been written: the disk may have room again later
		return nil, errors.Join(err, l.err)
	}
	l.size += int64(len(b))
	return at, nil
}

// Sync makes appended records survive a power failure.
func (l *Log) Sync() error {
	if l.err == nil {
		l.err = l.file.Sync() // after a failure the state of the disk is unknown, so it is not retried
	}
	return l.err
}

// Close closes the file, after a Sync.
func (l *Log) Close() error { return errors.Join(l.Sync(), l.file.Close()) }

// errEnough ends a Read early.
var errEnough = errors.New("enough")

// Read calls each with the records between two positions, and returns where the
// next one begins. It ends when each returns errEnough. It may be called while
// another goroutine appends beyond to.
func (l *Log) Read(from, to int64, each func(at int64, content []byte) error) (next int64, err error) {
	next, err = l.scan(from, to, each)
	if err == errEnough {
		err = nil
	}
	return next, err
}

// scan is Read; it returns a DamageError without a Why if the last record is
// unfinished. The content is valid only until each returns.
func (l *Log) scan(from, to int64, each func(at int64, content []byte) error) (next int64, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(l.file, from, to-from), 64<<10)
	damage := func(why string) error { return &DamageError{l.file.Name(), from, why} }
	var content []byte
	for from < to {
		var header [recordHeader]byte
		if _, err := io.ReadFull(r, header[:min(recordHeader, to-from)]); err != nil {
			return from, err
		}
		length := binary.LittleEndian.Uint32(header[:])
		switch {
		case to-from < recordHeader:
			return from, damage("")
		case binary.LittleEndian.Uint32(header[4:]) != crc32.Checksum(header[:4], castagnoli):
			if zero(header[:]) && zeros(r) {
				return from, damage("")
			}
			return from, damage("the length of a record is not what was written")
		case length == 0 || length > MaxOp:
			return from, damage("a record has an impossible length")
		case to-from < recordHeader+int64(length):
			return from, damage("")
		}
		if cap(content) < int(length) {
			content = make([]byte, max(int(length), 1024))
		}
		content = content[:length]
		if _, err := io.ReadFull(r, content); err != nil {
			return from, err
		}
		if binary.LittleEndian.Uint32(header[8:]) != crc32.Checksum(content, castagnoli) {
			return from, damage("a record is not what was written")
		}
		if err := each(from, content); err != nil {
			if err == errEnough {
				from += recordHeader + int64(length)
			}
			return from, err
		}
		from += recordHeader + int64(length)
	}
	return from, nil
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// zeros reports whether only zero bytes follow.
func zeros(r io.Reader) bool {
	b := make([]byte, 4096)
	for {
		n, err := r.Read(b)
		if !zero(b[:n]) {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

// syncFolder makes the names in a folder survive a power failure. Windows does
// that by itself, and cannot open folders for it.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
