package block

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// maxTogether is the maximum number of chunks of one file that are read, copied
// or hashed at the same time while nothing else can be done. Each takes a
// buffer.
const maxTogether = 4

func together() int { return min(maxTogether, runtime.GOMAXPROCS(0)) }

// hashes returns the hashes of all chunks of a file. Of a file on disk, it
// reads several chunks at the same time; other files are read in order.
func (c *content) hashes(ctx context.Context, block int64) ([]hash, error) {
	all := make([]hash, chunkCount(c.entry.size, block))
	many := 1
	if readsTogether(c.file) {
		many = together()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	work := func(c *content) {
		buf := pool.Get().(*buffer)
		defer pool.Put(buf)
		h := newChunkHasher(ctx)
		for i := next.Add(1) - 1; i < int64(len(all)) && ctx.Err() == nil; i = next.Add(1) - 1 {
			sum, err := c.hash(h, buf[:piece], i*block, i*block+chunkSize(c.entry.size, block, uint32(i)))
			if err != nil {
				cancel(err)
				return
			}
			all[i] = sum
		}
	}
	var others sync.WaitGroup
	for range many - 1 {
		view := *c // each reader has an extent of its own
		others.Go(func() { work(&view) })
	}
	work(c)
	others.Wait()
	return all, context.Cause(ctx)
}

// A copies copies chunks to a file in transit, several at the same time, and
// hashes the copies. The goroutine of the assembler handles their results in
// order.
type copies struct {
	*assembler
	in  *incoming
	all []*chunkCopy // still running, the oldest first
}

// A chunkCopy is the copy of one chunk.
type chunkCopy struct {
	chunk    uint32
	from     content // a copy: each reader has an extent of its own
	at, size int64
	done     chan struct{} // closed after the goroutine's last use of the fields
	err      error         // of copying
	sum      hash          // of the copy
	unread   error         // the error of reading the copy
}

// begin begins to copy a chunk of that size from offset at of from. Files must
// stay open until wait has returned.
func (c *copies) begin(chunk uint32, from *content, at, size int64) error {
	for len(c.all) >= together() {
		if err := c.end(); err != nil {
			return err
		}
	}
	from.extentAt(at) // once for all later chunks: finding a hole may take as long as reading up to it
	x := &chunkCopy{chunk: chunk, from: *from, at: at, size: size, done: make(chan struct{})}
	c.all = append(c.all, x)
	if x.err = c.vol.faults("write", c.in.file.Name()); x.err != nil {
		close(x.done)
		return nil
	}
	go func() {
		defer close(x.done)
		to := int64(chunk) * c.in.block
		if x.err = copyData(c.in.file, to, &x.from, at, size); x.err == nil {
			x.sum, x.unread = c.hashData(c.in, to, to+size)
		}
	}()
	return nil
}

// end waits for the oldest copy, and handles its result.
func (c *copies) end() error {
	x := c.all[0]
	c.all = c.all[1:]
	<-x.done
	if x.err != nil && noSpace(x.err) {
		c.wait() // the file will be given up and closed
	}
	return c.copied(c.in, x)
}

// settle waits for all copies, and handles their results.
func (c *copies) settle() error {
	for len(c.all) > 0 && !c.in.dead {
		if err := c.end(); err != nil {
			return err
		}
	}
	c.wait()
	return nil
}

// wait waits for all copies, and ignores their results.
func (c *copies) wait() {
	for _, x := range c.all {
		<-x.done
	}
	c.all = nil
}
