package dnssd

import (
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
)

// A packet is recognized as our own only if it was sent within the last 5 s,
// and only once: another engine on this host may send the same.
func TestEchoes(t *testing.T) {
	now := time.Unix(0, 0)
	var s echoes
	b := []byte("packet")
	require.False(t, s.own(b, now))
	s.expect([]byte("more"), now)
	s.expect(b, now)
	s.expect(b, now)
	require.False(t, s.own([]byte("other"), now))
	require.True(t, s.own(b, now))
	require.True(t, s.own(b, now))
	require.False(t, s.own(b, now))
	require.True(t, s.lately(b, now))
	s.expect(b, now)
	now = now.Add(echoTime + 1)
	require.False(t, s.own(b, now))
	require.False(t, s.lately(b, now))
}

// Once an interface is gone, nothing that was planned for it happens: no answer
// for one network is sent in the next. Its group is left. A group that cannot
// be joined is tried again.
func TestLinkClosed(t *testing.T) {
	d := &deaf{}
	e, send := flooded(t, d)
	l := e.links[1]
	require.Equal(t, 2, d.joined)
	require.NoError(t, e.Publish(Service{Instance: "a", Port: 1, IPv4: true}, Service{Instance: "new", Port: 1, IPv4: true}))
	e.applyWanted()
	ask := new(miekg.Msg).SetQuestion("_sd._udp.local.", miekg.TypePTR)
	send("10.0.0.2:5353", ask)
	ask.Question[0].Qclass |= unicastBit
	send("10.0.0.2:5353", ask)
	ask.Truncated = true
	send("10.0.0.2:5353", ask)
	l.ask(0, dns.Question{Name: "b.local.", Type: dns.TypeA})
	for _, s := range l.seen {
		l.suspect(s)
	}
	require.Greater(t, len(e.timers.heap), 8)
	l.close()
	require.Zero(t, d.joined)
	sent := d.sent
	e.advance(time.Minute)
	require.Equal(t, sent, d.sent)
	require.Empty(t, e.timers.heap)

	d.refuse = true
	e.pollInterfaces()
	e.advance(time.Minute)
	require.Equal(t, sent, d.sent)
	d.refuse = false
	e.pollInterfaces()
	require.Equal(t, 2, d.joined)
}
