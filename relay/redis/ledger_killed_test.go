package redis

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/server/daemon"
	"github.com/sdp2p/p2p/relay/token"
)

// These variables configure a relay that is a process of its own.
const (
	envState  = "SDP2P_TEST_RELAY_STATE"
	envIssuer = "SDP2P_TEST_RELAY_ISSUER"
	envRedis  = "SDP2P_TEST_RELAY_REDIS" // path of a socket; if empty, the ledger is a file
)

func TestMain(m *testing.M) {
	if os.Getenv(envState) == "" {
		os.Exit(m.Run())
	}
	var o daemon.Options
	flags := flag.NewFlagSet("", flag.ExitOnError)
	o.Register(flags)
	flags.Parse([]string{"--state", os.Getenv(envState), "--listen", "127.0.0.1:0", "--http", "", "--issuer", os.Getenv(envIssuer)})
	if socket := os.Getenv(envRedis); socket != "" {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
		o.Ledger = NewLedger(client, server.Monthly)
	}
	go func() { // the process must not outlive the test
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	o.Run(context.Background(), os.Stdout)
	os.Exit(1)
}

// A process is a relay in a process of its own.
type process struct {
	relay.Server
	cmd *exec.Cmd
}

func startProcess(t *testing.T, s *shop, state, socket string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envState+"="+state, envIssuer+"="+s.issuer.Remote().String(), envRedis+"="+socket)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	lines := bufio.NewScanner(out)
	for p.Identity.IsZero() && lines.Scan() {
		if m := regexp.MustCompile(`the relay serves" identity=(\S+) addrs=\[(\S+)\]`).FindStringSubmatch(lines.Text()); m != nil {
			p.Identity, err = identity.Parse(m[1])
			require.NoError(t, err)
			p.Addrs = []netip.AddrPort{netip.MustParseAddrPort(m[2])}
		}
	}
	require.False(t, p.Identity.IsZero(), "the relay did not start")
	go io.Copy(io.Discard, out)
	return p
}

// kill kills the process with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// A note is a line of a relay's journal.
type note struct {
	Op            string
	ID            uuid.UUID
	Bytes, Unused int64
}

// journal returns the notes that a relay has written so far.
func journal(t *testing.T, state string) (all []note) {
	t.Helper()
	f, err := os.Open(filepath.Join(state, "journal"))
	require.NoError(t, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n note
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			break // the line is incomplete
		}
		all = append(all, n)
	}
	return all
}

// noted returns the grants that are held according to a relay's journal.
func noted(t *testing.T, state string) map[uuid.UUID]note {
	t.Helper()
	live := map[uuid.UUID]note{}
	for _, n := range journal(t, state) {
		if live[n.ID] = n; n.Op == "done" {
			delete(live, n.ID)
		}
	}
	return live
}

// inUse reports whether, according to the journal, a part of some grant is used
// and a part is not.
func inUse(t *testing.T, state string) bool {
	t.Helper()
	for _, n := range noted(t, state) {
		if 0 < n.Unused && n.Unused < n.Bytes {
			return true
		}
	}
	return false
}

// A relay process is killed while it holds a grant of which nodes have used a
// part. When it is started again, it settles the grant as the journal says; but
// not a second time, if it was killed before it could record that it had.
func TestKilledProcess(t *testing.T) {
	t.Run("file", func(t *testing.T) {
		state := t.TempDir()
		testKilled(t, state, "", func(s *shop) []server.Use {
			all, err := server.ReadLedger(filepath.Join(state, daemon.LedgerFile))
			require.NoError(t, err)
			return all
		})
	})
	t.Run("redis", func(t *testing.T) {
		client := real(t)
		socket := client.(*redis.Client).Options().Addr
		testKilled(t, t.TempDir(), socket, func(s *shop) []server.Use {
			all, err := NewLedger(client, server.Monthly).Uses(t.Context())
			require.NoError(t, err)
			return all
		})
	})
}

func testKilled(t *testing.T, state, socket string, uses func(*shop) []server.Use) {
	s := &shop{issuer: identity.New()}
	account := token.Account{Issuer: s.issuer.Remote(), Number: uuid.UUID{1}}
	use := func() server.Use {
		all := uses(s)
		require.Len(t, all, 1)
		require.Equal(t, account, all[0].Account)
		return all[0]
	}
	p := startProcess(t, s, state, socket)
	callee, caller := s.join(t, p.Server, 1, 0), s.join(t, p.Server, 1, 0)
	var wg sync.WaitGroup
	stream := send(t, &wg, caller, callee)
	eventually(t, "some is used and written down", func() bool {
		return callee.took.Load() > server.Chunk && inUse(t, state)
	})
	p.kill()
	stream.Reset(p2p.ErrCanceled)
	wg.Wait()
	took := callee.took.Load()
	for _, n := range []*node{callee, caller} {
		require.NoError(t, n.Shutdown(t.Context()))
	}
	before := use()
	require.Positive(t, before.Held)
	require.GreaterOrEqual(t, before.Bytes, took, "bytes may pass only after they were granted")
	var bytes, unused int64
	for _, n := range noted(t, state) {
		bytes, unused = bytes+n.Bytes, unused+n.Unused
	}
	begun := map[uuid.UUID]bool{}
	for _, n := range journal(t, state) {
		require.True(t, begun[n.ID] || n.Op == "held" && n.Unused == n.Bytes, "a grant must be recorded before it is used: %v", n)
		begun[n.ID] = true
	}
	written, err := os.ReadFile(filepath.Join(state, "journal"))
	require.NoError(t, err)

	p = startProcess(t, s, state, socket)
	eventually(t, "it has settled", func() bool { return len(noted(t, state)) == 0 })
	after := use()
	require.LessOrEqual(t, before.Bytes-after.Bytes, unused)
	if bytes <= before.Held { // it was not killed between a settlement and its record
		require.Equal(t, before.Held-bytes, after.Held)
		require.Equal(t, before.Bytes-unused, after.Bytes)
	}
	p.kill()

	settled := use()
	require.NoError(t, os.WriteFile(filepath.Join(state, "journal"), written, 0o600))
	p = startProcess(t, s, state, socket)
	eventually(t, "it believes to have settled", func() bool { return len(noted(t, state)) == 0 })
	require.Equal(t, settled, use(), "the grant was given back twice")
	p.kill()
}
