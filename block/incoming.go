package block

import (
	"io"
	"os"
	"sync/atomic"
)

// An incoming file is one in transit.
type incoming struct {
	index       int
	entry       entry
	size, block int64 // of the wanted part of the file; of its chunks
	sink        io.WriterAt
	file        *os.File // sink, unless that is the app's; nil for a small file that has no data file yet
	held        []byte   // the beginning of a small file, or all of it, before it is written; in the buffer of its batch
	number      uint32   // of the data file
	journaled   bool
	adopted     bool // another transfer may still write to the data file

	lost atomic.Bool // the disk has lost written data, which the system reports only once

	pos      int64  // bytes that have arrived
	unsynced int64  // bytes
	hashes   []hash // of the chunks that have arrived
	missing  int    // chunks that have to be sent again
	ended    bool
	root     hash   // of the file, according to the sender
	dead     bool   // the file was given up: the rest of it is discarded
	reuse    *reuse // of an earlier version, or nil
}

func (in *incoming) close() {
	if in.file != nil {
		in.file.Close()
	}
	in.closeOld()
}

// chunkEnd returns where the current chunk ends.
func (in *incoming) chunkEnd() int64 {
	start := int64(len(in.hashes)) * in.block
	return start + min(in.block, in.size-start)
}

// between reports whether the file is between two chunks.
func (in *incoming) between() bool {
	return in.pos == min(int64(len(in.hashes))*in.block, in.size)
}

// A resume describes the data of a file that an earlier attempt has left.
type resume struct {
	number uint32
	hashes []hash
}

// A reuse holds the hashes that the sender has sent for a file of which the
// receiver has an earlier version, and the chunks that the receiver has.
type reuse struct {
	told   []hash
	states []chunkState
	old    *content        // the earlier version, or nil
	spoilt map[uint32]bool // chunks that other bytes were copied to
	mixed  bool            // the current chunk has pieces of the earlier version
}

// closeOld closes the earlier version.
func (in *incoming) closeOld() {
	if in.reuse != nil && in.reuse.old != nil {
		in.reuse.old.close()
		in.reuse.old = nil
	}
}

// skip moves past the chunks that the receiver has.
func (in *incoming) skip() {
	if in.reuse == nil {
		return
	}
	for n := len(in.hashes); n < len(in.reuse.told) && in.reuse.states[n] == chunkThere; n++ {
		in.pos = in.chunkEnd()
		in.hashes = append(in.hashes, in.reuse.told[n])
	}
}
