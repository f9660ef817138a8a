package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/soak"
)

// TestMain lets the test binary act as the program, for the tests that run it
// and for the demo. It lowers the number of checks that rapid makes unless the
// command line sets it, since each check takes several devices with files.
func TestMain(m *testing.M) {
	switch os.Getenv("RUN_EXAMPLE") {
	case "append":
		appendForever(os.Getenv("LOG"))
	case "":
	default:
		main()
		return
	}
	soak.Checks(40, 100)
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	return cmd, &out
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"new"}, {"--demo", "--dir", "x"}, {"--demo", "new"}, {"--dir", "x", "--port", "70000"}} {
		cmd, out := program(t, args...)
		require.Error(t, cmd.Run(), args)
		require.Contains(t, out.String(), "notes --dir FOLDER new", args)
	}
}
