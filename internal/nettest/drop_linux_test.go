package nettest

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// program builds a program of the module.
func program(t *testing.T, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(pkg))
	out, err := exec.Command("go", "build", "-o", path, "github.com/sdp2p/p2p/"+pkg).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

// run runs a program and returns its output.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	require.NoError(t, err, "%s %v: %s", name, args, out)
	return strings.TrimSpace(string(out))
}

// A folder moves from one network to another, each behind a router, first
// through a relay and then directly, using the programs that users have.
func TestDemoAway(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t, 3)
	dir := t.TempDir()
	sdp2p, drop := program(t, dir, "cmd/sdp2p"), program(t, dir, "examples/drop")
	in := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	for _, d := range []string{"sender", "receiver", "received", "relay"} {
		require.NoError(t, os.Mkdir(in(d), 0o700))
	}
	create := func(path string) string { // the key in its output
		return keyIn(t, run(t, sdp2p, "id", "--create", path))
	}
	issuer := create(in("issuer.pem"))
	sender, receiver := create(in("sender", "send.pem")), create(in("receiver", "receive.pem"))
	relayKey := create(in("relay", "relay.pem"))
	for name, node := range map[string]string{"sender": sender, "receiver": receiver} {
		text := run(t, sdp2p, "relay", "token", "--issuer", in("issuer.pem"), "--node", node, "--account", "00112233-4455-6677-8899-aabbccddeeff")
		require.NoError(t, os.WriteFile(in(name, "token"), []byte(text), 0o600))
	}

	const size = 96 << 20
	require.NoError(t, os.MkdirAll(in("folder", "more"), 0o700))
	for _, name := range []string{"a", "more/b", "more/c"} {
		b := make([]byte, size/3)
		rand.Read(b)
		require.NoError(t, os.WriteFile(in("folder", name), b, 0o600))
	}

	public := lab.Hosts[2].Public()
	relay := lab.Hosts[2].Tool(t, nil, sdp2p, "relay", "--state", in("relay"), "--issuer", issuer, "--http", "", "--listen", "0.0.0.0:7374")
	at := fmt.Sprintf("%s@%v:7374", relayKey, public)
	away := func(name, role string) []string {
		return []string{"--yes", "--keys", in(name), "--relay", at, "--token", in(name, "token"), role}
	}
	inside := [2]*netlab.Host{lab.Hosts[0].NAT(netlab.Cone).Inside(), lab.Hosts[1].NAT(netlab.Cone).Inside()}
	to := inside[0].Tool(t, nil, drop, append([]string{"receive", in("received"), "--once"}, append(away("receiver", "--from"), sender)...)...)
	to.Await(time.Time{}, "reach this one now")
	from := inside[1].Tool(t, nil, drop, append([]string{"send", in("folder")}, append(away("sender", "--to"), receiver)...)...)
	began := time.Now()
	from.Await(time.Time{}, "Sent")
	to.Await(time.Time{}, "Received")
	t.Logf("%d MiB after %v", size>>20, time.Since(began))
	require.Empty(t, run(t, "diff", "-r", in("folder"), in("received", "folder")))

	relay.Terminate()
	usage := run(t, sdp2p, "relay", "usage", "--state", in("relay"), "--format", "csv")
	t.Log(usage)
	var relayed int
	lines := strings.Split(usage, "\n")
	cells := strings.Split(lines[len(lines)-1], ",") // period,issuer,account,bytes,held
	_, err := fmt.Sscan(cells[3], &relayed)
	require.NoError(t, err, usage)
	require.Positive(t, relayed, "the transfer must begin through the relay")
	require.Less(t, relayed, size, "the transfer must go on directly")
}

// keyIn returns the key that a program has printed.
func keyIn(t *testing.T, text string) string {
	t.Helper()
	for _, word := range strings.Fields(text) {
		if len(word) == 43 {
			return word
		}
	}
	require.FailNow(t, "no key", text)
	return ""
}
