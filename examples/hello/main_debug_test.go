package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/exampletest"
)

// With -debug, the program prints the address of its debug page, which shows
// Alice and Bob and is served until the program is interrupted.
func TestDebug(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-interface", exampletest.Loopback(t), "--debug", ":0")
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	at := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(lines.Text())
	require.NotEmpty(t, at, lines.Text())
	for !strings.HasSuffix(lines.Text(), "answered: Hello, Bob!") {
		require.True(t, lines.Scan())
	}
	answer, err := http.Get(at + "state")
	require.NoError(t, err)
	defer answer.Body.Close()
	var s p2p.State
	require.NoError(t, json.NewDecoder(answer.Body).Decode(&s))
	require.Equal(t, "Alice", s.Metadata["name"])
	require.NotEmpty(t, s.Peers)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	require.NoError(t, cmd.Wait())
}
