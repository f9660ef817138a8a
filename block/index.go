package block

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"hash/maphash"
	"io"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"github.com/sdp2p/p2p/proto"
)

const (
	indexEnd    = ".index"
	maxIndex    = 64 << 20 // bytes; beyond that, the oldest rows are dropped
	sparseIndex = 1 << 20  // bytes; below that, removing superseded rows is not worth the work
	maxBefore   = 4        // superseded rows of a path that are tried
	windowBytes = 64 << 10 // that are read at once: rows are in the order of offers
)

// An index records the files that one sender has placed in a destination, so
// that none of them is sent twice. It is stored in [partialDir] as NAME.index,
// where NAME is derived from the sender: no other sender's offers are compared
// with it. It is a list of rows, to which new ones are appended; when it is
// opened and most of it is superseded rows, it is rewritten without them. A row
// is written before its file gets its name, without waiting for the disk. If a
// row is lost, its file counts as absent; if the file has changed since, the
// row is ignored. Likewise, a lost index is an empty one, which fills as files
// arrive.
//
// All transfers of one sender into one destination share an index. Meanwhile, a
// transfer in another process has none.
type index struct {
	key  indexKey
	uses int // guarded by indexes

	renumbers bool // of the destination's file system

	mu      sync.Mutex
	dir     *os.Root
	file    *os.File
	size    int64
	rows    map[uint64]int64 // the offset of the newest row of each path
	folders map[string]folderRow
	stale   int64              // bytes of superseded rows
	chunks  map[uint64]chunkAt // nil until the first search for a chunk
	window  []byte
	at      int64 // the offset of window
	spent   spending
}

// An indexKey identifies an index: the folder of partial files, and a name in
// it.
type indexKey struct {
	device, file uint64
	name         string
}

// A folderRow records the local name of a folder that was offered as the first
// component of paths.
type folderRow struct {
	here  string
	ident ident
}

// indexes holds the indexes that this process uses.
var indexes = struct {
	sync.Mutex
	m map[indexKey]*index
}{m: map[indexKey]*index{}}

var indexSeed = maphash.MakeSeed()

func rowKey(offered string) uint64 { return maphash.String(indexSeed, offered) }

// openIndex returns the index of the files that a sender has placed, or nil if
// there can be none. The caller must close it.
func openIndex(v *volume, from string) *index {
	ident := v.dir.look(".")
	if from == "" || !ident.known() {
		return nil
	}
	h := blake3.NewDeriveKey("sdp2p block 1 index")
	h.WriteString(from)
	key := indexKey{ident.device, ident.file, hex.EncodeToString(h.Sum(nil)[:16]) + indexEnd}
	indexes.Lock()
	defer indexes.Unlock()
	if x := indexes.m[key]; x != nil {
		x.uses++
		return x
	}
	x := &index{key: key, uses: 1, renumbers: v.renumbers}
	dir, err := v.root.OpenRoot(partialDir)
	if err != nil {
		return nil
	}
	if x.dir = dir; !x.open(v) {
		dir.Close()
		return nil
	}
	indexes.m[key] = x
	return x
}

// close ends one use of x, which may be nil. An empty index is removed.
func (x *index) close() {
	if x == nil {
		return
	}
	indexes.Lock()
	defer indexes.Unlock()
	if x.uses--; x.uses > 0 {
		return
	}
	delete(indexes.m, x.key)
	if len(x.rows)+len(x.folders) == 0 {
		removeOpen(x.dir, x.file, x.key.name)
	} else {
		x.file.Close()
	}
	x.dir.Close()
}

// open opens the file, locks it, and reads it.
func (x *index) open(v *volume) bool {
	f, err := x.dir.OpenFile(x.key.name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return false
	}
	x.file = f
	named, err := x.dir.Lstat(x.key.name)
	opened, err2 := f.Stat()
	if err != nil || err2 != nil || !v.lock(f) || !os.SameFile(named, opened) {
		f.Close()
		return false
	}
	x.load()
	if x.size > maxIndex || x.size > sparseIndex && x.stale > x.size/2 {
		x.rewrite(v)
	}
	return true
}

// load reads all rows, up to the first one that is broken.
func (x *index) load() {
	x.rows, x.folders, x.spent, x.stale = map[uint64]int64{}, map[string]folderRow{}, spending{}, 0
	r := bufio.NewReaderSize(io.NewSectionReader(x.file, 0, 2*maxIndex), windowBytes)
	magic := make([]byte, len(indexMagic))
	if _, err := io.ReadFull(r, magic); err != nil || string(magic) != indexMagic {
		x.file.Truncate(0)
		n, _ := x.file.WriteAt([]byte(indexMagic), 0)
		x.size = int64(n)
		return
	}
	x.size = int64(len(magic))
	var b []byte
	for {
		k, content, err := readRow(r, b)
		if err != nil || !x.take(k, content) {
			break
		}
		b = content
		x.size += int64(rowFrame + len(content))
	}
	x.file.Truncate(x.size)
}

// take adds the row that was read at x.size. It reports false if the row is not
// valid.
func (x *index) take(k rowKind, content []byte) bool {
	d := proto.NewDecoder(bytes.NewReader(content))
	switch k {
	case rowFile:
		m, err := decodeRow(content, false)
		if err != nil {
			return false
		}
		key := rowKey(m.offered)
		if _, ok := x.rows[key]; ok {
			x.stale += int64(rowFrame + len(content))
		}
		x.rows[key] = x.size
	case rowFolder:
		offered, here := d.String(maxName), d.String(maxName)
		x.folders[offered] = folderRow{here, ident{device: x.device(d.Uint64()), file: d.Uint64(), kind: folderKind}}
	case rowSpent:
		x.spent.add(int64(d.Uint64()), int64(d.Uint64()), time.Unix(int64(d.Uint64()), 0))
	}
	return d.Err() == nil
}

// append appends rows, and reports whether that succeeded. If it did not, the
// index stays as it was.
func (x *index) append(rows []byte) bool {
	if _, err := x.file.WriteAt(rows, x.size); err != nil {
		x.file.Truncate(x.size)
		return false
	}
	x.size += int64(len(rows))
	return true
}

// add appends the rows of files that are about to get their names.
func (x *index) add(rows []*row) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var b, content []byte
	for _, m := range rows {
		var err error
		m.before = x.rows[rowKey(m.offered)]
		if content, err = m.appendTo(content[:0], x.written(m.ident.device)); err != nil {
			continue // its path is too long for an index
		}
		b = appendRow(b[:0], rowFile, content)
		at := x.size
		if x.size+int64(len(b)) > 2*maxIndex-windowBytes || !x.append(b) {
			return
		}
		x.rows[rowKey(m.offered)] = at
		x.noteChunks(at, m)
	}
}

// get returns the row at an offset, or nil.
func (x *index) get(offset int64, hashes bool) *row {
	if offset <= 0 || offset >= x.size {
		return nil
	}
	if offset < x.at || offset+rowFrame+2*maxPath > x.at+int64(len(x.window)) {
		if x.window == nil {
			x.window = make([]byte, windowBytes)
		}
		n, _ := x.file.ReadAt(x.window[:windowBytes], offset)
		x.window, x.at = x.window[:n], offset
	}
	whole := io.NewSectionReader(x.file, offset, x.size-offset)
	k, content, err := readRow(bytes.NewReader(x.window[offset-x.at:]), nil)
	if err != nil { // it is longer than the window
		k, content, err = readRow(whole, nil)
	}
	if err != nil || k != rowFile {
		return nil
	}
	m, err := decodeRow(content, hashes)
	if err != nil {
		return nil
	}
	m.ident.device = x.device(m.ident.device)
	return m
}

// device returns the device that a row names. 0 stands for the destination's,
// whose number may change each time that it is connected.
func (x *index) device(written uint64) uint64 {
	if written == 0 {
		return x.key.device
	}
	return written
}

// written returns the form of a device in a row.
func (x *index) written(device uint64) uint64 {
	if device == x.key.device {
		return 0
	}
	return device
}

// find returns the row of an offered path whose file is still in place, and the
// offset of the row. look returns the ident of the file at a path.
func (x *index) find(offered string, look func(path string) ident) (int64, *row) {
	x.mu.Lock()
	defer x.mu.Unlock()
	offset := x.rows[rowKey(offered)]
	for range maxBefore {
		m := x.get(offset, false)
		if m == nil || m.offered != offered {
			break
		}
		if now := look(m.here); x.same(&m.ident, &now) {
			return offset, m
		}
		offset = m.before
	}
	return 0, nil
}

// same reports whether now, found under a name, is the unchanged file that was
// placed.
func (x *index) same(placed, now *ident) bool {
	if x.renumbers {
		return placed.resembles(now)
	}
	return placed.is(now)
}

// row returns the row at an offset, with its hashes, or nil.
func (x *index) row(offset int64) *row {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.get(offset, true)
}

// folder returns the local name of a folder that was offered as the first
// component of paths, if that folder still exists.
func (x *index) folder(offered string, look func(path string) ident) (string, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, ok := x.folders[offered]
	if !ok {
		return "", false
	}
	now := look(f.here)
	return f.here, now.kind == folderKind && now.device == f.ident.device && (now.file == f.ident.file || x.renumbers)
}

// addFolder records a new folder.
func (x *index) addFolder(offered, here string, i ident) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !i.known() {
		return
	}
	b, err := proto.AppendStringMax(nil, offered, maxName)
	if err == nil {
		b, err = proto.AppendStringMax(b, here, maxName)
	}
	if err == nil && x.append(appendRow(nil, rowFolder, proto.AppendUint64(proto.AppendUint64(b, x.written(i.device)), i.file))) {
		x.folders[offered] = folderRow{here, i}
	}
}

// chunk returns where a chunk with that hash may be.
func (x *index) chunk(h hash) (chunkAt, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.chunks == nil {
		x.chunks = map[uint64]chunkAt{}
		for _, at := range x.rows {
			if len(x.chunks) >= maxKnown {
				break
			}
			if m := x.get(at, true); m != nil {
				x.noteChunks(at, m)
			}
		}
	}
	at, ok := x.chunks[chunkKey(&h)]
	return at, ok
}

// rewrite replaces the file by one that has the newest row of each path and the
// row before it, as many as half of an index holds. If the file cannot be
// replaced, x stays as it is.
func (x *index) rewrite(v *volume) {
	old, temporary := x.file, x.key.name+".new"
	x.dir.Remove(temporary)
	f, err := x.dir.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return
	}
	to := &index{key: x.key, file: f, rows: map[uint64]int64{}, folders: map[string]folderRow{}}
	to.append([]byte(indexMagic))
	past := spentAt{bytes: x.spent.hashed}
	for _, p := range x.spent.recent {
		to.append(appendSpent(nil, 0, p))
		past.bytes -= p.bytes
	}
	to.append(appendSpent(nil, x.spent.sent, past))
	for offered, at := range x.folders {
		to.addFolder(offered, at.here, at.ident)
	}
	offsets, room := slices.Sorted(maps.Values(x.rows)), int64(maxIndex/2)
	first := len(offsets)
	for first > 0 && room > 0 {
		first--
		if m := x.get(offsets[first], true); m != nil {
			room -= int64(rowFrame + len(m.offered) + len(m.here) + 64 + len(m.hashes)*len(hash{}))
		}
	}
	for _, offset := range offsets[first:] {
		m := x.get(offset, true)
		if m == nil {
			continue
		}
		if before := x.get(m.before, true); before != nil && before.offered == m.offered && room > 0 {
			to.add([]*row{before})
		}
		to.add([]*row{m})
	}
	if !v.lock(f) || x.dir.Rename(temporary, x.key.name) != nil {
		removeOpen(x.dir, f, temporary)
		return
	}
	old.Close()
	x.file, x.window, x.at = f, nil, 0
	x.load()
}

// spend records n bytes that are about to be hashed. It reports false if they
// exceed the limit.
func (x *index) spend(n int64) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := time.Now()
	if x.spent.left(now) < n {
		return false
	}
	x.spent.add(0, n, now)
	return true
}

// record writes how many bytes a transfer has brought, and how many were hashed
// for it.
func (x *index) record(sent, hashed int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if sent+hashed == 0 {
		return
	}
	now := time.Now()
	x.spent.add(sent, 0, now)
	x.append(appendSpent(nil, sent, spentAt{now, hashed}))
}
