package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/netlab"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// TestNode is not a test but a program that TestAmongHosts runs on a host: a
// node with a hostile name.
func TestNode(t *testing.T) {
	var interfaces []string
	console := netlab.Program(t, &interfaces)
	ctx, cancel := context.WithTimeout(context.Background(), netlab.Patience)
	defer cancel()
	discovery := mdns.New(mdns.Config{Interfaces: interfaces})
	listener := quic.New(quic.Config{TellStrangers: quic.Everything})
	n, err := p2p.Start(ctx, p2p.Config{App: "Test", Name: hostile, Hooks: []p2p.Hook{listener, discovery}})
	require.NoError(t, err)
	port, _ := listener.Port()
	netlab.Handle(console, "legacy", func(any) (uint64, error) { return discovery.Stats().Received.Legacy.Packets, nil })
	console.Tell("started", n.Identity().String(), strconv.Itoa(int(port)))
	console.Serve()
	require.NoError(t, n.Shutdown(context.Background()))
}

// On a host with several networks, the program sees a node of another host on
// one of them, and the nodes of its own host on another network and on
// loopback. Ctrl-C makes it print what it has found.
func TestAmongHosts(t *testing.T) {
	lab := netlab.New(t, 2)
	here := lab.Hosts[1]
	here.Run("ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
	for _, name := range []string{"other0", "other1"} {
		here.Run("ip", "link", "set", name, "up", "addrgenmode", "none")
	}
	here.Run("ip", "addr", "add", "10.78.0.1/24", "dev", "other0")
	here.Run("ip", "route", "add", "default", "via", "10.77.0.1")

	scan := func(args ...string) *exec.Cmd {
		cmd := here.Command(os.Args[0], append([]string{"scan", "--app", "test"}, args...)...)
		cmd.Env = append(os.Environ(), programEnv+"=1")
		return cmd
	}
	find := func(p *netlab.Process, args ...string) node {
		t.Helper()
		id := p.Await(time.Time{}, "started").About[0]
		// The node answers once it has probed.
		for began := time.Now(); time.Since(began) < netlab.Patience; {
			var stderr bytes.Buffer
			cmd := scan(append(args, "--json", "--time", "700ms")...)
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			require.NoError(t, err, "%s", &stderr)
			require.Empty(t, stderr.String())
			requirePlain(t, string(out))
			var nodes []node
			require.NoError(t, json.Unmarshal(out, &nodes))
			for _, n := range nodes {
				if n.Identity.String() == id {
					require.Equal(t, hostile, n.Name)
					return n
				}
			}
		}
		t.Fatal("the node is not found")
		return node{}
	}
	far := lab.Hosts[0].Start(t, []string(nil))
	there := find(far)
	require.Equal(t, lab.Hosts[0].Addr4(), there.Addresses[0].Addr())
	for _, addr := range there.Addresses {
		require.True(t, lab.Hosts[0].Owns(addr.Addr()), addr)
		require.Equal(t, addr.Addr().IsLinkLocalUnicast(), addr.Addr().Zone() != "", addr)
	}
	local := find(here.Start(t, []string{"other0"}), "--interface", "other0")
	require.Equal(t, "10.78.0.1", local.Addresses[0].Addr().String())
	own := find(here.Start(t, []string{"lo"}), "--interface", "lo") // although the question comes from 10.77.0.2
	require.Equal(t, "127.0.0.1", own.Addresses[0].Addr().String())

	legacy := func() uint64 {
		n, err := netlab.Call[uint64](far, "legacy", nil)
		require.NoError(t, err)
		return n
	}
	cmd := scan("--time", "1h")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began, before := time.Now(), legacy()
	require.NoError(t, cmd.Start())
	for legacy() < before+8 { // until the answers to the first questions have arrived
		require.Less(t, time.Since(began), netlab.Patience)
	}
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait(), "%s", &stderr)
	require.Contains(t, stdout.String(), there.Identity.String())
	require.Contains(t, stdout.String(), local.Identity.String())
	require.Empty(t, stderr.String())
}
