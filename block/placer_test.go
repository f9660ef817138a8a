package block

import (
	"io/fs"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// newTestPlacer returns a placer into root for one offer of a sender, which may
// continue an earlier attempt.
func newTestPlacer(t *testing.T, root *os.Root) *placer {
	vol := newVolume(root, false, nil)
	key := journalKey("a", [16]byte{})
	var j *journal
	require.NoError(t, vol.enter(func() (err error) {
		j, err = openJournal(t.Context(), vol, &key)
		return err
	}))
	return newPlacer(&receiver{transfer: newTransfer(t.Context(), nil), opts: ReceiveOptions{From: "a"}, vol: vol, journal: j})
}

// Existing names are looked up, but not in a folder that this attempt has
// created.
func TestVacant(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	require.NoError(t, root.Mkdir("old", 0o700))
	for _, first := range []bool{true, false} {
		p := newTestPlacer(t, root)
		for _, folder := range [][2]string{{"new", "new"}, {"old", "old (2)"}, {"new/in", "new/in"}} {
			here, err := p.mkdir(folder[0])
			require.NoError(t, err)
			require.Equal(t, folder[1], here)
		}
		require.NoError(t, root.WriteFile("new/in/a", nil, 0o600))
		p.add(wholeFile{entry: file("new/in/a", 0)})
		p.add(wholeFile{entry: file("other", 0)})
		inside, beside := &p.batch[0], &p.batch[1]
		require.Equal(t, first, inside.fresh)
		require.False(t, beside.fresh)
		require.NoError(t, root.WriteFile("new/in/a (2)", nil, 0o600))
		want := "new/in/a"
		if !first {
			want = "new/in/a (3)"
		}
		require.Equal(t, want, p.vacant(inside, 1))
		require.Equal(t, "new/in/a (3)", p.vacant(inside, 2))
		p.sites.leave()
		p.journal.close(!first)
		p.vol.leave()
	}
}

// Without hard links, an empty file holds a place, and is removed if the file
// does not come.
func TestWithoutHardLinks(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	e := file("a", 5)
	p := newTestPlacer(t, root)
	f := &wholeFile{entry: e, number: p.journal.number(), wanted: "a", path: "a"}
	data := p.journal.data(f.number)
	hello := func() { require.NoError(t, p.vol.partial.WriteFile(data, []byte("hello"), 0o600)) }
	again := func() {
		p.journal.close(false)
		p.vol.leave()
		p = newTestPlacer(t, root)
	}
	hello()
	require.NoError(t, root.WriteFile("a", []byte("mine"), 0o600))
	require.ErrorIs(t, p.create(f, partialDir+"/"+data), fs.ErrExist)
	f.path = p.vacant(f, 2)
	require.NoError(t, p.create(f, partialDir+"/"+data))
	for name, want := range map[string]string{"a": "mine", "a (2)": "hello"} {
		got, err := root.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	again()
	require.True(t, placed(t, p.journal, root, &e))

	// An empty file of another program is not taken for one that holds a place.
	again()
	require.NoError(t, root.WriteFile("empty", nil, 0o600))
	hello()
	f.path = "empty"
	require.ErrorIs(t, p.create(f, partialDir+"/"+data), fs.ErrExist)
	again()
	require.False(t, placed(t, p.journal, root, &e))
	_, err = root.Stat("empty")
	require.NoError(t, err)

	// The receiver was killed between the two steps.
	again()
	f.path = "b"
	require.NoError(t, p.record(f, true))
	require.NoError(t, root.WriteFile("b", nil, 0o600))
	hello()
	again()
	require.False(t, placed(t, p.journal, root, &e))
	_, err = root.Stat("b")
	require.ErrorIs(t, err, fs.ErrNotExist)
	p.journal.close(true)
	p.vol.leave()
	_, err = root.Lstat(partialDir)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
