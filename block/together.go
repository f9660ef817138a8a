package block

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// maxTogether is how many chunks of one file are read, copied or hashed at the
// same time, where nothing else can go on meanwhile: each takes a buffer.
const maxTogether = 4

func together() int { return min(maxTogether, runtime.GOMAXPROCS(0)) }

// hashes returns the hashes of all chunks of a file, of which several are read
// at the same time if it is one of a disk. Other files are read in order.
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
		view := *c // what is known of its holes is of one reader
		others.Go(func() { work(&view) })
	}
	work(c)
	others.Wait()
	return all, context.Cause(ctx)
}

// A copies copies chunks to a file that arrives, several at the same time, and
// hashes what was copied. What became of them is told in their order, by the
// goroutine of the assembler.
type copies struct {
	*assembler
	in  *incoming
	all []*chunkCopy // that go on, the oldest first
}

// A chunkCopy is the copy of one chunk.
type chunkCopy struct {
	chunk    uint32
	from     content // a view: what is known of its holes is of one reader
	at, size int64
	done     chan struct{} // closed behind the last use of what is above, and of what is below
	err      error         // of copying
	sum      hash          // of what was copied
	unread   error         // that could not be read again
}

// begin begins to copy a chunk of that size from where it is. Files stay open
// until wait.
func (c *copies) begin(chunk uint32, from *content, at, size int64) error {
	for len(c.all) >= together() {
		if err := c.end(); err != nil {
			return err
		}
	}
	from.extentAt(at) // once for all that follow: to look for a hole may take as long as to read up to it
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

// end waits for the oldest copy, and tells what became of it.
func (c *copies) end() error {
	x := c.all[0]
	c.all = c.all[1:]
	<-x.done
	if x.err != nil && noSpace(x.err) {
		c.wait() // the file is given up, and closed
	}
	return c.copied(c.in, x)
}

// settle waits for all copies, and tells what became of them.
func (c *copies) settle() error {
	for len(c.all) > 0 && !c.in.dead {
		if err := c.end(); err != nil {
			return err
		}
	}
	c.wait()
	return nil
}

// wait waits for all copies, whatever became of them.
func (c *copies) wait() {
	for _, x := range c.all {
		<-x.done
	}
	c.all = nil
}
