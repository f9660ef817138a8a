package tcp

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

const patience = 30 * time.Second

// A tracker tracks peers, and knows nothing about them.
type tracker []identity.RemoteIdentity

func (tracker) Name() string { return "tracker" }

func (tr *tracker) Run(ctx context.Context, s *p2p.Scope) error {
	for _, id := range *tr {
		s.Track(id)
	}
	s.Ready()
	<-ctx.Done()
	return nil
}

// A prey is a node that a tracked peer attacks, or tests byte by byte.
type prey struct {
	node     *p2p.P2P
	listener *Listener
	addr     string
	read     chan error // the results of the handler's reads
	key      identity.Identity
}

func newPrey(t *testing.T) *prey {
	return newPreyWith(t, Config{}, func(s *p2p.Stream) error {
		_, err := io.Copy(s, s)
		return err
	})
}

func newPreyWith(t *testing.T, cfg Config, serve func(*p2p.Stream) error) *prey {
	p := &prey{read: make(chan error, 1024), key: identity.New()}
	l := New(cfg)
	node, err := p2p.Start(t.Context(), p2p.Config{
		App: "test", Hooks: []p2p.Hook{&tracker{p.key.Remote()}, l},
		Handler: p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			err := serve(s)
			if err == nil {
				err = io.EOF
			}
			p.read <- err
			return nil
		}),
	})
	require.NoError(t, err)
	t.Cleanup(func() { node.Shutdown(context.Background()) })
	port, _ := l.Port()
	p.node, p.listener, p.addr = node, l, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	return p
}

// dial makes a secure connection with the given key, after change has altered
// the TLS configuration.
func (p *prey) dial(t *testing.T, as identity.Identity, change func(*tls.Config)) (*tls.Conn, error) {
	t.Helper()
	c, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	k, err := newKeeper(as)
	require.NoError(t, err)
	id, err := peerID(p.node.Identity())
	require.NoError(t, err)
	conf, _ := k.config(id)
	if change != nil {
		change(conf)
	}
	conn := tls.Client(c, conf)
	return conn, conn.HandshakeContext(t.Context())
}

// lane opens a lane, on which the hellos have been exchanged.
func (p *prey) lane(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := p.dial(t, p.key, nil)
	require.NoError(t, err)
	_, err = c.Write(helloFrame(t, forStream))
	require.NoError(t, err)
	k, _ := readFrame(t, c)
	require.Equal(t, frameHello, k)
	return c
}

func helloFrame(t *testing.T, why purpose) []byte {
	b, err := hello{why, map[string]string{"name": "x"}}.encode()
	require.NoError(t, err)
	return append(appendHeader(nil, frameHello, len(b)), b...)
}

func readFrame(t *testing.T, r io.Reader) (kind, []byte) {
	t.Helper()
	var h [headerSize]byte
	_, err := io.ReadFull(r, h[:])
	require.NoError(t, err)
	k, size, err := parseHeader(h)
	require.NoError(t, err)
	b := make([]byte, size)
	_, err = io.ReadFull(r, b)
	require.NoError(t, err)
	return k, b
}

func data(b string) []byte { return append(appendHeader(nil, frameData, len(b)), b...) }

// wantClosed checks that a lane is closed, without an end of the stream before.
func wantClosed(t *testing.T, c io.Reader) {
	t.Helper()
	rest, err := io.ReadAll(c)
	var timeout net.Error
	if t, ok := err.(net.Error); ok {
		timeout = t
	}
	require.False(t, timeout != nil && timeout.Timeout(), "the lane is not closed")
	require.NotContains(t, string(rest), string(appendHeader(nil, frameEnd, 0)))
}

// A client of another protocol gets no lane, even with the right key, such as
// libp2p's TLS.
func TestOtherProtocols(t *testing.T) {
	p := newPrey(t)
	for name, protos := range map[string][]string{"libp2p": {"libp2p"}, "another version": {"sdp2p-lane/2"}, "http": {"h2", "http/1.1"}} {
		t.Run(name, func(t *testing.T) {
			c, err := p.dial(t, p.key, func(c *tls.Config) { c.NextProtos = protos })
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			require.ErrorContains(t, err, "no application protocol")
		})
	}
	t.Run("none", func(t *testing.T) {
		c, err := p.dial(t, p.key, func(c *tls.Config) { c.NextProtos = nil })
		if err == nil {
			c.Write(helloFrame(t, forStream))
			_, err = c.Read(make([]byte, 1))
		}
		require.Error(t, err)
	})
	t.Run("old TLS", func(t *testing.T) {
		_, err := p.dial(t, p.key, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 })
		require.Error(t, err)
	})
	require.Empty(t, p.node.Peers())
}

// A server gets no lane if it speaks another protocol with the right key, such
// as libp2p's TLS, or if it has another key.
func TestOtherServers(t *testing.T) {
	peer, node := identity.New(), identity.New()
	for name, c := range map[string]struct {
		key    identity.Identity
		protos []string
		want   error
	}{
		"libp2p":      {peer, []string{"libp2p"}, nil},
		"no protocol": {peer, nil, errProtocol},
		"another key": {identity.New(), []string{protocol}, ErrOtherPeer},
		"this node":   {node, []string{protocol}, ErrOtherPeer},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := net.Pipe()
			defer near.Close()
			defer far.Close()
			served := make(chan struct{})
			go func() {
				defer close(served)
				k, err := newKeeper(c.key)
				if err != nil {
					return
				}
				conf, _ := k.config("")
				conf.NextProtos = c.protos
				tls.Server(far, conf).HandshakeContext(t.Context())
				far.Close()
			}()
			k, err := newKeeper(node)
			require.NoError(t, err)
			_, err = k.client(t.Context(), near, peer.Remote())
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			near.Close()
			<-served
		})
	}
}

// A client is refused if the certificate that it shows belongs to another key
// than the handshake.
func TestStolenCertificate(t *testing.T) {
	p := newPrey(t)
	c, err := p.dial(t, identity.New(), func(c *tls.Config) {
		k, err := newKeeper(p.key)
		require.NoError(t, err)
		conf, _ := k.config("")
		own := c.Certificates[0]
		// The peer's certificate, without its private key.
		own.Certificate = conf.Certificates[0].Certificate
		c.Certificates = []tls.Certificate{own}
	})
	if err == nil {
		c.Write(helloFrame(t, forStream))
		_, err = c.Read(make([]byte, 1))
	}
	require.Error(t, err)
	require.Empty(t, p.node.Peers())
}

// Sessions are not resumed, since no tickets are given out.
func TestNoTickets(t *testing.T) {
	p := newPrey(t)
	cache := tls.NewLRUClientSessionCache(4)
	var curves []tls.CurveID
	for range 2 {
		c, err := p.dial(t, p.key, func(c *tls.Config) { c.ClientSessionCache, c.SessionTicketsDisabled = cache, false })
		require.NoError(t, err)
		c.Write(helloFrame(t, forStream))
		readFrame(t, c)
		require.False(t, c.ConnectionState().DidResume)
		curves = append(curves, c.ConnectionState().CurveID)
	}
	require.Equal(t, []tls.CurveID{tls.X25519MLKEM768, tls.X25519MLKEM768}, curves)
}

// A lane that is cut at any byte never looks like an end of its stream.
func TestCut(t *testing.T) {
	p := newPrey(t)
	whole := slices.Concat(data("ab"), appendHeader(nil, frameNone, 0), data("c"), appendHeader(nil, frameEnd, 0))
	for n := 1; n <= len(whole); n++ {
		for _, notify := range []bool{false, true} {
			c := p.lane(t)
			_, err := c.Write(whole[:n])
			require.NoError(t, err)
			if notify {
				c.Close() // with close_notify
			} else {
				c.NetConn().(*net.TCPConn).CloseWrite()
			}
			if n < headerSize { // nothing of the stream has come, so nobody serves it
				wantClosed(t, c.NetConn())
				continue
			}
			select {
			case err = <-p.read:
			case <-time.After(patience):
				require.FailNow(t, "no end", "at %d", n)
			}
			if n < len(whole) {
				require.ErrorIs(t, err, p2p.ErrConnectionLost, "at %d", n)
			}
			c.NetConn().Close()
		}
	}
}

// Frames that break the rules end the lane.
func TestBadFrames(t *testing.T) {
	p := newPrey(t)
	end := appendHeader(nil, frameEnd, 0)
	for name, frames := range map[string][]byte{
		"data of no bytes":       appendHeader(nil, frameData, 0),
		"too much data":          appendHeader(nil, frameData, maxData+1),
		"as long as can be":      appendHeader(nil, frameData, 1<<24-1),
		"an end with bytes":      append(appendHeader(nil, frameEnd, 1), 0),
		"a short code":           append(appendHeader(nil, frameReset, 3), 0, 0, 0),
		"nothing, with bytes":    append(appendHeader(nil, frameNone, 1), 0),
		"a second hello":         helloFrame(t, forStream),
		"a kind that is unknown": appendHeader(nil, 9, 0),
		"data behind the end":    append(end, data("x")...),
		"an end behind the end":  append(end, end...),
	} {
		t.Run(name, func(t *testing.T) {
			c := p.lane(t)
			c.Write(append(data("x"), frames...))
			select {
			case err := <-p.read:
				if err != io.EOF {
					require.ErrorIs(t, err, p2p.ErrConnectionLost)
				}
			case <-time.After(patience):
				require.FailNow(t, "the lane is not ended")
			}
			io.Copy(io.Discard, c)
			_, err := c.Read(make([]byte, 1))
			require.Error(t, err)
			require.False(t, isTimeout(err))
		})
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

// Hellos that break the rules get no lane.
func TestBadHellos(t *testing.T) {
	p := newPrey(t)
	whole := helloFrame(t, forStream)
	cases := map[string][]byte{
		"data":                             data("x"),
		"an unknown purpose":               append(appendHeader(nil, frameHello, 3), 2, 0, 0),
		"too long":                         appendHeader(nil, frameHello, maxHello+1),
		"bytes behind it":                  append(appendHeader(nil, frameHello, 4), 0, 0, 0, 0),
		"a key twice as long as it can be": append(appendHeader(nil, frameHello, 5), 0, 1, 0, 0xff, 0xff),
	}
	for name, frame := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := p.dial(t, p.key, nil)
			require.NoError(t, err)
			c.Write(frame)
			k, _ := readFrame(t, c)
			require.Equal(t, frameReset, k)
			wantClosed(t, c)
		})
	}
	c, err := p.dial(t, p.key, nil)
	require.NoError(t, err)
	_, err = c.Write(whole)
	require.NoError(t, err)
	k, _ := readFrame(t, c)
	require.Equal(t, frameHello, k)
}

// Connections on which nothing happens are few, end soon, and cost little.
func TestIdleSockets(t *testing.T) {
	p := newPrey(t)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	var closed sync.WaitGroup
	for range 256 {
		c, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer c.Close()
		closed.Go(func() {
			c.SetDeadline(time.Now().Add(patience))
			_, err := c.Read(make([]byte, 1))
			if isTimeout(err) {
				t.Error("an idle connection is not closed")
			}
		})
	}
	after := heap()
	require.Less(t, int64(after-before), int64(256*(32<<10)))
	closed.Wait()
	p.lane(t)
}

// A length costs nothing as long as the bytes have not arrived.
func TestLengthsCostNothing(t *testing.T) {
	for _, h := range [][]byte{{0, 0xff, 0xff, 0xff}, {0, 1, 0, 4}, {4, 0xff, 0xff, 0xff}, {2, 0xff, 0xff, 0xff}} {
		allocs := testing.AllocsPerRun(100, func() {
			_, _, err := parseHeader([headerSize]byte(h))
			if err == nil {
				panic("no error")
			}
		})
		require.LessOrEqual(t, allocs, 10.0)
	}
	var m, n runtime.MemStats
	runtime.ReadMemStats(&m)
	for range 1000 {
		parseHeader([headerSize]byte{0, 0xff, 0xff, 0xff})
	}
	runtime.ReadMemStats(&n)
	require.Less(t, n.TotalAlloc-m.TotalAlloc, uint64(1<<20))
}

func FuzzHeader(f *testing.F) {
	for _, b := range [][]byte{data("x"), appendHeader(nil, frameEnd, 0), appendHeader(nil, frameReset, 4), {0, 1, 0, 4}, {4, 3, 0, 0}} {
		f.Add(b[0], b[1], b[2], b[3])
	}
	f.Fuzz(func(t *testing.T, a, b, c, d byte) {
		h := [headerSize]byte{a, b, c, d}
		k, size, err := parseHeader(h)
		if err != nil {
			require.ErrorIs(t, err, errFrame)
			return
		}
		require.LessOrEqual(t, size, maxData)
		require.Equal(t, h[:], appendHeader(nil, k, size))
	})
}

func FuzzHello(f *testing.F) {
	b, _ := hello{forPeer, map[string]string{"name": "x", "tcp": "7373"}}.encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := h.encode()
		require.NoError(t, err)
		same, err := decodeHello(again)
		require.NoError(t, err)
		require.Equal(t, h, same)
		require.Equal(t, len(b), len(again))
	})
}

// FuzzFrames feeds frames to the goroutine that reads a lane's frames.
func FuzzFrames(f *testing.F) {
	f.Add(slices.Concat(data("ab"), appendHeader(nil, frameEnd, 0)))
	f.Add(append(appendHeader(nil, frameReset, 4), 3, 0, 0, 0))
	f.Add(slices.Concat(appendHeader(nil, frameNone, 0), data("c"), []byte{0, 9}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, end := readFrames(b)
		var want []byte
		for r := bytes.NewReader(b); ; { // a second implementation of the rules
			var h [headerSize]byte
			if _, err := io.ReadFull(r, h[:]); err != nil {
				break
			}
			size := int(h[1]) | int(h[2])<<8 | int(h[3])<<16
			if h[0] == 3 && size == 0 {
				continue
			}
			if h[0] != 0 || size == 0 || size > 256<<10 {
				break
			}
			some := make([]byte, min(size, r.Len()))
			io.ReadFull(r, some)
			want = append(want, some...)
			if len(some) < size {
				break
			}
		}
		require.Equal(t, string(want), string(got))
		require.Error(t, end)
	})
}

// readFrames returns the data that a lane reads from frames, and how reading
// ends.
func readFrames(b []byte) (got []byte, end error) {
	l := &lane{born: time.Now(), frame: bytes.NewReader(b)}
	l.in.init()
	done := make(chan error)
	go func() {
		err := l.frames(nil)
		l.in.end(lostError(err))
		done <- err
	}()
	got, _ = io.ReadAll(&l.in)
	<-done
	return got, l.in.ended()
}
