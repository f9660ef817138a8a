package quic

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
		if err := c.said.Say(metadata); err != nil && c.ctx.Err() == nil {
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
