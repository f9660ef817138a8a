package block

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sdp2p/p2p/proto"
)

// An ear holds what has arrived of a message.
type ear struct {
	heard []byte
	skip  int64 // bytes of data that follow
	hello bool
}

// A span is where bytes of a file lie in what was written, and which chunk they
// belong to.
type span struct {
	from, to int
	of       request
	offer    int
	asked    int // how often that chunk was asked for
}

// hear judges what a side says. It returns where file content lies in b.
func (r *referee) hear(of side, b []byte) (spans []span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := &r.ears[of]
	rest := b
	if len(e.heard) > 0 {
		rest = append(e.heard, b...)
		e.heard = nil
	}
	for len(rest) > 0 && r.err == nil {
		if e.skip > 0 {
			n := int(min(e.skip, int64(len(rest))))
			at := len(b) - len(rest)
			spans = append(spans, r.span(at, at+n))
			rest, e.skip = rest[n:], e.skip-int64(n)
			continue
		}
		in := bytes.NewReader(rest)
		err := r.listen(of, in)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			e.heard = bytes.Clone(rest)
			break
		}
		if err != nil {
			r.err = fmt.Errorf("the %v, in state %v, the other in %v, offer %d: message %d: %w", of, r.state[of], r.state[1-of], r.offer, rest[0], err)
			break
		}
		rest = rest[len(rest)-in.Len():]
	}
	return spans
}

func (r *referee) span(from, to int) span {
	c := r.current
	if r.state[senders] == sAgain {
		c = r.again
	}
	req := request{uint16(c.entry), c.chunk}
	return span{from, to, req, r.offer, r.asked[req]}
}

// listen reads and judges one message. io.EOF and io.ErrUnexpectedEOF say that
// it is not complete.
func (r *referee) listen(of side, in *bytes.Reader) error {
	d := proto.NewDecoder(in)
	if !r.ears[of].hello {
		err := new(hello).DecodeFrom(d)
		r.ears[of].hello = err == nil
		return err
	}
	first, _ := in.ReadByte()
	in.UnreadByte()
	if r.quiet[of] {
		return errors.New("behind an abort")
	}
	switch kind(first) {
	case kindFolder, kindFile, kindLeftOut, kindOffered:
		var e entry
		if err := e.DecodeFrom(d); err != nil {
			return err
		}
		return r.judge(of, &message{kind: e.kind}, &e, in)
	}
	var m message
	if err := m.DecodeFrom(d); err != nil {
		return err
	}
	if m.kind == kindPacked {
		return r.unpacks(of, &m, in)
	}
	return r.judge(of, &m, nil, in)
}

// A pace is how slow something is.
type pace struct {
	mu      sync.Mutex
	random  *rand.Rand
	often   float64 // how likely a pause is
	longest time.Duration
	fixed   time.Duration // if not 0, every pause is as long
}

func newPace(seed uint64, often float64, longest time.Duration) *pace {
	return &pace{random: rand.New(rand.NewPCG(seed, 1)), often: often, longest: longest}
}

// pause takes its time, at most that long, and no more than a step longer than
// goes on says. A pace that is nil takes none.
func (p *pace) pause(most time.Duration, goesOn func() bool) (took time.Duration) {
	if p == nil {
		return 0
	}
	if took = p.fixed; took == 0 {
		p.mu.Lock()
		if p.random.Float64() < p.often {
			took = min(most, time.Duration(p.random.Int64N(int64(p.longest)+1)))
		}
		p.mu.Unlock()
	}
	for left := took; left > 0 && goesOn(); left -= step {
		time.Sleep(min(left, step))
	}
	return took
}

// always is for pauses that nothing ends.
func always() bool { return true }

// part returns how many of n bytes go at once: all of them, if it never pauses.
func (p *pace) part(n int) int {
	if p == nil || p.fixed > 0 {
		return n
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n > 1 && p.random.Float64() < p.often {
		return 1 + p.random.IntN(n)
	}
	return n
}

const (
	step      = 250 * time.Millisecond
	slowest   = 12 * time.Second // pause of a write, and of a read: with a keep in 5 s, less than 30
	offerTime = 25 * time.Second // pauses of either side during an offer, which has 60 s
)

// A tap is an end of a stream at which a referee listens. It may be slow,
// change bytes of files, and break.
type tap struct {
	net.Conn
	of            side // that uses it
	referee       *referee
	reads, writes *pace
	spoils        func(s span) bool // whether the bytes of a span are changed that are written
	after         int64             // bytes written, behind which the stream breaks; never if negative
	broken        func()            // breaks it
	before        func()            // is called before each write
	one           chan struct{}     // has room for the one that reads

	written, heard   int64         // bytes
	reading, writing time.Duration // pauses during this offer
	readBy, writeBy  atomic.Int64  // deadlines
}

// pause is one of the stream, and ends with its deadline; spent counts those
// during an offer.
func (c *tap) pause(p *pace, offering bool, spent *time.Duration, deadline *atomic.Int64) {
	if !offering {
		*spent = 0
	}
	*spent += p.pause(min(offerTime-*spent, slowest), func() bool {
		at := deadline.Load()
		return at == 0 || time.Now().UnixNano() < at
	})
}

// offering tells whether an offer is on its way.
func (c *tap) offering() bool {
	c.referee.mu.Lock()
	defer c.referee.mu.Unlock()
	return c.referee.state[senders] == sOffering
}

func (c *tap) SetDeadline(at time.Time) error {
	return errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at))
}

func (c *tap) SetReadDeadline(at time.Time) error {
	c.readBy.Store(nanos(at))
	return c.Conn.SetReadDeadline(at)
}

func (c *tap) SetWriteDeadline(at time.Time) error {
	c.writeBy.Store(nanos(at))
	return c.Conn.SetWriteDeadline(at)
}

func nanos(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}

// Write has the referee hear all of b at once, which is slow to leave.
func (c *tap) Write(b []byte) (written int, err error) {
	offering := c.offering()
	known := min(int(c.heard-c.written), len(b)) // of a write that a deadline has ended
	for _, s := range c.referee.hear(c.of, b[known:]) {
		if c.spoils != nil && c.spoils(s) {
			b = bytes.Clone(b)
			b[known+s.from] ^= 1
		}
	}
	c.heard = max(c.heard, c.written+int64(len(b)))
	for written < len(b) && err == nil {
		c.pause(c.writes, offering, &c.writing, &c.writeBy)
		if c.before != nil {
			c.before()
		}
		n := 0
		n, err = c.write(b[written : written+c.writes.part(len(b)-written)])
		written += n
	}
	return written, err
}

func (c *tap) write(b []byte) (n int, err error) {
	if c.after >= 0 && c.written+int64(len(b)) > c.after {
		b = b[:c.after-c.written]
		defer func() {
			c.broken()
			err = io.ErrClosedPipe
		}()
		if len(b) == 0 {
			return 0, nil
		}
	}
	n, err = c.Conn.Write(b)
	c.written += int64(n)
	return n, err
}

// Read is slow to begin: what is under way when the other side closes the
// stream arrives before that.
func (c *tap) Read(b []byte) (int, error) {
	c.one <- struct{}{} // at the end of a transfer, two may read
	defer func() { <-c.one }()
	c.pause(c.reads, c.offering(), &c.reading, &c.readBy)
	n, err := c.Conn.Read(b[:c.reads.part(len(b))])
	if n > 0 {
		c.referee.hear(1-c.of, b[:n])
	}
	return n, err
}
