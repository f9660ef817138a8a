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

// An ear holds the part of a message that has arrived.
type ear struct {
	heard []byte
	skip  int64 // bytes of data that are still to come
	hello bool
}

// A span is the place of a file's bytes in a written buffer, and the chunk to
// which they belong.
type span struct {
	from, to int
	of       request
	offer    int
	asked    int // how often the chunk was asked for
}

// hear judges the bytes that a side writes. It returns the places of file
// content in b.
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

// listen reads and judges one message. It returns io.EOF or io.ErrUnexpectedEOF
// if the message is not complete.
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

// A pace tells how slow a stream is.
type pace struct {
	mu      sync.Mutex
	random  *rand.Rand
	often   float64 // probability of a pause
	longest time.Duration
	fixed   time.Duration // length of every pause, if not 0
}

func newPace(seed uint64, often float64, longest time.Duration) *pace {
	return &pace{random: rand.New(rand.NewPCG(seed, 1)), often: often, longest: longest}
}

// pause sleeps, for at most most, and at most a step longer than goesOn returns
// true. A nil pace does not pause.
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

// always is for pauses that nothing interrupts.
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
	slowest   = 12 * time.Second // pause of a write or a read: with a keep in 5 s, under 30 s
	offerTime = 25 * time.Second // pauses of a side during an offer, for which there are 60 s
)

// A tap is an end of a stream at which a referee listens. It may be slow, alter
// bytes of files, and break.
type tap struct {
	net.Conn
	of            side // the side that uses it
	referee       *referee
	reads, writes *pace
	spoils        func(s span) bool // whether the bytes of a span are altered
	after         int64             // written bytes before it breaks; negative: never
	broken        func()            // breaks it
	before        func()            // called before each write
	one           chan struct{}     // held while reading

	written, heard   int64         // numbers of bytes
	reading, writing time.Duration // pauses during this offer
	readBy, writeBy  atomic.Int64  // deadlines
}

// pause pauses the stream, at most until its deadline; spent adds up the pauses
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

// offering reports whether an offer is in transit.
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

// Write lets the referee judge all of b at once, and then writes it slowly.
func (c *tap) Write(b []byte) (written int, err error) {
	offering := c.offering()
	known := min(int(c.heard-c.written), len(b)) // of an interrupted write
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

// Read pauses before it reads: bytes in transit arrive before the other side
// closes the stream.
func (c *tap) Read(b []byte) (int, error) {
	c.one <- struct{}{} // at the end of a transfer, two may call Read
	defer func() { <-c.one }()
	c.pause(c.reads, c.offering(), &c.reading, &c.readBy)
	n, err := c.Conn.Read(b[:c.reads.part(len(b))])
	if n > 0 {
		c.referee.hear(1-c.of, b[:n])
	}
	return n, err
}
