package block

import (
	"io"
	"os"
	"sync/atomic"
)

// An incoming is a file that arrives.
type incoming struct {
	index       int
	entry       entry
	size, block int64 // of the part of the file that is wanted; of its chunks
	sink        io.WriterAt
	file        *os.File // sink, unless that is the app's; nil of a small file that has none yet
	held        []byte   // the start of a small file, or all of it, that is not in a file yet; in the buffer of its batch
	number      uint32   // of the data file
	journaled   bool
	adopted     bool // another transfer may still write to the data file

	lost atomic.Bool // the disk has lost what was written: a system says so once

	pos      int64  // bytes that have arrived
	unsynced int64  // bytes
	hashes   []hash // of the chunks that have arrived
	missing  int    // chunks that have to come again
	ended    bool
	root     hash   // of the file, as the sender says
	dead     bool   // the file was given up, and the rest of it is thrown away
	reuse    *reuse // of an earlier version, or nil
}

func (in *incoming) close() {
	if in.file != nil {
		in.file.Close()
	}
	in.closeOld()
}

// chunkEnd returns where the chunk ends that arrives now.
func (in *incoming) chunkEnd() int64 {
	start := int64(len(in.hashes)) * in.block
	return start + min(in.block, in.size-start)
}

// between tells whether no chunk has begun that is not complete.
func (in *incoming) between() bool {
	return in.pos == min(int64(len(in.hashes))*in.block, in.size)
}

// A resume is what an earlier attempt has left of a file.
type resume struct {
	number uint32
	hashes []hash
}

// A reuse is what the sender has told of a file of which there is an earlier
// version, and what is there of it.
type reuse struct {
	told   []hash
	states []chunkState
	old    *content        // the earlier version, or nil
	spoilt map[uint32]bool // chunks that something else was copied to
	mixed  bool            // the chunk that arrives has pieces of the earlier version
}

// closeOld closes the earlier version.
func (in *incoming) closeOld() {
	if in.reuse != nil && in.reuse.old != nil {
		in.reuse.old.close()
		in.reuse.old = nil
	}
}

// skip moves on behind the chunks that are there.
func (in *incoming) skip() {
	if in.reuse == nil {
		return
	}
	for n := len(in.hashes); n < len(in.reuse.told) && in.reuse.states[n] == chunkThere; n++ {
		in.pos = in.chunkEnd()
		in.hashes = append(in.hashes, in.reuse.told[n])
	}
}
