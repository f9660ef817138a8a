package block

import "sync/atomic"

// A wholeFile is a file that is whole, under its number.
type wholeFile struct {
	index  int
	entry  entry
	number uint32
	wanted string       // the path that it is to get
	fresh  bool         // wanted lies in a folder that this attempt has made: where it is taken, link finds that
	path   string       // that it gets
	hashes []hash       // of its chunks
	old    int64        // where the row lies of a file that it may replace, or 0
	swap   *swap        // or nil
	lost   *atomic.Bool // see incoming
}

func (f *wholeFile) isLost() bool { return f.lost != nil && f.lost.Load() }
