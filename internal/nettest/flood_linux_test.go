package nettest

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/quic"
)

// These are the limits of what an attack from another host may cost a member
// and the node itself.
const (
	promptly    = time.Second     // time to connect and to get an answer
	promptShare = 0.9             // share that must be that fast: the machine may be busy
	atMost      = 3 * time.Second // limit for each attempt
	memoryRoom  = 64 << 20        // bytes by which the node's memory may grow
	cpuShare    = 0.2             // of one processor

	attackTime = 15 * time.Second // how long an attack is observed
)

// A scene is a node under attack, a member that the node tracks, and the host
// of an attacker.
type scene struct {
	t              testing.TB
	lab            *netlab.Lab
	victim, member *node
	from           *netlab.Host
}

// memberSeed is the seed of the member's key.
var memberSeed = bytes.Repeat([]byte{'m'}, identity.SeedSize)

// newScene starts both nodes and waits until they have found each other. cfg is
// the victim's configuration.
func newScene(t testing.TB, cfg nodeConfig) *scene {
	t.Helper()
	key, err := identity.FromSeed(memberSeed)
	require.NoError(t, err)
	cfg.Name, cfg.QUIC, cfg.MDNS, cfg.Port = "victim", true, true, quic.DefaultPort
	cfg.Track = []string{key.Remote().String()}
	lab := netlab.New(t, 3)
	s := &scene{t: t, lab: lab, from: lab.Hosts[2]}
	s.victim = start(t, lab.Hosts[0], cfg)
	s.member = start(t, lab.Hosts[1], nodeConfig{Name: "member", QUIC: true, MDNS: true, Seed: memberSeed})
	s.member.discovers(s.victim, "mdns")
	s.victim.discovers(s.member, "mdns")
	for range 3 { // the first ones allocate memory that is kept
		_, err := s.connect()
		require.NoError(t, err)
	}
	return s
}

// target returns the address of the victim.
func (s *scene) target() netip.AddrPort {
	return netip.AddrPortFrom(s.victim.host.Addr4(), quic.DefaultPort)
}

// connect has the member make a new connection and exchange a few bytes.
func (s *scene) connect() (time.Duration, error) {
	s.t.Helper()
	r, err := netlab.Call[connected](s.member.Process, "connect", connectArgs{Peer: s.victim.id, Within: 10 * time.Second})
	require.NoError(s.t, err)
	if r.Err != "" {
		return r.Took, fmt.Errorf("after %v: %s", r.Took, r.Err)
	}
	return r.Took, nil
}

// A service is how the member was served during an attack.
type service struct {
	took   sample
	failed []error
	memory int64 // growth in bytes, at most
	cpu    float64
}

func (s service) String() string {
	took := "none"
	if len(s.took) > 0 {
		took = s.took.String()
	}
	return fmt.Sprintf("connected after %s, failed %d times %v; memory %+d MiB, cpu %.2f", took, len(s.failed),
		s.failed[:min(len(s.failed), 3)], s.memory>>20, s.cpu)
}

// watch has the member connect a number of times, evenly spread over a time.
func (s *scene) watch(before usage, times int, lasts time.Duration) (got service) {
	s.t.Helper()
	began := time.Now()
	start := ask[usage](s.victim, "usage")
	for i := range times {
		time.Sleep(time.Until(began.Add(lasts * time.Duration(i) / time.Duration(times))))
		if took, err := s.connect(); err != nil {
			got.failed = append(got.failed, err)
		} else {
			got.took = append(got.took, took)
		}
		got.memory = max(got.memory, ask[usage](s.victim, "usage").RSS-before.RSS)
		if time.Since(began) > 2*lasts {
			break // the test fails in any case
		}
	}
	time.Sleep(time.Until(began.Add(lasts)))
	end := ask[usage](s.victim, "usage")
	got.memory = max(got.memory, end.RSS-before.RSS)
	got.cpu = float64(end.CPU-start.CPU) / float64(time.Since(began))
	return got
}

// check fails the test if the service was worse than a member may expect.
func (s *scene) check(got service, share float64) {
	s.t.Helper()
	s.t.Log(got)
	if len(got.failed) > 0 {
		s.t.Errorf("the member could not connect %d times, such as %v", len(got.failed), got.failed[0])
	}
	slices.Sort(got.took)
	if n := len(got.took); n > 0 {
		if took := got.took[int(share*float64(n)+0.5)-1]; took > promptly {
			s.t.Errorf("fewer than %.0f %% of the connections were made within %v: %v", 100*share, promptly, got.took)
		}
		if took := got.took[n-1]; took > atMost {
			s.t.Errorf("a connection took %v", took)
		}
	}
	if got.memory > memoryRoom {
		s.t.Errorf("the node's memory grew by %d MiB", got.memory>>20)
	}
}

// checkCost fails the test if the attack cost the node more than allowed.
func (s *scene) checkCost(got service) {
	s.t.Helper()
	if got.cpu > cpuShare {
		s.t.Errorf("the node took %.2f of a processor", got.cpu)
	}
}

// A flooding is an attack from one host.
type flooding struct {
	name   string
	attack attackConfig
	victim nodeConfig
	enough func(c attackCounts) bool // whether the counts amount to an attack
}

// tried reports whether an attacker has made a number of attempts to connect.
func tried(times int64) func(attackCounts) bool {
	return func(c attackCounts) bool { return c.Handshakes+c.Failed >= times }
}

var floodings = []flooding{
	{"idle", attackConfig{Mode: "idle", Identities: 640, AtOnce: 64, Return: 2 * time.Second}, nodeConfig{}, tried(200)},
	{"touch", attackConfig{Mode: "touch", Identities: 640, AtOnce: 64, Return: 2 * time.Second}, nodeConfig{}, tried(200)},
	{"uni", attackConfig{Mode: "uni", Identities: 64, AtOnce: 64, Return: 5 * time.Second}, nodeConfig{}, tried(64)},
	{"streams", attackConfig{Mode: "streams", Identities: 640, AtOnce: 64, Streams: 200, Return: 2 * time.Second}, nodeConfig{}, tried(200)},
	{"unread", attackConfig{Mode: "unread", Identities: 64, AtOnce: 64, Streams: 16, Return: 5 * time.Second}, nodeConfig{},
		func(c attackCounts) bool { return c.Streams >= 100 && c.Payload >= 200_000 }},
	{"holes", attackConfig{Mode: "holes", Identities: 64, AtOnce: 64, Streams: 4, Return: 5 * time.Second}, nodeConfig{},
		func(c attackCounts) bool { return c.Streams >= 64 && c.Payload >= 2_000_000 }},
	{"half", attackConfig{Mode: "half"}, nodeConfig{}, func(c attackCounts) bool { return c.Bytes >= lineRate*5 }},
	{"metadata", attackConfig{Mode: "metadata", Identities: 21, AtOnce: 4, Return: time.Second}, nodeConfig{},
		func(c attackCounts) bool { return c.Payload >= 40_000 || c.Handshakes >= 100 }},
	{"gates", attackConfig{Mode: "gates", Identities: 2, AtOnce: 2, Streams: 200, Return: time.Second}, nodeConfig{Slow: 1500 * time.Millisecond},
		func(c attackCounts) bool { return c.Streams >= 1000 }},
	{"handshakes", attackConfig{Mode: "handshakes", Identities: 64, AtOnce: 64}, nodeConfig{}, tried(200)},
	{"version 1", attackConfig{Mode: "version 1", Identities: 256, AtOnce: 64, Return: time.Second}, nodeConfig{}, tried(200)},
}

// TestFloodOfStrangers: while one host attacks in one of many ways, a member on
// another host can connect at any time, and the node uses little memory and
// CPU.
func TestFloodOfStrangers(t *testing.T) {
	for _, f := range floodings {
		t.Run(f.name, func(t *testing.T) {
			s := newScene(t, f.victim)
			before, vital := ask[usage](s.victim, "usage"), ask[vitals](s.victim, "vitals")
			f.attack.Target, f.attack.Lasts = s.target(), time.Minute
			attack := startAttack(t, s.from, f.attack)
			defer attack.Kill()
			got := s.watch(before, 20, attackTime)
			sent := counted(t, attack)
			t.Logf("the attacker: %+v", sent)
			after := ask[vitals](s.victim, "vitals")
			t.Logf("heap %+d MiB, goroutines %d, then %d; %d lines logged", (int64(after.Heap)-int64(vital.Heap))>>20,
				vital.Goroutines, after.Goroutines, after.LogLines-vital.LogLines)
			s.check(got, promptShare)
			s.checkCost(got)
			require.True(t, f.enough(sent), "that was no attack: %+v", sent)
			require.LessOrEqual(t, sent.Heard, 1024*sent.Handshakes, "strangers must not be sent unchanged metadata over and over")
			for _, p := range ask[[]peerInfo](s.victim, "peers") {
				for _, c := range p.Candidates {
					require.False(t, strings.HasPrefix(c, "manual"), "%s has %s, an address that was never entered", p.Identity, c)
				}
			}
		})
	}
}
