package nettest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/pairing"
)

// meet has two nodes that hide who they are pair in two epochs, and meet as
// contacts in a third one. It also returns the data that only the two may know.
func meet(t *testing.T, seeds [2]byte) (s *story, private [][]byte) {
	t.Helper()
	lab := netlab.New(t, 2)
	m := &moved{t: t, lab: lab}
	m.link[0] = lab.Segment(1, lab.Hosts...)
	lab.Disconnect()
	m.sent[0] = m.link[0].Record(t)
	for i, n := range []**node{&m.a, &m.b} {
		*n = hidden(t, lab.Hosts[i], nodeConfig{
			Name: nameOf(seeds[i]), Metadata: map[string]string{libraryOf(seeds[i]): idOf(t, seeds[i])}, Pairs: true,
		}, seeds[i])
	}
	s = &story{moved: m, hellos: hellos{}}
	s.name(t)
	for epoch := range 2 {
		s.turn(t)
		since := time.Now()
		i, err := netlab.Call[invited](s.b.Process, "invite", inviteArgs{})
		require.NoError(t, err)
		ticket, err := pairing.ParseTicket(i.Ticket)
		require.NoError(t, err)
		require.False(t, ticket.Ephemeral.IsZero())
		_, err = netlab.Call[time.Duration](s.a.Process, "join", joinArgs{i.Ticket})
		require.NoError(t, err)
		s.b.Await(since, "joined", s.a.id)
		s.epochs[epoch] = s.take(t, s.sent[0])
		private = slices.Concat(private, i.Library.Private, [][]byte{i.Library.ID, i.Library.Instance, []byte(i.Ticket)})
	}
	s.turn(t, idOf(t, seeds[1]), idOf(t, seeds[0]))
	s.use(t)
	s.epochs[2] = s.take(t, s.sent[0])
	return s, private
}

// Two nodes pair that hide who they are and are not each other's contacts.
// Nothing that they send reveals who they are or to which library they belong,
// and none of it occurs again when they pair another time, or when they meet as
// contacts; except for what two other nodes send as well.
func TestPairingCaptured(t *testing.T) {
	t.Parallel()
	var s, others *story
	var private [][]byte
	t.Run("meet", func(t *testing.T) { s, private = meet(t, keys) })
	t.Run("others", func(t *testing.T) { others, _ = meet(t, [2]byte{'x', 'y'}) })
	if s == nil || others == nil {
		t.SkipNow() // the stories were skipped, or have failed
	}
	const part = 16 // bytes of private data: shorter parts, such as zeros, also occur elsewhere
	require.GreaterOrEqual(t, s.hellos.whole(), 3, "handshakes that were read")
	s.unlinkedEpochs(t, wordsOf(others.all()))
	s.revealsNothing(t)
	for _, tr := range s.all() {
		for _, p := range private {
			for i := 0; i+part <= len(p); i++ {
				require.False(t, bytes.Contains(tr.data, p[i:i+part]), "a part of %q, in\n%q", p, tr.data)
			}
		}
	}
}
