package nettest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

// A story is everything that two contacts send: in three epochs in one network,
// and in another network.
type story struct {
	*moved
	nodes  [2]*node
	macs   [2]string
	shown  [2]shownInfo
	labels [2][]string // all that each node has shown
	hellos hellos

	epochs  [3][]trace
	between []trace // sent while an epoch begins
	second  []trace // sent in the other network
}

// libraryOf returns the library of a node.
func libraryOf(seed byte) string {
	return fmt.Sprintf("d66e3c5a-9dad-11d1-80b4-%012x", 0xa7b4d430c800+uint64(seed)*0x10101)
}

// nameOf returns a node's name.
func nameOf(seed byte) string { return fmt.Sprintf("Zoë's %[1]c%[1]c%[1]c laptop", seed) }

// live has two contacts live through a story. The two networks look the same to
// the hosts, except for the router.
func live(t *testing.T, seeds [2]byte) *story {
	t.Helper()
	s := &story{hellos: hellos{}}
	s.moved = newMoved(t, seeds, func(i int) nodeConfig {
		return nodeConfig{Name: nameOf(seeds[i]), Metadata: map[string]string{libraryOf(seeds[i]): idOf(t, seeds[i])}}
	})
	s.name(t)
	first, second := s.sent[0], s.sent[1]
	for epoch := range s.epochs {
		s.turn(t, idOf(t, seeds[1]), idOf(t, seeds[0]))
		s.use(t)
		s.epochs[epoch] = s.take(t, first)
	}
	s.pull()
	s.epochs[2] = append(s.epochs[2], s.take(t, first)...)
	s.router[1].Run("ip", "addr", "add", s.link[0].Prefixes(s.router[0], 0)[0].String(), "dev", s.link[1].Interface)
	for _, h := range s.lab.Hosts[:2] {
		s.link[0].Replug(h, s.link[1])
		s.outside(h)
	}
	s.second = s.settle(t, second)
	s.use(t)
	s.second = append(s.second, s.take(t, second)...)
	return s
}

// name records the identities of the nodes.
func (s *story) name(t *testing.T) {
	t.Helper()
	s.nodes = [2]*node{s.a, s.b}
	for i, n := range s.nodes {
		require.NoError(t, n.host.Do(func() error {
			ifc, err := net.InterfaceByName(s.link[0].Interface)
			s.macs[i] = ifc.HardwareAddr.String()
			return err
		}))
	}
}

// turn has both nodes begin an epoch, as they do when they get another contact.
// Each may have a contact that stays.
func (s *story) turn(t *testing.T, contacts ...string) {
	t.Helper()
	for i, n := range s.nodes {
		list := []string{identity.New().Remote().String()}
		if contacts != nil {
			list = append(list, contacts[i])
		}
		_, err := netlab.Call[none](n.Process, "set contacts", list)
		require.NoError(t, err)
	}
	s.between = append(s.between, s.settle(t, s.sent[0])...)
}

// take returns the packets that the nodes have sent on a segment.
func (s *story) take(t *testing.T, r *netlab.Recording) []trace {
	return slices.DeleteFunc(s.hellos.traces(t, r.Take()), func(tr trace) bool { return !slices.Contains(s.macs[:], tr.from) })
}

// settle waits until both nodes show something new and have announced it, and
// have found each other by these announcements.
func (s *story) settle(t *testing.T, r *netlab.Recording) (list []trace) {
	t.Helper()
	for i, n := range s.nodes {
		s.shown[i] = n.shown(t, s.shown[i])
		s.labels[i] = append(s.labels[i], s.shown[i].Label)
	}
	until(t, func() bool {
		list = append(list, s.take(t, r)...)
		return s.announced(list, 0) && s.announced(list, 1)
	})
	return list
}

// announced reports whether a node has announced what it shows as often as it
// will.
func (s *story) announced(list []trace, i int) bool {
	count := 0
	for _, tr := range list {
		if tr.response && tr.from == s.macs[i] && bytes.Contains(tr.data, []byte(s.shown[i].Label)) {
			count++
		}
	}
	return count >= 4
}

// use has each node make a connection, and use it.
func (s *story) use(t *testing.T) {
	t.Helper()
	for i, n := range s.nodes {
		until(t, func() bool {
			r, err := netlab.Call[connected](n.Process, "connect", connectArgs{Peer: s.nodes[1-i].id, Within: netlab.Patience})
			require.NoError(t, err)
			return r.Err == ""
		})
	}
}

// all returns all traces.
func (s *story) all() []trace {
	return slices.Concat(s.epochs[0], s.epochs[1], s.epochs[2], s.between, s.second)
}

// Two contacts send packets in three epochs, and after a change of network that
// leaves their addresses the same. No string in them occurs in two epochs or in
// both networks, except those that two other nodes send as well, which are the
// words of the protocols. Within one network, connections stay and keep their
// IDs. Nothing reveals who the nodes are.
func TestContactsCaptured(t *testing.T) {
	t.Parallel()
	var s, others *story
	t.Run("live", func(t *testing.T) { s = live(t, keys) })
	t.Run("others", func(t *testing.T) { others = live(t, [2]byte{'x', 'y'}) })
	if s == nil || others == nil {
		t.SkipNow() // the stories were skipped, or have failed
	}
	require.GreaterOrEqual(t, s.hellos.whole(), 8, "handshakes that were read")
	constants := wordsOf(others.all())
	s.unlinkedEpochs(t, constants)
	first := piecesOf(slices.Concat(s.epochs[0], s.epochs[1], s.epochs[2], s.between), constants, true)
	unlinked(t, first, piecesOf(s.second, constants, true), "of two networks")
	ports := map[uint16]bool{}
	for _, tr := range slices.Concat(s.epochs[0], s.epochs[1], s.epochs[2], s.between) {
		ports[tr.port] = true
	}
	for _, tr := range s.second {
		require.True(t, tr.dns || !ports[tr.port], "port %d, in two networks", tr.port)
	}
	s.revealsNothing(t)
}

// unlinkedEpochs requires that no string occurs in two epochs, except for
// words.
func (s *story) unlinkedEpochs(t *testing.T, but words) {
	t.Helper()
	var epochs [3]pieces
	for i, list := range s.epochs {
		epochs[i] = piecesOf(list, but, false)
		t.Logf("epoch %d: %d packets, %d pieces", i, len(list), len(epochs[i]))
		require.NotEmpty(t, epochs[i])
		for j := range i {
			unlinked(t, epochs[j], epochs[i], fmt.Sprintf("of epochs %d and %d", j, i))
		}
	}
}

// revealsNothing requires that no packet reveals who the nodes are, or links
// two epochs.
func (s *story) revealsNothing(t *testing.T) {
	t.Helper()
	for _, tr := range s.all() {
		require.Empty(t, reveals(t, tr.data, keys), "%x", tr.data)
		for i := range s.nodes {
			require.LessOrEqual(t, len(slices.DeleteFunc(slices.Clone(s.labels[i]), func(l string) bool {
				return !bytes.Contains(tr.data, []byte(l))
			})), 1, "%x links two epochs", tr.data)
		}
	}
}

// unlinked requires that no string occurs in both.
func unlinked(t *testing.T, a, b pieces, about string) {
	t.Helper()
	for k, in := range a {
		if also := b[k]; also != nil {
			t.Errorf("%q, %s, from %s and %s: in\n%q\nand\n%q", k, about, in.from, also.from, in.data, also.data)
		}
	}
}

// reveals returns a part of a packet that reveals a node with one of the seeds,
// or "". It looks for 12 bytes of a string of hexadecimal digits, of which
// labels consist, and for 6 bytes of any other string.
func reveals(t *testing.T, data []byte, seeds [2]byte) string {
	t.Helper()
	host, err := os.Hostname()
	require.NoError(t, err)
	folded := fold(string(data))
	for _, seed := range seeds {
		id, err := identity.Parse(idOf(t, seed))
		require.NoError(t, err)
		raw := id.Bytes()
		x, err := id.X25519()
		require.NoError(t, err)
		key, err := identity.FromSeed(bytes.Repeat([]byte{seed}, identity.SeedSize))
		require.NoError(t, err)
		for _, secret := range []string{
			string(raw[:]), string(x.Bytes()), id.String(), id.Fingerprint(), strings.ReplaceAll(id.Fingerprint(), "-", ""),
			hex.EncodeToString(raw[:]), base64.RawURLEncoding.EncodeToString(raw[:]), base64.StdEncoding.EncodeToString(x.Bytes()),
			nameOf(seed), libraryOf(seed), key.HostName("seg1"), host, "operating_system",
			serverName(raw[:]), serverName(x.Bytes()),
		} {
			n := shortest
			if strings.Trim(secret, "0123456789abcdef-") == "" {
				n *= 2
			}
			for i := 0; i+n <= len(secret); i++ {
				if part := fold(secret[i : i+n]); strings.Contains(folded, part) {
					return fmt.Sprintf("%q of %q", part, secret)
				}
			}
		}
	}
	return ""
}

// serverName returns the server name that a dialer sends to ask for a key.
func serverName(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:8])
}

// fold converts ASCII letters to lower case, and leaves all other bytes alone.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 'a' - 'A'
		}
	}
	return string(b)
}
