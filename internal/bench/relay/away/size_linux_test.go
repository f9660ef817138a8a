package away

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// with is the file that makes examples/hello a program with relays: it
// registers the hook.
const with = `package main

import (
	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

func withRelays(hooks []p2p.Hook) []p2p.Hook {
	return append(hooks, relay.New(relay.Config{Listener: hooks[0].(*quic.Listener)}))
}
`

// size measures what the client adds to a small program.
func size(t *testing.T, r *results) {
	if testing.Short() {
		t.Skip("programs are built")
	}
	where, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/sdp2p/p2p").Output()
	require.NoError(t, err)
	hello := filepath.Join(strings.TrimSpace(string(where)), "examples", "hello")
	main, err := os.ReadFile(filepath.Join(hello, "main.go"))
	require.NoError(t, err)
	const hooks, registered = "Hooks: hooks}", "Hooks: withRelays(hooks)}"
	require.Equal(t, 1, strings.Count(string(main), hooks))
	dir := t.TempDir()
	altered, added, overlay := filepath.Join(dir, "main.go"), filepath.Join(dir, "relays.go"), filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(altered, []byte(strings.Replace(string(main), hooks, registered, 1)), 0o644))
	require.NoError(t, os.WriteFile(added, []byte(with), 0o644))
	b, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(hello, "main.go"): altered, filepath.Join(hello, "relays.go"): added,
	}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, b, 0o644))
	built := func(args ...string) float64 {
		file := filepath.Join(dir, "program")
		cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", file}, args...), ".")...)
		cmd.Dir, cmd.Env = hello, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		info, err := os.Stat(file)
		require.NoError(t, err)
		return float64(info.Size())
	}
	r.add("size", (built("-overlay", overlay)-built())/1000)
}
