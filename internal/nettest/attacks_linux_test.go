package nettest

import (
	"bytes"
	"context"
	"encoding/asn1"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// attacks are the functions of an attacker, by the name of the mode.
var attacks = map[string]func(ctx context.Context, a *attacker){
	"idle":       func(ctx context.Context, a *attacker) { a.crowd(ctx, quicConfig(), nil) },
	"touch":      func(ctx context.Context, a *attacker) { a.crowd(ctx, quicConfig(), a.touch) },
	"uni":        func(ctx context.Context, a *attacker) { a.crowd(ctx, quicConfig(), a.uni) },
	"streams":    func(ctx context.Context, a *attacker) { a.crowd(ctx, quicConfig(), a.many) },
	"unread":     unread,
	"holes":      holes,
	"handshakes": handshakes,
	"metadata":   metadata,
	"gates":      gates,
	"version 1":  versionOne,
	"half":       half,
	"prefixes":   prefixes,
	"told":       told,
	"clock":      certificates,
}

// crowd holds a connection for each identity and does something with it. A lost
// connection is made again after a while.
func (a *attacker) crowd(ctx context.Context, cfg *quic.Config, do func(context.Context, *quic.Conn, *stranger)) {
	room := make(chan struct{}, max(a.cfg.AtOnce, 1))
	var all sync.WaitGroup
	for _, id := range a.ids {
		all.Go(func() {
			for ctx.Err() == nil {
				room <- struct{}{}
				c, err := a.dial(ctx, id, cfg)
				<-room
				if err == nil {
					if do != nil {
						do(ctx, c, id)
					}
					wait(ctx, c.Context().Done())
				}
				pause(ctx, a.cfg.Return)
			}
		})
	}
	all.Wait()
}

// wait waits for done or ctx.
func wait(ctx context.Context, done <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-done:
	}
}

// pause waits for a time or ctx.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// touch opens a stream every 2 s, which is refused.
func (a *attacker) touch(ctx context.Context, c *quic.Conn, _ *stranger) {
	for ctx.Err() == nil && c.Context().Err() == nil {
		if s, err := a.open(ctx, c, "/sdp2p/2", route("nothing")); err == nil {
			_ = s.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, _ = s.Read(make([]byte, 1))
			s.CancelWrite(0)
			s.CancelRead(0)
		}
		pause(ctx, 2*time.Second)
	}
}

// chunk is the data of a frame that takes as much memory as a whole packet:
// quic-go keeps each frame of at least 128 bytes in a buffer of 1,452.
var chunk = make([]byte, 128)

// scatter writes chunks to streams in turn, so that each is a frame of its own,
// until no stream accepts more.
func (a *attacker) scatter(ctx context.Context, c *quic.Conn, streams []io.Writer) {
	for ctx.Err() == nil && c.Context().Err() == nil && len(streams) > 0 {
		open := streams[:0]
		for _, s := range streams {
			n, err := s.Write(chunk)
			a.payload.Add(int64(n))
			if err == nil {
				open = append(open, s)
			}
		}
		streams = open
		pause(ctx, 5*time.Millisecond)
	}
}

// uni fills unidirectional streams, which the victim does not read.
func (a *attacker) uni(ctx context.Context, c *quic.Conn, _ *stranger) {
	var all []io.Writer
	for range 5 {
		s, err := c.OpenUniStream()
		if err != nil {
			a.fail(err)
			break
		}
		_ = s.SetWriteDeadline(time.Now().Add(20 * time.Second))
		a.streams.Add(1)
		all = append(all, s)
	}
	a.scatter(ctx, c, all)
}

// many opens streams to the echo handler, which then wait for data.
func (a *attacker) many(ctx context.Context, c *quic.Conn, _ *stranger) {
	for range a.cfg.Streams {
		if _, err := a.open(ctx, c, "/sdp2p/2", append(route("echo"), 'x')); err != nil {
			return
		}
	}
}

// unread fills streams to the echo handler, which stops reading because the
// attacker does not read the echo.
func unread(ctx context.Context, a *attacker) {
	cfg := quicConfig()
	cfg.InitialStreamReceiveWindow, cfg.MaxStreamReceiveWindow = 512, 512 // enough for metadata
	a.crowd(ctx, cfg, func(ctx context.Context, c *quic.Conn, _ *stranger) { a.fill(ctx, c, route("echo")) })
}

func (a *attacker) fill(ctx context.Context, c *quic.Conn, first []byte) {
	var all []io.Writer
	for range a.cfg.Streams {
		s, err := a.open(ctx, c, "/sdp2p/2", first)
		if err != nil {
			break
		}
		_ = s.SetWriteDeadline(time.Now().Add(20 * time.Second))
		all = append(all, s)
	}
	a.scatter(ctx, c, all)
}

// handshakes connects and disconnects.
func handshakes(ctx context.Context, a *attacker) {
	var all sync.WaitGroup
	for i := range a.cfg.AtOnce {
		all.Go(func() {
			for ctx.Err() == nil {
				c, err := a.dial(ctx, a.ids[i%len(a.ids)], quicConfig())
				if err != nil {
					pause(ctx, 10*time.Millisecond)
					continue
				}
				_ = c.CloseWithError(0, "")
			}
		})
	}
	all.Wait()
}

// metadata changes the first identity's metadata without a pause, while the
// others receive the victim's metadata.
func metadata(ctx context.Context, a *attacker) {
	var updates bytes.Buffer
	for i := range 8000 {
		updates.Write([]byte{1, 0, 1, 0, 'a', 1, 0, byte('0' + i%2)})
	}
	first := a.ids[0]
	a.ids = a.ids[1:]
	var all sync.WaitGroup
	all.Go(func() { a.crowd(ctx, quicConfig(), nil) })
	all.Go(func() {
		for ctx.Err() == nil {
			c, err := a.dial(ctx, first, quicConfig())
			if err != nil {
				pause(ctx, 100*time.Millisecond)
				continue
			}
			s, err := a.open(ctx, c, "/sdp2p/2/meta", nil)
			for err == nil {
				var n int
				n, err = s.Write(updates.Bytes())
				a.payload.Add(int64(n))
			}
			a.fail(err)
			_ = c.CloseWithError(0, "")
		}
	})
	all.Wait()
}

// gates keeps as many streams as possible waiting for Config.Allow.
func gates(ctx context.Context, a *attacker) {
	a.crowd(ctx, quicConfig(), func(ctx context.Context, c *quic.Conn, _ *stranger) {
		var all sync.WaitGroup
		for range a.cfg.Streams {
			all.Go(func() {
				for ctx.Err() == nil && c.Context().Err() == nil {
					s, err := a.open(ctx, c, "/sdp2p/2", route("echo"))
					if err != nil {
						return
					}
					_ = s.SetReadDeadline(time.Now().Add(time.Second))
					_, _ = io.Copy(io.Discard, s)
					s.CancelWrite(0)
					s.CancelRead(0)
					pause(ctx, 50*time.Millisecond)
				}
			})
		}
		all.Wait()
	})
}

// versionOne introduces itself like a version 1 node that was given the
// victim's address.
func versionOne(ctx context.Context, a *attacker) {
	a.crowd(ctx, quicConfig(), func(ctx context.Context, c *quic.Conn, id *stranger) {
		s, err := a.open(ctx, c, "/sdp2p/1", []byte{1})
		if err != nil {
			return
		}
		_ = s.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadFull(s, make([]byte, len(selecting("/sdp2p/1"))+32)); err != nil {
			a.fail(err)
			return
		}
		key := id.id.Remote().Bytes()
		// The message contains the key, and metadata without entries.
		n, _ := s.Write(append(key[:], 1, 0, 0, 0, 0, 0, 0, 0, 0x80))
		a.payload.Add(int64(n))
		_ = s.Close()
		_, _ = io.Copy(io.Discard, s)
	})
}

// told connects once, and records what it is told.
func told(ctx context.Context, a *attacker) {
	if c, err := a.dial(ctx, a.ids[0], quicConfig()); err == nil {
		wait(ctx, c.Context().Done())
	}
}

// certificates connects 100 times, and reports how long each of the victim's
// certificates is valid, and how many keys it proves.
func certificates(ctx context.Context, a *attacker) {
	libp2p := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 53594, 1, 1}
	for range 100 {
		c, err := a.dial(ctx, a.ids[0], quicConfig())
		if err != nil {
			continue
		}
		cert, proofs := c.ConnectionState().TLS.PeerCertificates[0], 0
		for _, e := range cert.Extensions {
			if e.Id.Equal(libp2p) {
				proofs++
			}
		}
		a.console.Tell("certificate", cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), fmt.Sprint(proofs))
		_ = c.CloseWithError(0, "")
	}
	a.console.Tell("done")
}
