package block

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A chunk that is to be sent again can no longer be read: while its file is in
// transit, while another file is, and after all were sent.
func TestRepairFails(t *testing.T) {
	small, large := &wantedFile{path: "top/b", size: piece}, &wantedFile{path: "top/b", size: 16 * piece}
	for name, test := range map[string]struct {
		trouble trouble
		chunk   uint32
		others  []*wantedFile
		row     string
		atMost  int64
	}{
		"read, same file":     {tires, 1, []*wantedFile{small}, "sender again 9", 8 * piece},
		"read, another file":  {tires, 15, []*wantedFile{large}, "sender again 9", 34 * piece},
		"read, all sent":      {tires, 15, nil, "sender again 9", 18 * piece},
		"open, same file":     {vanishes, 1, []*wantedFile{small}, "sender file 9", 8 * piece},
		"open, another file":  {vanishes, 15, []*wantedFile{large}, "sender file 9", 34 * piece},
		"open, between files": {vanishes, 15, []*wantedFile{small, {path: "top/c0", size: piece}}, "sender sending 9", 20 * piece},
		"open, all sent":      {vanishes, 15, nil, "sender sent 9", 18 * piece},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				files := append([]*wantedFile{{path: "top/a", size: 16 * piece, trouble: test.trouble}}, test.others...)
				m := play(t, dir, []Source{slowly(files...)}, 0, ReceiveOptions{}, func(m *match) {
					spoil(m, 1, test.chunk)
					m.there.writes = &pace{fixed: 15 * time.Millisecond} // the sender moves on
				})
				require.ErrorIs(t, m.err, ErrRead)
				require.ErrorIs(t, m.sendErr, ErrRead)
				require.Equal(t, len(files)-1, m.received.Files)
				require.Equal(t, len(files)-1, m.sent.Files)
				require.Equal(t, 1, m.there.referee.seen["receiver taking 10"])
				require.Equal(t, 1, m.there.referee.seen[test.row], m.there.referee.seen)
				require.Less(t, m.here.written, test.atMost)
			})
		})
	}
}

// A receiver that gives a file up is done only once the repairs that it has
// asked for before have come, or the sender has said that they will not.
func TestRepairOfGivenUp(t *testing.T) {
	second := &wantedFile{path: "top/b", size: 4 * piece}
	for name, test := range map[string]struct {
		perOffer int
		others   []*wantedFile
		spoilt   []uint32
		opts     ReceiveOptions
		why      error
		row      string // a row that is used once
	}{
		"in vain":                   {0, nil, []uint32{0, 1}, ReceiveOptions{}, ErrCorrupt, "receiver taking 9"},
		"in vain, two offers":       {2, []*wantedFile{second}, []uint32{0, 1}, ReceiveOptions{}, ErrCorrupt, "receiver taking 9"},
		"repair under way":          {0, nil, []uint32{0, 1}, failing(3), ErrWrite, "receiver taking 9"},
		"repair into the next":      {2, []*wantedFile{second}, []uint32{0, 1}, failing(3), ErrWrite, "receiver taking 9"},
		"failed within another one": {0, []*wantedFile{second}, []uint32{0}, failing(2), ErrWrite, "sender file 9"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				source := slowly(append([]*wantedFile{{path: "top/a", size: 2 * piece}}, test.others...)...)
				m := play(t, dir, []Source{source}, test.perOffer, test.opts, func(m *match) {
					spoil(m, 9, test.spoilt...)
					m.there.writes = &pace{fixed: 12 * time.Millisecond}
				})
				require.ErrorIs(t, m.err, test.why)
				require.ErrorIs(t, m.sendErr, test.why)
				require.Equal(t, len(test.others), m.received.Files)
				require.Equal(t, 1, m.there.referee.seen[test.row], m.there.referee.seen)
				require.Positive(t, m.there.referee.seen["receiver taking 10"])
			})
		})
	}
}

// A chunk with a hole is sent again while another file with holes is in
// transit.
func TestRepairWithHoles(t *testing.T) {
	top, dir := filepath.Join(t.TempDir(), "top"), t.TempDir()
	require.NoError(t, os.Mkdir(top, 0o755))
	for _, name := range []string{"a", "b"} { // half of each chunk is a hole
		f, err := os.Create(filepath.Join(top, name))
		require.NoError(t, err)
		for i := range int64(16) {
			_, err := f.WriteAt(noise[:piece/2], i*piece)
			require.NoError(t, err)
		}
		require.NoError(t, f.Truncate(16*piece))
		require.NoError(t, f.Close())
	}
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, Paths(top), 0, ReceiveOptions{}, func(m *match) {
			spoil(m, 2, 15)
			m.here.writes = &pace{fixed: 10 * time.Millisecond}
		})
		require.NoError(t, m.sendErr)
		require.NoError(t, m.err)
		if m.here.referee.seen["sender chunk 16"] == 0 {
			t.Skip("the file system does not report holes")
		}
		require.Equal(t, 2, m.here.referee.seen["sender file 10"], m.here.referee.seen)
		require.Equal(t, 2, m.here.referee.seen["sender again 16"])
	})
	for _, name := range []string{"a", "b"} {
		want, err := os.ReadFile(filepath.Join(top, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, "top", name))
		require.NoError(t, err)
		require.True(t, string(want) == string(got), name)
	}
}
