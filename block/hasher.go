package block

import (
	"context"

	"github.com/zeebo/blake3"
)

// zeros are the bytes of a hole.
var zeros [64 << 10]byte

// A chunkHasher hashes the chunks of a file, one after another. A chunk that is
// one hole costs nothing if the previous hole chunk was equally long. Its
// methods fail once ctx is done, since a hole may be very long.
type chunkHasher struct {
	ctx   context.Context
	hash  *blake3.Hasher
	hole  int64 // zeros at the end of the chunk so far that are not hashed yet, in bytes
	begun bool  // something was written to hash

	known int64 // the length of a hole whose hash is known, or 0
	empty hash  // the hash of that hole
}

func newChunkHasher(ctx context.Context) *chunkHasher {
	return &chunkHasher{ctx: ctx, hash: blake3.New()}
}

func (c *chunkHasher) write(b []byte) error {
	err := c.fill()
	c.hash.Write(b)
	c.begun = true
	return err
}

func (c *chunkHasher) zeros(n int64) { c.hole += n }

// fill hashes the pending hole.
func (c *chunkHasher) fill() error {
	for i := 0; c.hole > 0; i++ {
		if i%64 == 63 && c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		n := min(c.hole, int64(len(zeros)))
		c.hash.Write(zeros[:n])
		c.hole -= n
		c.begun = true
	}
	return nil
}

// sum returns the hash of the chunk, and begins the next one.
func (c *chunkHasher) sum() (h hash, err error) {
	hole, whole := c.hole, !c.begun && c.hole > 0
	if whole && hole == c.known {
		c.reset()
		return c.empty, nil
	}
	if err = c.fill(); err != nil {
		return h, err
	}
	h = sum(c.hash)
	if whole {
		c.known, c.empty = hole, h
	}
	c.reset()
	return h, nil
}

// reset discards the chunk so far.
func (c *chunkHasher) reset() {
	c.hole = 0
	if c.begun {
		c.begun = false
		c.hash.Reset()
	}
}
