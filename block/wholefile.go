package block

import "sync/atomic"

// A wholeFile is a complete file that is still a data file under its number.
type wholeFile struct {
	index  int
	entry  entry
	number uint32
	wanted string       // the path that it should get
	fresh  bool         // wanted is in a folder that this attempt has made, so it should be free; if it is not, link notices
	path   string       // the path that it gets
	hashes []hash       // of its chunks
	old    int64        // the offset in the index of the row of a file that it may replace, or 0
	swap   *swap        // or nil
	lost   *atomic.Bool // see incoming
}

func (f *wholeFile) isLost() bool { return f.lost != nil && f.lost.Load() }
