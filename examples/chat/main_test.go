package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/quic"
)

// TestMain lets the test binary act as the program, for the tests that run it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// A screen is what a terminal shows.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// shows waits until the screen shows what matches, and returns the submatches.
func (s *screen) shows(t *testing.T, pattern string, args ...any) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + fmt.Sprintf(pattern, args...))
	var found []string
	require.Eventually(t, func() bool { found = re.FindStringSubmatch(s.String()); return found != nil },
		time.Minute, 10*time.Millisecond, "%v is not shown:\n%v", re, s)
	return found
}

// A terminal is a terminal in which chat runs.
type terminal struct {
	*screen
	in    *io.PipeWriter
	ended chan error
}

func open(ctx context.Context, name string, hooks []p2p.Hook) *terminal {
	in, w := io.Pipe()
	term := &terminal{&screen{}, w, make(chan error, 1)}
	go func() {
		term.ended <- chat(ctx, name, hooks, in, log.New(term, "", 0))
		in.Close() // so that Scan ends
	}()
	return term
}

func (term *terminal) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-term.ended:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatalf("chat did not end:\n%v", term)
	}
}

func TestChat(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	oscar := open(t.Context(), "Oscar", network.Hooks())
	bob := open(t.Context(), "Bob\x1b[31m", network.Hooks())
	ctx, cancel := context.WithCancel(t.Context())
	eve := open(ctx, "", network.Hooks())
	for _, term := range []*terminal{oscar, bob, eve} {
		term.shows(t, `(?s)joined$.*joined$`)
	}

	for i := range 5 {
		fmt.Fprintf(oscar.in, "line %d \x1b]0;title\a\n", i)
	}
	for _, term := range []*terminal{bob, eve} {
		term.shows(t, `(?s)^Oscar: line 0 ]0;title$.*^Oscar: line 1 .*^Oscar: line 2 .*^Oscar: line 3 .*^Oscar: line 4 `)
	}
	fmt.Fprintln(bob.in, "hi")
	for _, term := range []*terminal{oscar, eve} {
		term.shows(t, `^Bob\[31m: hi$`)
	}
	fmt.Fprintln(eve.in, "who am I?")
	fingerprint := oscar.shows(t, `^([A-Z2-7-]{19}): who am I\?$`)[1]
	bob.shows(t, `^%s: who am I\?$`, fingerprint)
	require.NotContains(t, oscar.String(), "Oscar:", "lines must not be shown to the user who typed them")
	// From here on, the end of one process can cut off a message that another
	// one waits for.
	require.NotContains(t, oscar.String()+bob.String()+eve.String(), "did not get that")

	cancel()
	eve.end(t)
	oscar.shows(t, `^\* %s left$`, fingerprint)
	bob.in.Close()
	bob.end(t)
	oscar.in.Close()
	oscar.end(t)
}

// The user is told where a peer is, and where it is after its address has
// changed.
func TestPath(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	oscar, bob := open(t.Context(), "Oscar", network.Hooks()), network.Start(t, p2p.Config{App: "chat", Name: "Bob"})
	oscar.shows(t, `joined$`)
	fmt.Fprintln(oscar.in, "hi") // opens a connection
	at := oscar.shows(t, `^\* .* is at (\S+)$`)[1]
	_, err := netip.ParseAddrPort(at)
	require.NoError(t, err)
	oscar.in.Close()
	oscar.end(t)

	other := network.Start(t, p2p.Config{App: "chat"})
	for peer := range bob.Available(t.Context()) {
		if peer.Identity() == other.Identity() {
			to := p2p.Path{Remote: netip.MustParseAddrPort("192.168.1.7:7373")}
			require.Equal(t, other.Identity().Fingerprint()+" is at 192.168.1.7:7373 now", news(p2p.PeerPathChanged{Peer: peer, To: to}))
			break
		}
	}
}

// An announced name does not count before it has been verified.
func TestAnnouncedName(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node := network.Start(t, p2p.Config{App: "chat", Name: "Oscar"})
	bob := open(t.Context(), "Bob", network.Hooks())
	bob.shows(t, `^\* %s joined$`, node.Identity().Fingerprint())
	require.NotContains(t, bob.String(), "Oscar")
	fmt.Fprintln(bob.in, "hello?")
	bob.shows(t, `^\* %s is Oscar$`, node.Identity().Fingerprint())
	bob.shows(t, `^\* .* did not get that: .*refused$`) // the node serves no route
	bob.in.Close()
	bob.end(t)
}

// Two processes, one of which is interrupted, on the real loopback interface.
func TestProcesses(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no interrupts can be sent")
	}
	lo := exampletest.Loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	run := func(name string) (*exec.Cmd, io.WriteCloser, *screen) {
		cmd, out := exec.CommandContext(ctx, os.Args[0], "-name", name, "-interface", lo), &screen{}
		cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
		cmd.Stdout, cmd.Stderr = out, out
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return cmd, in, out
	}
	name := fmt.Sprintf("Oscar%x", rand.N(1<<40)) // others on this host may chat, too
	oscar, oscarIn, oscarShows := run(name)
	bob, bobIn, bobShows := run("Bob")
	here := open(ctx, "Here", []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: []string{lo}})})
	for _, s := range []*screen{oscarShows, bobShows, here.screen} {
		s.shows(t, `(?s)joined$.*joined$`)
	}
	require.Eventually(t, func() bool { // other processes may have joined as well
		io.WriteString(oscarIn, "hello from Oscar\n")
		return strings.Contains(bobShows.String(), name+": hello from Oscar\n") && strings.Contains(here.String(), " is "+name+"\n")
	}, time.Minute, 100*time.Millisecond)
	fingerprint := here.shows(t, `^\* (.*) is %s$`, name)[1]

	require.NoError(t, oscar.Process.Signal(os.Interrupt))
	require.NoError(t, oscar.Wait(), "%v", oscarShows)
	here.shows(t, `^\* %s left$`, fingerprint)

	bobIn.Close()
	require.NoError(t, bob.Wait(), "%v", bobShows)
	here.in.Close()
	here.end(t)
}
