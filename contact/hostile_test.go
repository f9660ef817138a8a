package contact_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/multistream"
	"github.com/sdp2p/p2p/tunnel"
)

// tickets counts the session tickets that a client is given.
type tickets struct {
	mu   sync.Mutex
	kept int
}

func (*tickets) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func (k *tickets) Put(_ string, s *tls.ClientSessionState) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s != nil {
		k.kept++
	}
}

// credentials returns the TLS configuration of a client that dials with a key,
// and asks for a server name.
func credentials(t testing.TB, id identity.Identity, name string) *tls.Config {
	t.Helper()
	private, err := crypto.UnmarshalEd25519PrivateKey(id.PrivateKey())
	require.NoError(t, err)
	own, err := libp2ptls.NewIdentity(private)
	require.NoError(t, err)
	conf, _ := own.ConfigForPeer("")
	conf.ServerName = name
	return conf
}

// dial connects as a client that knows only the node's address.
func dial(t testing.TB, n *node, conf *tls.Config) (*quicgo.Conn, error) {
	t.Helper()
	c, err := quicgo.DialAddr(within(t), n.addr(t).String(), conf, &quicgo.Config{})
	if err == nil {
		t.Cleanup(func() { c.CloseWithError(0, "") })
	}
	return c, err
}

// keyOf returns the key that the peer of a connection shows.
func keyOf(t testing.TB, c *quicgo.Conn) identity.RemoteIdentity {
	t.Helper()
	key, err := libp2ptls.PubKeyFromCertChain(c.ConnectionState().TLS.PeerCertificates)
	require.NoError(t, err)
	raw, err := key.Raw()
	require.NoError(t, err)
	id, err := identity.FromBytes(raw)
	require.NoError(t, err)
	return id
}

func nameFor(key identity.RemoteIdentity) string {
	b := key.Bytes()
	sum := sha256.Sum256(b[:])
	return hex.EncodeToString(sum[:8])
}

// Whatever name a scan asks for, it gets an ephemeral key: the current one, or
// the one before if it asks for this one's name, and no contact was removed
// since.
func TestScan(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{}, p2p.Config{})
	first := shows(t, a)
	a.contacts.Turn()
	second := shows(t, a)
	a.contacts.Turn()
	third := shows(t, a)
	kept := &tickets{}
	scan := func(name string) identity.RemoteIdentity {
		conf := credentials(t, identity.New(), name)
		conf.ClientSessionCache, conf.SessionTicketsDisabled = kept, false
		c, err := dial(t, a, conf)
		require.NoError(t, err)
		<-c.HandshakeComplete()
		require.False(t, c.ConnectionState().Used0RTT)
		return keyOf(t, c)
	}
	for _, name := range []string{"", nameFor(a.Identity()), nameFor(b.Identity()), nameFor(first.Key), nameFor(third.Key), "localhost", "0123456789abcdef"} {
		require.Equal(t, third.Key, scan(name), name)
	}
	require.Equal(t, second.Key, scan(nameFor(second.Key)))
	require.NoError(t, a.contacts.Set(nil))
	require.Equal(t, shows(t, a).Key, scan(nameFor(third.Key)))
	kept.mu.Lock()
	defer kept.mu.Unlock()
	require.Zero(t, kept.kept)
}

// A client without a certificate is refused, also after a change of the key.
func TestNoCertificate(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a := l.start(t, p2p.Config{})
	shows(t, a)
	for range 2 {
		conf := credentials(t, identity.New(), "")
		conf.Certificates = nil
		var refused *quicgo.TransportError
		require.ErrorAs(t, outcome(t, a, conf, nil), &refused)
		require.True(t, refused.Remote)
		a.contacts.Turn()
	}
}

// outcome connects to a node, and returns how the connection ends. The end may
// come after the handshake, since a client can finish it before the node
// refuses. On a busy machine, a node may drop a handshake before it has
// answered; then outcome tries again.
func outcome(t testing.TB, n *node, conf *tls.Config, look func(*quicgo.Conn)) (err error) {
	t.Helper()
	var silent *quicgo.IdleTimeoutError
	for range 10 {
		var c *quicgo.Conn
		if c, err = dial(t, n, conf); err == nil {
			if look != nil {
				look(c)
			}
			_, err = c.AcceptStream(within(t))
		}
		if !errors.As(err, &silent) {
			return err
		}
	}
	return err
}

// borrowed returns a session of another server, which issues tickets.
func borrowed(t *testing.T) *tls.ClientSessionState {
	t.Helper()
	conf := credentials(t, identity.New(), "")
	conf.ClientAuth, conf.VerifyPeerCertificate, conf.SessionTicketsDisabled = tls.NoClientCert, nil, false
	l, err := quicgo.ListenAddr("127.0.0.1:0", conf, nil)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(t.Context()); err == nil {
			if s, err := c.OpenUniStream(); err == nil {
				_, _ = s.Write([]byte{1}) // sent after the ticket
			}
		}
	}()
	got := make(chan *tls.ClientSessionState, 8)
	client := credentials(t, identity.New(), "anybody")
	client.Certificates, client.VerifyPeerCertificate, client.SessionTicketsDisabled = nil, nil, false
	client.ClientSessionCache = cache{put: func(s *tls.ClientSessionState) { got <- s }}
	c, err := quicgo.DialAddr(within(t), l.Addr().String(), client, nil)
	require.NoError(t, err)
	defer c.CloseWithError(0, "")
	return <-got
}

// A cache returns the same session for all servers.
type cache struct {
	session *tls.ClientSessionState
	put     func(*tls.ClientSessionState)
}

func (c cache) Get(string) (*tls.ClientSessionState, bool) { return c.session, c.session != nil }
func (c cache) Put(_ string, s *tls.ClientSessionState)    { c.put(s) }

// A client that offers a ticket cannot resume a session, and is given no
// ticket. Without a certificate it is refused; with a certificate, it makes a
// full handshake. The same holds after a change of the key.
func TestTicket(t *testing.T) {
	t.Parallel()
	session := borrowed(t)
	l := &lan{}
	a := l.start(t, p2p.Config{})
	for range 2 {
		name := nameFor(shows(t, a).Key)
		for _, anonymous := range []bool{true, false} {
			conf := credentials(t, identity.New(), name)
			if anonymous {
				conf.Certificates = nil
			}
			conf.SessionTicketsDisabled = false
			conf.ClientSessionCache = cache{session, func(s *tls.ClientSessionState) {
				if s != nil {
					t.Error("a ticket was issued")
				}
			}}
			err := outcome(t, a, conf, func(c *quicgo.Conn) {
				require.False(t, c.ConnectionState().TLS.DidResume)
				require.False(t, c.ConnectionState().Used0RTT)
			})
			var refused *quicgo.TransportError
			require.Equal(t, anonymous, errors.As(err, &refused) && refused.Remote && refused.ErrorCode.IsCryptoError(), "%v", err)
		}
		a.contacts.Turn()
	}
}

// A host announces a copy of a contact's instance from another network or
// another place. It learns that some contact is there, but neither which one
// nor a key of it: the dialer shows no certificate, as the host lacks the key
// that the copy names.
func TestCopyLeadsNowhere(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{}, p2p.Config{})
	a.finds(t, b)
	copied := instance(shows(t, a))
	require.NoError(t, a.Shutdown(within(t)))
	until(t, "gone", func() bool { return len(b.Peers()) == 0 })

	names := make(chan string, 64)
	conf := credentials(t, identity.New(), "")
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		return nil, nil
	}
	conf.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error {
		t.Error("the dialer has shown a certificate")
		return nil
	}
	conf.ClientAuth = tls.RequireAnyClientCert
	trap, err := quicgo.ListenAddr("127.0.0.1:0", conf, nil)
	require.NoError(t, err)
	defer trap.Close()
	copied.Label = "0123456789abcdef"
	copied.Addrs = []netip.AddrPort{trap.Addr().(*net.UDPAddr).AddrPort()}
	b.contacts.Seen(copied)
	for range 2 { // the dialer tries again
		select {
		case name := <-names:
			require.Equal(t, nameFor(copied.Key), name, "this name follows from the key in the copy")
		case <-within(t).Done():
			t.Fatal("nobody came")
		}
	}
	require.Empty(t, b.Peers())
}

// A raw stream is a stream with the methods that a tunnel needs.
type raw struct {
	*quicgo.Stream
	c *quicgo.Conn
}

func (r *raw) LocalAddr() net.Addr  { return r.c.LocalAddr() }
func (r *raw) RemoteAddr() net.Addr { return r.c.RemoteAddr() }
func (r *raw) CloseWrite() error    { return r.Stream.Close() }

const check = "/test/contact/1"

// attempt connects to a node, does something in a stream, and returns how the
// connection ends.
func attempt(t testing.TB, n *node, key identity.Identity, do func(c *quicgo.Conn, s *quicgo.Stream)) string {
	t.Helper()
	return attemptBy(t, n, shows(t, n).Key, key, do)
}

// attemptBy is like attempt, but asks for the given key of the node.
func attemptBy(t testing.TB, n *node, by identity.RemoteIdentity, key identity.Identity, do func(c *quicgo.Conn, s *quicgo.Stream)) string {
	t.Helper()
	var closed *quicgo.ApplicationError
	for range 10 {
		c, err := dial(t, n, credentials(t, key, nameFor(by)))
		require.NoError(t, err)
		s, err := c.OpenStreamSync(within(t))
		require.NoError(t, err)
		do(c, s)
		<-c.Context().Done()
		// On a busy machine, the answer may get lost: a node repeats it for a
		// short time only.
		if err = context.Cause(c.Context()); errors.As(err, &closed) {
			return fmt.Sprint(closed.ErrorCode, closed.ErrorMessage)
		}
		t.Log("no answer:", err)
	}
	require.FailNow(t, "no answer")
	return ""
}

// prove makes the check with the given key pair, secret and purpose, which must
// fail.
func prove(t testing.TB, as identity.Identity, key identity.Identity, purpose string, secret [32]byte, to identity.RemoteIdentity) func(*quicgo.Conn, *quicgo.Stream) {
	return func(c *quicgo.Conn, s *quicgo.Stream) {
		_, err := tunnelIn(t, c, s, as, key, purpose, secret, to)
		require.ErrorIs(t, err, tunnel.ErrHandshake)
	}
}

func tunnelIn(t testing.TB, c *quicgo.Conn, s *quicgo.Stream, as, key identity.Identity, purpose string, secret [32]byte, to identity.RemoteIdentity) (*tunnel.Conn, error) {
	return tunnelOn(t, c, s, &raw{s, c}, as, key, purpose, secret, to)
}

// tunnelOn is like tunnelIn, but writes over by, which may alter what is
// written.
func tunnelOn(t testing.TB, c *quicgo.Conn, s *quicgo.Stream, by net.Conn, as, key identity.Identity, purpose string, secret [32]byte, to identity.RemoteIdentity) (*tunnel.Conn, error) {
	_, err := multistream.Select(s, check)
	require.NoError(t, err)
	state := c.ConnectionState().TLS
	binding, err := state.ExportKeyingMaterial(tunnel.ExporterLabel, nil, 32)
	require.NoError(t, err)
	session := tunnel.Session{Stream: by, Local: key.Remote(), Remote: keyOf(t, c), Binding: [32]byte(binding), Reset: func() {}}
	with := tunnel.NewCredentialFor([16]byte([]byte(purpose)), as, secret)
	return tunnel.Open(t.Context(), session, with, tunnel.Member{Instance: to, Node: session.Remote})
}

// Strangers who know the node's key or not, former contacts, and peers that
// break the protocol are all refused in the same way, so that the answer does
// not tell who is here.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l := &lan{}
	former := identity.New()
	a, b := pair(t, l, p2p.Config{}, p2p.Config{})
	require.NoError(t, a.contacts.Set([]identity.RemoteIdentity{b.Identity(), former.Remote()}))
	require.NoError(t, a.contacts.Set([]identity.RemoteIdentity{b.Identity()}))
	const purpose = "sdp2p-contact-v1"
	key := identity.New()
	answers := map[string]string{}
	for name, do := range map[string]func(*quicgo.Conn, *quicgo.Stream){
		"stranger":      prove(t, identity.New(), key, purpose, [32]byte{}, a.Identity()),
		"for another":   prove(t, identity.New(), key, purpose, [32]byte{}, b.Identity()),
		"former":        prove(t, former, key, purpose, [32]byte{}, a.Identity()),
		"itself":        prove(t, key, key, purpose, [32]byte{}, a.Identity()),
		"other purpose": prove(t, identity.New(), key, "sdp2p-pairing-v1", [32]byte{}, a.Identity()),
		"other secret":  prove(t, identity.New(), key, purpose, [32]byte{1}, a.Identity()),
		"junk": func(_ *quicgo.Conn, s *quicgo.Stream) {
			_, _ = multistream.Select(s, check)
			_, _ = s.Write(make([]byte, 98))
		},
		"nothing":       func(*quicgo.Conn, *quicgo.Stream) {},
		"identify":      ask("/ipfs/id/1.0.0"),
		"ping":          ask("/ipfs/ping/1.0.0"),
		"version 1":     ask("/sdp2p/1"),
		"version 2":     ask("/sdp2p/2/stream"),
		"metadata":      ask("/sdp2p/2/meta"),
		"moves":         ask("/sdp2p/2/move"),
		"hole punching": ask("/libp2p/dcutr"),
		"cut short":     func(_ *quicgo.Conn, s *quicgo.Stream) { s.Close() },
		"several at once": func(c *quicgo.Conn, _ *quicgo.Stream) {
			for range 3 {
				s, err := c.OpenStream()
				require.NoError(t, err)
				_, _ = io.WriteString(s, multistream.Question("/sdp2p/2/meta"))
			}
		},
	} {
		answers[name] = attempt(t, a, key, do)
	}
	for name, answer := range answers {
		require.Equal(t, answers["stranger"], answer, name)
	}
	a.finds(t, b) // b is not refused
	require.Len(t, a.Peers(), 1)
}

// A flipping stream flips a bit of what is written.
type flipping struct {
	*raw
	bit     int
	written int
}

func (f *flipping) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	if i := f.bit/8 - f.written; i >= 0 && i < len(b) {
		b[i] ^= 1 << (f.bit % 8)
	}
	f.written += len(b)
	return f.raw.Write(b)
}

// If a bit of a contact's check is flipped, the contact is refused in the same
// way as a stranger.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	l := &lan{}
	friend, key := identity.New(), identity.New()
	a := l.start(t, p2p.Config{}, friend.Remote())
	const purpose = "sdp2p-contact-v1"
	check := func(bit int, want error) func(*quicgo.Conn, *quicgo.Stream) {
		return func(c *quicgo.Conn, s *quicgo.Stream) {
			in, err := tunnelOn(t, c, s, &flipping{raw: &raw{s, c}, bit: bit}, friend, key, purpose, [32]byte{}, a.Identity())
			require.ErrorIs(t, err, want)
			if err == nil {
				require.NoError(t, in.CloseWrite())
			}
		}
	}
	want := attempt(t, a, key, prove(t, identity.New(), key, purpose, [32]byte{}, a.Identity()))
	for bit := 0; bit < 98*8; bit += 49 { // bits of the first message
		require.Equal(t, want, attempt(t, a, key, check(bit, tunnel.ErrHandshake)), "bit %d", bit)
	}
	require.Empty(t, a.Peers())
	c, err := dial(t, a, credentials(t, key, nameFor(shows(t, a).Key)))
	require.NoError(t, err)
	s, err := c.OpenStreamSync(within(t))
	require.NoError(t, err)
	check(1<<20, nil)(c, s) // beyond all bits that are written
	until(t, "the contact is in", func() bool { return connected(a.P2P, friend.Remote()) })
}

func ask(protocol string) func(*quicgo.Conn, *quicgo.Stream) {
	return func(_ *quicgo.Conn, s *quicgo.Stream) { _, _ = multistream.Select(s, protocol) }
}

// Silent connections do not take the place of a contact.
func TestSilence(t *testing.T) {
	t.Parallel()
	l := &lan{}
	ids := []identity.Identity{identity.New(), identity.New()}
	a := l.start(t, p2p.Config{Identity: ids[0]}, ids[1].Remote())
	shows(t, a)
	for range 50 {
		_, err := dial(t, a, credentials(t, identity.New(), ""))
		require.NoError(t, err)
	}
	b := l.start(t, p2p.Config{Identity: ids[1]}, ids[0].Remote())
	b.finds(t, a)
	a.finds(t, b)
	require.Len(t, a.Peers(), 1)
}

// Contacts reach each other while their keys change: both when the dialer has
// not heard of the change and dials by the former key, and when it hears of the
// change while it dials.
func TestDialAcrossEpochs(t *testing.T) {
	t.Parallel()
	l := &lan{}
	a, b := pair(t, l, p2p.Config{Handler: p2p.HandlerFunc(echo)}, p2p.Config{})
	peer := b.finds(t, a)
	for i := range 100 {
		b.Revoke(a.Identity()) // closes the connection
		b.Reinstate(a.Identity())
		if i%2 == 0 {
			l.unheard(func() {
				a.contacts.Turn()
				require.Equal(t, "hello", says(t, peer, "hello"))
			})
		} else {
			var turning sync.WaitGroup
			turning.Go(a.contacts.Turn)
			require.Equal(t, "hello", says(t, peer, "hello"))
			turning.Wait()
		}
		now := shows(t, a).Key
		until(t, "news", func() bool { key, ok := b.contacts.Key(a.Identity()); return ok && key == now })
	}
}
