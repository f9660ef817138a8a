package block

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sdp2p/p2p/proto"
)

const (
	spoolAt  = 1 << 20 // bytes of entries that a receiver keeps in memory
	markedBy = 64      // entries from one mark to the next
)

// A spool stores the encoded entries of offers: in memory at first, in a file
// once there are many.
type spool struct {
	limit  int                      // bytes that are kept in memory
	create func() (*os.File, error) // creates the file, and removes its name if the system allows that
	remove func(name string)        // removes the file if it still has its name; may be nil

	count   int
	size    int64
	memory  []byte // the entries that are not in file
	file    *os.File
	written int64   // bytes in file
	marks   []int64 // the offset of each 64th entry
}

// add adds an entry that is not the end of an offer. It returns its encoding,
// which is valid until the next call.
func (s *spool) add(e *entry) ([]byte, error) {
	if len(s.memory) >= s.limit {
		if err := s.flush(); err != nil {
			return nil, err
		}
	}
	b, err := e.AppendBinary(s.memory)
	if err != nil {
		return nil, err
	}
	encoded := b[len(s.memory):]
	if s.count%markedBy == 0 {
		s.marks = append(s.marks, s.size)
	}
	s.memory, s.size = b, s.size+int64(len(encoded))
	s.count++
	return encoded, nil
}

// flush moves the entries in memory to the file.
func (s *spool) flush() (err error) {
	if s.file == nil {
		if s.file, err = s.create(); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(s.memory, s.written)
	s.written += int64(n)
	s.memory = s.memory[:0]
	if s.limit > spoolAt { // from now on, less is kept in memory
		s.limit, s.memory = spoolAt, nil
	}
	return err
}

// reader returns a reader of the encoded entries from that offset on.
func (s *spool) reader(offset int64) io.Reader {
	memory := bytes.NewReader(s.memory[min(max(offset-s.written, 0), int64(len(s.memory))):])
	if offset >= s.written {
		return memory
	}
	return io.MultiReader(io.NewSectionReader(s.file, offset, s.written-offset), memory)
}

func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
		if s.remove != nil {
			s.remove(s.file.Name())
		}
	}
}

// A cursor iterates over the entries of a spool. There may be several at a
// time.
type cursor struct {
	entry
	index int // of entry; initially one less than that of the first entry
	end   int // the index after the last one
	d     *proto.Decoder
	r     *bufio.Reader
	err   error
}

// entries returns a cursor before the entries from first up to, but not
// including, end.
func (s *spool) entries(first, end int) *cursor {
	c := &cursor{index: first - 1, end: end}
	mark := first / markedBy
	offset := s.size
	if mark < len(s.marks) {
		offset = s.marks[mark]
	}
	c.r = bufio.NewReaderSize(s.reader(offset), 32<<10)
	c.d = proto.NewDecoder(c.r)
	for skip := first - mark*markedBy; skip > 0 && c.err == nil && first < s.count; skip-- {
		c.d.Reset(c.r)
		c.err = c.entry.DecodeFrom(c.d)
	}
	return c
}

// all returns a cursor before all entries.
func (s *spool) all() *cursor { return s.entries(0, s.count) }

// at returns the entry of that index, in a time independent of the number of
// entries.
func (s *spool) at(index int) (entry, error) {
	c := s.entries(index, index+1)
	c.next()
	return c.entry, c.err
}

// next moves to the next entry. It reports false at the end and after an error.
func (c *cursor) next() bool {
	if c.err != nil || c.index+1 >= c.end {
		return false
	}
	c.d.Reset(c.r)
	if c.err = c.entry.DecodeFrom(c.d); c.err != nil {
		return false
	}
	c.index++
	return true
}

// bounds returns the offset at which a pack that begins at from ends: that of
// the first mark with at least size bytes before it, or end.
func (s *spool) bounds(from, end, size int64) (next int64) {
	next = end
	for _, mark := range s.marks {
		if mark > from && mark < end && mark-from >= size {
			return mark
		}
	}
	return next
}

// spoolError wraps an error of the sender's list.
func spoolError(err error) error {
	if errors.Is(err, ErrSpool) || errors.Is(err, proto.ErrInvalid) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrSpool, err)
}
