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

// A Telling says what strangers are told about this node.
type Telling uint8

const (
	AsAnnounced Telling = iota // what a discovery currently announces to everybody, or else only the protocol version
	Everything                 // the node's metadata
	VersionOnly                // only the protocol version
)

// metadata returns the metadata to send to the peer. Peers that the node knows
// or has dialed get everything. While the node is visible only to its contacts,
// others get nothing.
func (c *conn) metadata() map[string]string {
	e := c.endpoint
	everything := !c.stranger()
	switch {
	case e.veil != nil: // a stranger has come through a relay
	case e.listener.cfg.TellStrangers == AsAnnounced:
		everything = everything || e.scope.Announced()
	case e.listener.cfg.TellStrangers == Everything:
		everything = true
	}
	if !everything {
		return nil
	}
	return e.scope.Node().Metadata()
}

// tellMetadata sends this node's present metadata, unless it was sent last and
// anyway is false. It does not wait.
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
		c.acquaint(true)
		c.mu.Unlock()
		if err != nil && c.ctx.Err() == nil {
			c.endpoint.log.Debug("could not tell the metadata", "peer", c.id, "cause", err)
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
	c.mu.Lock()
	c.toldLast = b
	c.mu.Unlock()
	return nil
}

// readMetadata reads the peer's metadata for as long as the connection lasts.
// If the peer breaks the rules, it closes the connection.
func (c *conn) readMetadata(s *quicgo.Stream, rest []byte) {
	c.mu.Lock()
	second := c.told
	c.told = true
	c.acquaint(false)
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
		c.endpoint.log.Warn("closed a connection: its metadata stream is not valid", "peer", c.id, "cause", err)
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

// Bytes of metadata that are read from a peer at once and per second, since
// reading takes time. The rest waits at the peer.
const (
	metadataBurst = 64 << 10
	metadataPace  = 16 << 10
)

// rest waits until more metadata may be read after n bytes, and returns false
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
