package quic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	quicgo "github.com/quic-go/quic-go"

	"github.com/sdp2p/p2p/proto"
)

// A Telling says what strangers are told of this node.
type Telling uint8

const (
	AsAnnounced Telling = iota // all that a discovery announces at the moment to everybody, and else only the protocol's version
	Everything                 // the node's metadata
	VersionOnly                // nothing but the protocol's version
)

// metadata returns what the peer is told of this node. Peers that the node
// knows, and those that it dialed, are told everything.
func (c *conn) metadata() map[string]string {
	e := c.endpoint
	everything := !c.stranger()
	switch e.listener.cfg.TellStrangers {
	case AsAnnounced:
		everything = everything || e.scope.Announced()
	case Everything:
		everything = true
	}
	if !everything {
		return nil
	}
	return e.scope.Node().Metadata()
}

// tellMetadata sends this node's metadata as it is now, if that is not what was
// sent last, or anyway. It does not wait.
func (c *conn) tellMetadata(anyway bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tellAnyway = c.tellAnyway || anyway
	if c.meta == nil {
		return
	}
	if c.telling {
		c.tellAgain = true
		return
	}
	c.telling = c.endpoint.start(c.writeMetadata)
}

func (c *conn) writeMetadata() {
	for {
		err := c.writeMetadataOnce()
		c.mu.Lock()
		again := c.tellAgain && err == nil
		if err != nil {
			c.meta = nil
		}
		c.tellAgain = false
		c.telling = again
		c.mu.Unlock()
		if err != nil && c.ctx.Err() == nil {
			c.endpoint.log.Debug("could not tell the metadata", "peer", c.id, "err", err)
		}
		if !again {
			return
		}
	}
}

func (c *conn) writeMetadataOnce() error {
	b, err := proto.Metadata(c.metadata()).AppendBinary(nil)
	if err != nil {
		return err
	}
	c.mu.Lock()
	anyway := c.tellAnyway
	c.tellAnyway = false
	c.mu.Unlock()
	if bytes.Equal(b, c.toldLast) && !anyway {
		return nil
	}
	c.meta.SetWriteDeadline(time.Now().Add(vanishTimeout))
	if _, err = c.meta.Write(b); err != nil {
		reset(c.meta, 0) // a part of it may have been written
		return streamError(err)
	}
	c.toldLast = b
	return nil
}

// readMetadata hears the peer's metadata for as long as the connection lasts. A
// peer that breaks the rules loses it.
func (c *conn) readMetadata(s *quicgo.Stream, rest []byte) {
	c.mu.Lock()
	second := c.told
	c.told = true
	c.mu.Unlock()
	err := errors.New("a second metadata stream on one connection")
	if !second {
		err = c.hear(io.MultiReader(bytes.NewReader(rest), s))
	}
	reset(s, 0)
	if err == nil || c.ctx.Err() != nil {
		return
	}
	if c.endpoint.once("metadata " + c.id.String()) {
		c.endpoint.log.Warn("closed a connection: its metadata stream is not valid", "peer", c.id, "err", err)
	}
	c.close(network.ConnProtocolViolation)
}

func (c *conn) hear(r io.Reader) error {
	read := &counter{Reader: r}
	r = read
	d := proto.NewDecoder(r)
	pace := &pace{}
	for {
		var metadata proto.Metadata
		if err := metadata.DecodeFrom(d); err != nil {
			if errors.Is(err, proto.ErrInvalid) || errors.Is(err, io.ErrUnexpectedEOF) {
				return err
			}
			return nil // the stream has ended, or the connection
		}
		d.Reset(r)
		if err := c.said.say(metadata); err != nil && c.ctx.Err() == nil {
			return fmt.Errorf("quic: %w", err)
		}
		if !c.rest(pace, read.n) {
			return nil
		}
		read.n = 0
	}
}

// Bytes of metadata that a peer may send at once, and in a second: reading
// takes time. What is not read waits at the peer.
const (
	metadataBurst = 64 << 10
	metadataPace  = 16 << 10
)

// rest waits until more metadata may be read after n bytes, and reports false
// if the connection ends meanwhile.
func (c *conn) rest(p *pace, n int) bool {
	p.level, p.at = p.now(metadataPace)+float64(n), time.Now()
	if p.level <= metadataBurst {
		return true
	}
	timer := time.NewTimer(time.Duration((p.level - metadataBurst) / metadataPace * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// A counter counts what is read.
type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += n
	return n, err
}

// A heard is what a peer says of itself. Who says something else all the time
// is told to the node less often; the last word counts.
type heard struct {
	burst, perSecond int
	state            func(metadata map[string]string) error

	mu    sync.Mutex
	level float64   // updates: a bucket that runs dry
	at    time.Time // when it had that level
	last  map[string]string
	later *time.Timer // says last; nil if that is not due
	over  bool
}

// say states metadata, at once or a little later.
func (h *heard) say(metadata map[string]string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	h.level = max(0, h.level-now.Sub(h.at).Seconds()*float64(h.perSecond))
	h.at = now
	h.last = metadata
	switch {
	case h.later != nil:
		return nil
	case h.perSecond > 0 && h.burst >= 0 && h.level+1 > float64(h.burst):
		wait := time.Duration((h.level + 1 - float64(h.burst)) / float64(h.perSecond) * float64(time.Second))
		h.later = time.AfterFunc(wait, h.catchUp)
		return nil
	}
	h.level++
	return h.state(metadata)
}

// catchUp says what was said last.
func (h *heard) catchUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later = nil
	if h.over {
		return
	}
	h.level++
	_ = h.state(h.last) // it is valid, or the next one closes the connection
}

// stop says nothing more, but for what is due.
func (h *heard) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if h.later != nil && h.later.Stop() {
		_ = h.state(h.last)
	}
}
