package block

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// On a file system that refuses names like Windows does, files get other names.
func TestPortableDestination(t *testing.T) {
	source, _ := folderOf(map[string]int{"10:30.png": 5, "aux.c": 6, "in/dot.": 7, "fine": 8})
	r := try{sources: []Source{source}, dir: t.TempDir()}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	names := func() (names []string) {
		for name := range contents(t, filepath.Join(r.dir, "top")) {
			names = append(names, name)
		}
		return names
	}
	require.ElementsMatch(t, []string{"10:30.png", "aux.c", "in/dot.", "fine"}, names())

	r.dir = t.TempDir()
	r.receive.faults = lacking(syscall.EINVAL, "name")
	sent, received = r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.ElementsMatch(t, []string{"10_30.png", "_aux.c", "in/dot_", "fine"}, names())
}

// A name is refused if its change makes it equal to another name of the offer.
func TestPortableClash(t *testing.T) {
	source, _ := folderOf(map[string]int{"a:b": 5, "a_b": 6})
	r := try{sources: []Source{source}, dir: t.TempDir()}
	r.receive.faults = lacking(syscall.EINVAL, "name")
	_, received := r.run(t)
	require.ErrorIs(t, received.err, ErrIncomplete)
	require.ErrorIs(t, received.err, ErrName)
	require.Equal(t, 1, received.Files)
}
