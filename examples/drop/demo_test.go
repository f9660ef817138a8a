//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/examples/drop/console"
)

// Two demos work at the same time, also if the folder contains a link, which is
// left out. A demo fails if its folder is missing.
func TestDemo(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source")
	put(t, filepath.Join(source, "a/run.sh"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(source, "large"), strings.Repeat("0123456789", 150_000), 0o644)
	require.NoError(t, os.Symlink("large", filepath.Join(source, "link")))
	demos := []*process{program(t, "--demo", source), program(t, "--demo", source)}
	for _, p := range demos {
		require.NoError(t, p.Start())
	}
	for _, p := range demos {
		p.ends(t, exitAll)
		p.Shows(t, "Sent 2 files, 1.5 MB")
		require.Contains(t, p.String(), "demo: all 4 files and folders are identical")
	}
	missing := program(t, "--demo", filepath.Join(source, "missing"))
	require.NoError(t, missing.Start())
	missing.ends(t, exitFailed)
	missing.Shows(t, "no such file")
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(dir string){
		"nothing": func(string) {},
		"content": func(dir string) { put(t, filepath.Join(dir, "a"), "xyZ", 0o644) },
		"more":    func(dir string) { put(t, filepath.Join(dir, "b"), "", 0o644) },
		"less":    func(dir string) { os.Remove(filepath.Join(dir, "a")) },
		"name":    func(dir string) { os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")) },
	} {
		sent, arrived := filepath.Join(t.TempDir(), "s"), filepath.Join(t.TempDir(), "s")
		put(t, filepath.Join(sent, "a"), "xyz", 0o644)
		put(t, filepath.Join(arrived, "a"), "xyz", 0o600)
		change(arrived)
		err := compare(&console.Console{Out: &screen{}}, sent, arrived)
		require.Equal(t, name == "nothing", err == nil, "%s: %v", name, err)
	}
}
