package contact_test

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// echo answers with the bytes that it reads.
func echo(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// says opens a stream to a peer, sends text, and returns the answer.
func says(t testing.TB, peer *p2p.Peer, text string) string {
	t.Helper()
	s, err := peer.NewStream(within(t))
	require.NoError(t, err)
	defer s.Close()
	_, err = io.WriteString(s, text)
	require.NoError(t, err)
	require.NoError(t, s.CloseWrite())
	b, err := io.ReadAll(s)
	require.NoError(t, err)
	return string(b)
}

// Two contacts find each other, know each other's names, and open streams.
func TestContactsFindEachOther(t *testing.T) {
	t.Parallel()
	a, b := pair(t, &lan{}, p2p.Config{Name: "a", Handler: p2p.HandlerFunc(echo)}, p2p.Config{Name: "b", Handler: p2p.HandlerFunc(echo)})
	ofB, ofA := a.finds(t, b), b.finds(t, a)
	require.Equal(t, "hello", says(t, ofB, "hello"))
	require.Equal(t, "hi", says(t, ofA, "hi"))
	until(t, "names", func() bool { return ofB.Name() == "b" && ofA.Name() == "a" })
	require.True(t, ofB.Info().Tracked)
	require.Equal(t, []string{"contact"}, ofB.Info().DiscoveredBy)
}

// If only one of two nodes has the other as a contact, neither finds the other.
func TestContactsAreMutual(t *testing.T) {
	t.Parallel()
	l := &lan{}
	ids := []identity.Identity{identity.New(), identity.New(), identity.New()}
	a := l.start(t, p2p.Config{Identity: ids[0]}, ids[1].Remote(), ids[2].Remote())
	b := l.start(t, p2p.Config{Identity: ids[1]}) // b does not know a
	c := l.start(t, p2p.Config{Identity: ids[2]}, ids[0].Remote())
	a.finds(t, c)
	c.finds(t, a)
	_, ok := a.Peer(b.Identity())
	require.False(t, ok)
	require.Empty(t, b.Peers())
}
