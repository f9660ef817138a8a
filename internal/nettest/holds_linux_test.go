package nettest

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/netlab"
)

// A transfer between two programs goes on by itself after its connection was
// lost: when a network is away for longer than QUIC waits, and when the
// receiver is killed and starts again, at another port.
func TestDropHolds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	drop := program(t, dir, "examples/drop")
	content := make([]byte, 384<<20)
	rand.Read(content)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	for _, how := range []string{"away", "killed"} {
		t.Run(how, func(t *testing.T) {
			lab, received := netlab.New(t, 2), t.TempDir()
			flags := []string{"--yes", "--interface", netlab.Interface, "--keys", filepath.Join(dir, "keys")}
			receive := func() *netlab.Tool {
				return lab.Hosts[0].Tool(t, nil, drop, append([]string{"receive", received, "--once", "--name", "Bob"}, flags...)...)
			}
			to := receive()
			from := lab.Hosts[1].Tool(t, nil, drop, append([]string{"send", file, "--to", "Bob"}, flags...)...)
			from.Await(time.Time{}, " %: ")
			if how == "away" {
				lab.Hosts[0].LinkDown()
				from.Await(time.Time{}, "was lost", "trying again")
				to.Await(time.Time{}, "was lost", "may come back")
				lab.Hosts[0].LinkUp()
			} else {
				to.Kill()
				from.Await(time.Time{}, "was lost", "trying again")
				to = receive()
			}
			from.Await(time.Time{}, "Sent 1 file")
			to.Await(time.Time{}, "Received 1 file")
			require.Empty(t, run(t, "diff", file, filepath.Join(received, "file")))
			said := ""
			for _, line := range to.Lines() {
				said += line.Text + "\n"
			}
			require.Equal(t, 1, strings.Count(said, "offers 1 file"), said)
			require.NotContains(t, said, "drop: ")
			if how == "killed" {
				require.Contains(t, said, "were there already")
			}
		})
	}
}
