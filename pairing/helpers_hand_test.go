package pairing_test

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/pairing"
	"github.com/sdp2p/p2p/tunnel"
)

// The code in this file is written from the protocol's text, without the
// package's own code: an end of pairing that can send anything.

var purpose = [16]byte([]byte("sdp2p-pairing-v1"))

var noPadding = base32.StdEncoding.WithPadding(base32.NoPadding)

// craft makes a ticket from a secret.
func craft(t testing.TB, node identity.RemoteIdentity, secret [16]byte, expiry time.Time) pairing.Ticket {
	t.Helper()
	key := node.Bytes()
	b := append(append([]byte{1}, key[:]...), secret[:]...)
	b = append(binary.LittleEndian.AppendUint32(b, uint32(expiry.Unix()/60)), 0)
	sum := sha256.Sum256(b)
	ticket, err := pairing.ParseTicket("sdp2p1:" + noPadding.EncodeToString(append(b, sum[:4]...)))
	require.NoError(t, err)
	return ticket
}

func pskOf(t testing.TB, ticket pairing.Ticket) [32]byte {
	t.Helper()
	b, err := noPadding.DecodeString(strings.TrimPrefix(ticket.Text(), "sdp2p1:"))
	require.NoError(t, err)
	psk, err := hkdf.Key(sha256.New, b[33:49], nil, "sdp2p-pairing-v1"+string(b[1:33]), 32)
	require.NoError(t, err)
	return [32]byte(psk)
}

// open opens a stream to a route of another device.
func (d *device) open(t testing.TB, to identity.RemoteIdentity, route string) *p2p.Stream {
	t.Helper()
	peer, ok := d.Peer(to)
	require.True(t, ok)
	s, err := peer.Open(t.Context(), route)
	require.NoError(t, err)
	t.Cleanup(func() { s.Reset(p2p.ErrCanceled) })
	return s
}

// present opens the tunnel of a ticket, by hand.
func (d *device) present(t testing.TB, ticket pairing.Ticket) (*tunnel.Conn, error) {
	t.Helper()
	session, err := library.Session(d.P2P, d.open(t, ticket.Node, pairing.Route))
	require.NoError(t, err)
	c, err := tunnel.Open(t.Context(), session, tunnel.NewCredentialFor(purpose, d.id, pskOf(t, ticket)),
		tunnel.Member{Instance: ticket.Node, Node: ticket.Node})
	if err == nil {
		t.Cleanup(func() { c.Abort(context.Canceled) })
	}
	return c, err
}

// An openDoor is a directory that lets in one node, if it has the ticket.
type openDoor struct {
	with *tunnel.Credential
	node identity.RemoteIdentity
}

func (o openDoor) Credentials() []*tunnel.Credential { return []*tunnel.Credential{o.with} }
func (o openDoor) Member(*tunnel.Credential, [32]byte) (tunnel.Member, bool) {
	return tunnel.Member{Instance: o.node, Node: o.node}, true
}
func (o openDoor) Knows(identity.RemoteIdentity) bool                   { return true }
func (o openDoor) Allow(context.Context, uuid.UUID, tunnel.Member) bool { return true }
func accept(s *p2p.Stream, node *p2p.P2P, with *tunnel.Credential) (*tunnel.Conn, error) {
	session, err := library.Session(node, s)
	if err != nil {
		return nil, err
	}
	return tunnel.NewResponder(openDoor{with, s.RemoteIdentity()}, tunnel.Limits{}).Accept(context.Background(), session)
}

func text(s string) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func helloOf(name string) []byte { return append([]byte{2}, text(name)...) }

func replyOf(status byte, name string) []byte { return append([]byte{2, status}, text(name)...) }

func welcomeOf(t testing.TB, r library.Record) []byte {
	founder := r.Founder.Bytes()
	b := append(append(append([]byte{0}, r.ID[:]...), text(r.Name)...), founder[:]...)
	secret := r.Secret.Bytes()
	b, err := r.Statements.AppendBinary(append(append(b, 1), secret[:]...))
	require.NoError(t, err)
	return b
}

// libraryOf returns a library with one admin, an instance on a node.
func libraryOf(t testing.TB, node identity.Identity, role library.Role) library.Record {
	founder, instance := identity.New(), identity.New()
	r := library.Record{ID: uuid.New(), Founder: founder.Remote(), Secret: library.NewSecret()}
	all := roster.New(r.ID, r.Founder)
	say := func(by identity.Identity, body roster.Body) {
		_, err := all.Sign(by, body, time.Now())
		require.NoError(t, err)
	}
	say(founder, roster.Move{})
	say(founder, roster.Add{Instance: instance.Remote(), Role: role})
	say(instance, roster.SignMove(node, r.Founder, r.ID, instance.Remote(), 1))
	say(founder, roster.Secret{Number: 1, Hash: roster.HashSecret(r.Secret.Bytes())})
	r.Statements = all.All()
	return r
}

// expect reads n bytes.
func expect(t testing.TB, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	require.NoError(t, err)
	return b
}

// A comparer is an end of pairing by code.
type comparer struct {
	opener, other identity.RemoteIdentity
	binding       [32]byte
}

func compares(t testing.TB, s *p2p.Stream, opener, other identity.RemoteIdentity) comparer {
	binding, ok := s.Exporter("EXPORTER-sdp2p-pairing-v1")
	require.True(t, ok)
	return comparer{opener, other, binding}
}

// open returns the opener's first message.
func (c comparer) open(nonce []byte) []byte {
	a, b := c.opener.Bytes(), c.other.Bytes()
	sum := sha256.Sum256([]byte("sdp2p-compare-v1" + string(a[:]) + string(b[:]) + string(c.binding[:]) + string(nonce)))
	return append([]byte{2}, sum[:]...)
}
