package block

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

const (
	journalEnd = ".journal"
	maxJournal = 1 << 30   // bytes; a larger one is not read
	recordSize = 1 + 2 + 8 // of a record without content
	headerSize = recordSize + 32
	maxRecords = 32 << 10  // bytes that are written in one step
	maxReserve = 256 << 10 // bytes that are reserved on disk, so that complete files can be placed even if it is full
)

// A journal records the state of an incomplete offer of one sender, so that the
// next attempt continues where this one ends, however it ends. It is stored in
// [partialDir] as NAME.journal, and the data that has arrived for its files as
// NAME.NUMBER. A transfer locks its journal.
//
// It is a list of records that is only ever appended to:
//
//	size  field
//	1     type
//	2     length
//	      content
//	8     checksum: the first 8 bytes of BLAKE3 of the above
//
// Everything from the first incomplete or corrupted record on is ignored. No
// record is trusted without a check:
//
//   - A chunk is recorded after its bytes were written to the file, but without
//     waiting for the disk. If the process is killed, neither is lost. A power
//     cut may lose the bytes and keep the record; so each chunk is read and
//     hashed again before it is claimed, and the sender compares the hashes
//     with those of its file before it continues after them.
//   - A place is recorded before the file gets its final name there, and the
//     name is given once both the record and the bytes are on disk. So every
//     placed file of ours has a record. If a file is recorded but has no final
//     name, its data file still exists, and the record is withdrawn. A file
//     that has both names is the user's: nothing more is written to it.
//
// On a file system without locks, a transfer that finds a journal cannot know
// whether another process still uses it. It takes the journal over: see adopt.
type journal struct {
	vol     *volume
	dir     *os.Root // partialDir
	name    string
	file    *os.File
	keep    bool    // a later attempt can find it
	adopted bool    // it was taken over on a file system without locks
	holder  *holder // of this transfer, in holders

	mu       sync.Mutex
	size     int64
	reserved int64 // disk space is allocated up to this offset
	scratch  []byte

	next   uint32              // number for the next data file
	first  uint32              // the first number of this attempt
	tops   map[string]string   // the local name of each first component of offered paths
	begun  map[[16]byte]*begun // files of which some chunks have arrived
	places map[[16]byte]int64  // the offsets of the records of files that were, or were about to be, placed
	swaps  map[uint32]swap     // files that have replaced, or were about to replace, another one, by number

	unsynced bool // a record was withdrawn
}

// journalKey returns the key by which a journal is found. It depends on the
// sender and the offer's ID.
func journalKey(from string, offer [16]byte) (key hash) {
	h := blake3.NewDeriveKey("sdp2p block 1 journal")
	h.Write(offer[:])
	h.WriteString(from)
	h.Digest().Read(key[:])
	return key
}

func newJournal(vol *volume, name string) *journal {
	return &journal{
		vol: vol, dir: vol.partial, name: name,
		tops: map[string]string{}, begun: map[[16]byte]*begun{}, places: map[[16]byte]int64{},
		swaps: map[uint32]swap{},
	}
}

// create creates the journal's file. Before it is locked, another transfer that
// searches for its own journal may take it for abandoned and remove it. In that
// case, create tries again under another name.
func (j *journal) create(ctx context.Context) (err error) {
	for {
		j.hold(ctx)
		if j.file, err = j.dir.OpenFile(j.name+journalEnd, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			j.free()
			return err
		}
		if j.lock() {
			return nil
		}
		j.file.Close()
		j.free()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		j.name = rand.Text()
	}
}

// skipData makes the next number larger than that of any data file, since small
// files get their numbers without a record.
func (j *journal) skipData() error {
	names, err := readNames(j.dir)
	for _, name := range names {
		if n, ok := j.numberOf(name); ok {
			j.next = max(j.next, n+1)
		}
	}
	return err
}

// sync flushes the journal to disk.
func (j *journal) sync() error {
	if err := j.vol.sync(j.file); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	return nil
}

// append appends a record.
func (j *journal) append(typ recordType, content []byte) error {
	if err := j.vol.faults("journal", j.name); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.scratch = appendRecord(j.scratch[:0], typ, content)
	return j.write(j.scratch)
}

// write appends records; j.mu is held.
func (j *journal) write(records []byte) error {
	if _, err := j.file.WriteAt(records, j.size); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err) // the next record overwrites the part that was written
	}
	j.size += int64(len(records))
	if j.reserved-j.size < maxReserve/2 {
		j.reserved = j.size + maxReserve
		reserve(j.file, j.size, maxReserve)
	}
	return nil
}

// load reads all records.
func (j *journal) load() error {
	info, err := j.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > maxJournal {
		return errRecord
	}
	r := bufio.NewReader(io.NewSectionReader(j.file, 0, info.Size()))
	numbers, hashes := map[uint32]*begun{}, 0
	for {
		typ, content, err := readRecord(r)
		if err != nil {
			return nil
		}
		d := proto.NewDecoder(bytes.NewReader(content))
		switch typ {
		case recordTop:
			offered, here := d.String(maxName), d.String(maxName)
			j.tops[offered] = here
		case recordBegin:
			b := &begun{number: d.Uint32()}
			id := d.UUID()
			b.size = int64(d.Uint64())
			j.begun[id], numbers[b.number] = b, b
			j.next = max(j.next, b.number+1)
		case recordChunk:
			b, chunk := numbers[d.Uint32()], int(d.Uint32())
			if b == nil || chunk >= maxChunks || chunk >= len(b.hashes) && hashes+chunk-len(b.hashes) >= maxChunks {
				break // ignored: the chunk is fetched again
			}
			for len(b.hashes) <= chunk {
				b.hashes = append(b.hashes, hash{})
				hashes++
			}
			d.Fixed(b.hashes[chunk][:])
		case recordPlace:
			p := decodePlace(d)
			j.places[p.entry.id] = j.size
			j.next = max(j.next, p.number+1)
		case recordSwap:
			number, s := decodeSwap(d)
			j.swaps[number] = s
		}
		if d.Err() != nil {
			return d.Err()
		}
		j.size += int64(recordSize + len(content))
	}
}

func (j *journal) top(offered, here string) error {
	b, err := proto.AppendStringMax(nil, offered, maxName)
	if err == nil {
		b, err = proto.AppendStringMax(b, here, maxName)
	}
	if err != nil {
		return err
	}
	if err = j.append(recordTop, b); err == nil {
		j.tops[offered] = here
	}
	return err
}

// begin records a new file and returns its number.
func (j *journal) begin(e *entry) (uint32, error) {
	n := j.number()
	b := proto.AppendUUID(proto.AppendUint32(nil, n), e.id)
	return n, j.append(recordBegin, proto.AppendUint64(b, uint64(e.size)))
}

// number returns the number for a new data file.
func (j *journal) number() uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.next++
	return j.next - 1
}

func (j *journal) chunk(number, chunk uint32, h hash) error {
	return j.append(recordChunk, append(proto.AppendUint32(proto.AppendUint32(nil, number), chunk), h[:]...))
}

// place records any number of places, in few writes.
func (j *journal) place(places ...place) error {
	if err := j.vol.faults("journal", j.name); err != nil {
		return fmt.Errorf("%w: %w", errJournal, err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	var content []byte
	records := j.scratch[:0]
	for i := range places {
		p := &places[i]
		b := proto.AppendUUID(proto.AppendUint32(content[:0], p.number), p.entry.id)
		b = proto.AppendUint64(b, uint64(p.entry.size))
		b = proto.AppendUint32(proto.AppendUint64(b, uint64(p.entry.seconds)), p.entry.nanos)
		b, err := proto.AppendStringMax(b, p.path, maxPath+maxName)
		if err != nil {
			return err
		}
		content = proto.AppendBool(b, p.hold)
		records = appendRecord(records, recordPlace, content)
		if len(records) >= maxRecords || i == len(places)-1 {
			if err := j.write(records); err != nil {
				return err
			}
			records = records[:0]
		}
	}
	j.scratch = records
	return nil
}

// data returns the name of a data file.
func (j *journal) data(number uint32) string {
	return j.name + "." + strconv.FormatUint(uint64(number), 10)
}

// close closes the journal. It removes the journal and its data files if the
// transfer is complete, if there is nothing to resume, or if no later attempt
// can find the journal.
func (j *journal) close(complete bool) {
	defer j.free()
	if complete || !j.keep || j.size <= headerSize {
		j.sweep(func(uint32) bool { return true })
		removeOpen(j.dir, j.file, j.name+journalEnd)
		return
	}
	j.file.Truncate(j.size) // gives up the reserved space
	j.file.Close()
}

// numberOf returns the number of a data file of this journal.
func (j *journal) numberOf(name string) (uint32, bool) {
	end, ok := strings.CutPrefix(name, j.name+".")
	n, err := strconv.ParseUint(end, 10, 32)
	return uint32(n), ok && err == nil
}

// sweep removes the data files whose number is unused.
func (j *journal) sweep(unused func(number uint32) bool) {
	names, _ := readNames(j.dir)
	for _, name := range names {
		if n, ok := j.numberOf(name); ok && unused(n) {
			j.discard(name, n)
		}
	}
}

// readNames returns the names in a folder.
func readNames(dir *os.Root) ([]string, error) {
	d, err := dir.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// lock locks the journal's file. It reports false if another transfer has the
// lock, or has removed the file.
func (j *journal) lock() bool {
	if !j.vol.lock(j.file) {
		return false
	}
	named, err := j.dir.Lstat(j.name + journalEnd)
	opened, err2 := j.file.Stat()
	return err == nil && err2 == nil && os.SameFile(named, opened)
}

// discard removes a data file. If a transfer was killed while it replaced a
// file, the user's file may be there: that is kept, under another name.
func (j *journal) discard(name string, number uint32) {
	if s, ok := j.swaps[number]; ok {
		now := j.vol.dir.look(name)
		if now.kind != otherKind && now.file != s.new.file && !s.old.is(&now) {
			j.vol.rescue(name, s.path)
			return
		}
	}
	j.dir.Remove(name)
}

// swap records that a data file is about to replace another file.
func (j *journal) swap(number uint32, s *swap) error {
	b, err := proto.AppendStringMax(proto.AppendUint32(nil, number), s.path, maxPath+maxName)
	if err != nil {
		return err
	}
	for _, n := range []uint64{s.new.device, s.new.file, s.old.device, s.old.file, uint64(s.old.size), uint64(s.old.time)} {
		b = proto.AppendUint64(b, n)
	}
	j.swaps[number] = *s
	return j.append(recordSwap, b)
}
