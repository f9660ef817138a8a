package nettest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

// A tap is a client's socket. It learns the keys of the client's packets, so
// that the test can make more of them, and then cuts the client off.
type tap struct {
	net.PacketConn
	line   *line
	cut    atomic.Bool
	number uint32 // of the next packet to be made

	mu     sync.Mutex
	log    bytes.Buffer // log of the client's keys
	server []byte       // the connection ID chosen by the server
}

// Write takes a line of the key log.
func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *tap) WriteTo(b []byte, to net.Addr) (int, error) {
	if p.cut.Load() {
		return len(b), nil
	}
	if dcid, _, _, err := connectionIDs(b); err == nil {
		p.mu.Lock()
		p.server = bytes.Clone(dcid) // it is the client's choice only at first
		p.mu.Unlock()
	}
	p.line.wait(len(b) + headers)
	return p.PacketConn.WriteTo(b, to)
}

func (p *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := p.PacketConn.ReadFrom(b)
		if err != nil || !p.cut.Load() {
			return n, from, err
		}
	}
}

// keys returns the keys of the client's packets, and the server's ID.
func (p *tap) keys() (k packetKeys, server []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, rest, _ := bytes.Cut(p.log.Bytes(), []byte("CLIENT_TRAFFIC_SECRET_0 "))
	fields := bytes.Fields(rest)
	if len(fields) < 2 || len(fields[1]) != 2*sha256.Size || p.server == nil {
		return k, nil, errPacket
	}
	secret, err := hex.DecodeString(string(fields[1]))
	if err != nil {
		return k, nil, err
	}
	k, err = newPacketKeys(secret)
	return k, p.server, err
}

// packet makes a packet of the connection (RFC 9000 §17.3.1).
func (p *tap) packet(k packetKeys, server, frames []byte) []byte {
	b := append([]byte{0x40 | numberSize - 1}, server...)
	at := len(b)
	b = binary.BigEndian.AppendUint32(b, p.number)
	b = k.aead.Seal(b, k.nonce(p.number), frames, b)
	k.protect(b, at, false)
	p.number++
	return b
}

// streamFrame returns chunk at an offset of a stream (RFC 9000 §19.8).
func streamFrame(stream, offset uint64) []byte {
	b := []byte{0x08 | 0x04 | 0x02} // with an offset and a length
	for _, v := range []uint64{stream, offset, uint64(len(chunk))} {
		b = binary.BigEndian.AppendUint32(b, 2<<30|uint32(v))
	}
	return append(b, chunk...)
}

// holes sends data whose beginning never comes, in pieces that leave a gap of a
// byte between them. No stream gets beyond 64 KiB.
func holes(ctx context.Context, a *attacker) {
	room := make(chan struct{}, a.cfg.AtOnce)
	var all sync.WaitGroup
	for _, id := range a.ids {
		all.Go(func() {
			for ctx.Err() == nil {
				room <- struct{}{}
				a.leaveHoles(ctx, id, func() { <-room })
				pause(ctx, a.cfg.Return)
			}
		})
	}
	all.Wait()
}

// leaveHoles does this on one connection, for 12 s. It calls connected once
// that connection is made, or has failed.
func (a *attacker) leaveHoles(ctx context.Context, id *stranger, connected func()) {
	u, err := net.ListenUDP("udp4", nil)
	if err != nil {
		a.fail(err)
		connected()
		return
	}
	defer u.Close()
	p := &tap{PacketConn: u, line: a.line, number: 1 << 20}
	tr := &quic.Transport{Conn: p}
	defer tr.Close()
	cfg := id.config()
	cfg.KeyLogWriter = p
	dialing, cancel := context.WithTimeout(ctx, 3*time.Second)
	c, err := tr.Dial(dialing, net.UDPAddrFromAddrPort(a.cfg.Target), cfg, quicConfig())
	cancel()
	connected()
	if err != nil {
		a.failed.Add(1)
		a.fail(err)
		return
	}
	a.handshakes.Add(1)
	go func() {
		for s, err := c.AcceptStream(ctx); err == nil; s, err = c.AcceptStream(ctx) {
			go a.serve(s)
		}
	}()
	pause(ctx, 300*time.Millisecond) // until the metadata stream is answered
	k, server, err := p.keys()
	if err != nil || c.ConnectionState().TLS.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || c.Context().Err() != nil {
		a.failed.Add(1)
		a.fail(errPacket)
		return
	}
	p.cut.Store(true)
	a.up.Add(1)
	defer a.up.Add(-1)
	a.sendHoles(ctx, p, k, server)
}

func (a *attacker) sendHoles(ctx context.Context, p *tap, k packetKeys, server []byte) {
	const pieces, together = 480, 8 // pieces of a stream; pieces in a packet
	to := net.UDPAddrFromAddrPort(a.cfg.Target)
	send := func(frames []byte) {
		b := p.packet(k, server, frames)
		a.line.wait(len(b) + headers)
		_, _ = p.PacketConn.WriteTo(b, to)
	}
	for s := range a.cfg.Streams {
		a.streams.Add(1)
		for i := 0; i < pieces && ctx.Err() == nil; i += together {
			var frames []byte
			for j := range together {
				frames = append(frames, streamFrame(uint64(4*s), uint64(1+(i+j)*(len(chunk)+1)))...)
			}
			send(frames)
			a.payload.Add(int64(together * len(chunk)))
		}
	}
	for range 12 { // keeps the connection alive
		pause(ctx, time.Second)
		send([]byte{1, 0, 0, 0}) // PING
	}
}
