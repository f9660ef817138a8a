package block

import "github.com/zeebo/blake3"

// zeros are what a hole reads as.
var zeros [64 << 10]byte

// A chunkHasher hashes the chunks of a file, one after another. A chunk that is
// all hole costs nothing where the one before was as long and all hole, too.
type chunkHasher struct {
	hash  *blake3.Hasher
	hole  int64 // bytes at the start of the chunk that are not hashed yet: all of them 0
	begun bool  // hash has taken something

	known int64 // the length of a hole whose hash is known, or 0
	empty hash  // that hash
}

func newChunkHasher() *chunkHasher { return &chunkHasher{hash: blake3.New()} }

func (c *chunkHasher) write(b []byte) {
	c.fill()
	c.hash.Write(b)
	c.begun = true
}

func (c *chunkHasher) zeros(n int64) { c.hole += n }

// fill hashes the hole that came before something else.
func (c *chunkHasher) fill() {
	for ; c.hole > 0; c.begun = true {
		n := min(c.hole, int64(len(zeros)))
		c.hash.Write(zeros[:n])
		c.hole -= n
	}
}

// sum returns the hash of the chunk, and begins another one.
func (c *chunkHasher) sum() hash {
	hole, whole := c.hole, !c.begun && c.hole > 0
	if whole && hole == c.known {
		c.reset()
		return c.empty
	}
	c.fill()
	h := sum(c.hash)
	if whole {
		c.known, c.empty = hole, h
	}
	c.reset()
	return h
}

// reset forgets what came of a chunk.
func (c *chunkHasher) reset() {
	c.hole = 0
	if c.begun {
		c.begun = false
		c.hash.Reset()
	}
}
