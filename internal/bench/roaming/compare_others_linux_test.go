package roaming

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/bench/transport"
	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	port     = 7373
	protocol = "/bench/echo"
	often    = 10 * time.Millisecond
	patience = 40 * time.Second // quic-go gives up after 30 s
)

// A program is one side of a stream.
type program struct {
	Kind string
	To   string // address of the other side; if "", this side is dialed
}

// TestNode is not a test but a program that TestOthers runs on a host.
func TestNode(t *testing.T) {
	var p program
	console := netlab.Program(t, &p)
	var s io.ReadWriter
	if p.Kind == quicGo {
		s = bare(t, p.To)
	} else {
		s = libp2pHost(t, console, p.To)
	}
	console.Tell("started")
	if s != nil {
		go hold(console, s)
	}
	console.Serve()
}

// hold has a byte echoed again and again.
func hold(console *netlab.Console, s io.ReadWriter) {
	for b := make([]byte, 1); ; time.Sleep(often) {
		_, err := s.Write(b)
		if err == nil {
			_, err = io.ReadFull(s, b)
		}
		if err != nil {
			console.Tell("ended", err.Error())
			return
		}
		console.Tell("echo")
	}
}

func echo(s io.ReadWriter) { _, _ = io.Copy(s, s) }

// bare returns a stream of quic-go on a bare socket.
func bare(t *testing.T, to string) io.ReadWriter {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cfg := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}, NextProtos: []string{protocol}, InsecureSkipVerify: true,
	}
	local := &net.UDPAddr{}
	if to == "" {
		local.Port = port
	}
	socket, err := net.ListenUDP("udp4", local)
	require.NoError(t, err)
	tr := &quicgo.Transport{Conn: socket}
	if to != "" {
		conn, err := tr.Dial(t.Context(), net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)), cfg, nil)
		require.NoError(t, err)
		s, err := conn.OpenStreamSync(t.Context())
		require.NoError(t, err)
		return s
	}
	l, err := tr.Listen(cfg, nil)
	require.NoError(t, err)
	go func() {
		conn, err := l.Accept(context.Background())
		if err != nil {
			return
		}
		if s, err := conn.AcceptStream(context.Background()); err == nil {
			echo(s)
		}
	}()
	return nil
}

// libp2pHost returns a stream of a go-libp2p host with its QUIC transport.
func libp2pHost(t *testing.T, console *netlab.Console, to string) io.ReadWriter {
	h, err := transport.Host(fmt.Sprintf("/ip4/0.0.0.0/udp/%d/quic-v1", port))
	require.NoError(t, err)
	h.SetStreamHandler(protocol, func(s network.Stream) { echo(s) })
	if to == "" {
		console.Tell("id", h.ID().String())
		return nil
	}
	return libp2pStream(t, h, to)
}

func libp2pStream(t *testing.T, h host.Host, to string) io.ReadWriter {
	info, err := peer.AddrInfoFromString(to)
	require.NoError(t, err)
	require.NoError(t, h.Connect(t.Context(), *info))
	s, err := h.NewStream(t.Context(), info.ID, protocol)
	require.NoError(t, err)
	return s
}

// TestOthers measures how streams of other libraries survive a change of
// address.
func TestOthers(t *testing.T) {
	file := os.Getenv(figuresEnv)
	if file == "" {
		t.Skip("set " + figuresEnv + " to the file to write figures to")
	}
	for _, kind := range peers {
		for i, who := range []string{"dialer", "listener"} {
			for _, away := range []time.Duration{0, time.Second} {
				name := nameOf(fmt.Sprintf("address, %s, %v", who, away), kind)
				t.Run(name, func(t *testing.T) {
					if testing.Short() && i > 0 {
						t.Skip("it takes half a minute until they end")
					}
					t.Parallel() // they mostly wait
					write(t, file, change(t, name, kind, i, away))
				})
			}
		}
	}
}

// change takes the address of one of two hosts away, and gives it another one.
func change(t *testing.T, name, kind string, whose int, away time.Duration) figure {
	lab := netlab.New(t, 2)
	segment := lab.Segment(1, lab.Hosts...)
	lab.Disconnect()
	callee := lab.Hosts[1].Start(t, program{Kind: kind})
	callee.Await(time.Time{}, "started")
	at := segment.Prefixes(lab.Hosts[1], 0)[0].Addr()
	to := netip.AddrPortFrom(at, port).String()
	if kind == goLibp2p {
		to = fmt.Sprintf("/ip4/%v/udp/%d/quic-v1/p2p/%s", at, port, callee.Await(time.Time{}, "id").About[0])
	}
	dialer := lab.Hosts[0].Start(t, program{kind, to})
	dialer.Await(time.Time{}, "echo")
	h := lab.Hosts[whose]
	gone := time.Now()
	segment.Remove(h, segment.Prefixes(h, 0)...)
	time.Sleep(away)
	since := time.Now()
	segment.Add(h, segment.Prefixes(h, 1)...)
	for ; time.Since(since) < patience; time.Sleep(5 * time.Millisecond) {
		for _, e := range dialer.Events() {
			switch {
			case e.Name == "ended":
				return figure{name, e.At.Sub(gone).Seconds(), true}
			case e.Name == "echo" && e.At.After(since):
				return figure{name, e.At.Sub(since).Seconds(), false}
			}
		}
	}
	return figure{name, time.Since(gone).Seconds(), true}
}

func write(t *testing.T, file string, f figure) {
	line, err := json.Marshal(f)
	require.NoError(t, err)
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer out.Close()
	_, err = out.Write(append(line, '\n'))
	require.NoError(t, err)
}
