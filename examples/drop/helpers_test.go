package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/internal/exampletest"
)

// evil is what an evil peer might want to print: it sets the title of the
// window.
const evil = "\x1b]0;OWNED\x07"

type screen = exampletest.Screen

// A user sits at a console.
type user struct {
	*console.Console
	*screen
	keys *io.PipeWriter
}

// newUser returns a user who can answer.
func newUser(t testing.TB) *user {
	in, keys := io.Pipe()
	u := &user{screen: &screen{}, keys: keys}
	u.Console = &console.Console{Out: u.screen, Err: u.screen}
	u.Listen(in)
	t.Cleanup(func() { keys.Close() })
	return u
}

// enter enters text. When it returns, the console has read it.
func (u *user) enter(text string) {
	io.WriteString(u.keys, text)
	u.keys.Write(nil) // returns once the console has read the first text
}

// bubble runs a test in which no time passes.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

// wait waits for a value.
func wait[T any](t *testing.T, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(5 * time.Minute):
		t.Fatal("nothing comes")
	}
	return value
}

func put(t *testing.T, path, content string, mode fs.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	require.NoError(t, os.Chmod(path, mode))
	return path
}
