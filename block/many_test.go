package block

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// longFolder returns a folder whose list takes about a KiB for each file.
func longFolder(files int) (Source, map[string]string) {
	dir := strings.Repeat(strings.Repeat("long", 60)+"/", 4)
	fsys, want := fstest.MapFS{}, map[string]string{}
	for i := range files {
		name := fmt.Sprintf("%s%04d", dir, i)
		fsys[name] = &fstest.MapFile{Data: []byte(name[len(name)-4:])}
		want[name] = name[len(name)-4:]
	}
	return Source{Name: "top", FS: fsys, Path: "."}, want
}

// A long list comes in several offers. The app is asked about each, with the totals
// of all; both sides count the same; and what is left of it after an interruption
// is not sent again.
func TestManyOffers(t *testing.T) {
	const files = 9000
	source, want := longFolder(files)
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(8 << 20)}
	t.Setenv("TMPDIR", "/nonexistent")
	var earlier []int
	r.decide = func(_ context.Context, o *Offer) error {
		require.Equal(t, []int{files, 5, 0}, []int{o.Files, o.Folders, o.LeftOut})
		require.EqualValues(t, 4*files, o.Bytes)
		earlier = append(earlier, o.Earlier)
		for range o.All() {
		}
		return nil
	}
	var last Progress
	r.receive.Progress = func(p Progress) { last = p }
	_, received := r.run(t)
	require.Error(t, received.err)
	require.Less(t, received.Files, files)
	r.cut, earlier = nil, nil
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Len(t, earlier, 3)
	require.Greater(t, earlier[1], 4000)
	require.Greater(t, sent.Resumed, int64(4*4000))
	for _, side := range []outcome{sent, received} {
		require.Equal(t, []int{files, 5, 0}, []int{side.Files, side.Folders, side.SkippedCount})
		require.EqualValues(t, 4*files, side.Bytes)
		require.EqualValues(t, 4*files, side.Sent+side.Resumed)
	}
	require.Equal(t, []int{files, files}, []int{last.Files, last.TotalFiles})
	require.Equal(t, []int64{4 * files, 4 * files}, []int64{last.Bytes, last.TotalBytes})
	require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
	require.Empty(t, leftovers(t, r.dir))
}

// What the app skips in an offer stays out where the next one goes on in it.
func TestSkippedInTheNextOffer(t *testing.T) {
	source, _ := longFolder(9000)
	r := try{sources: []Source{source, {Name: "z", Reader: strings.NewReader("z"), Size: 1}}, dir: t.TempDir()}
	r.decide = func(_ context.Context, o *Offer) error {
		for f := range o.All() {
			if strings.Count(f.Path, "/") == 4 && f.Mode.IsDir() {
				o.Skip(f.Index)
			}
		}
		return nil
	}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, []int{1, 4, 9001}, []int{received.Files, received.Folders, received.SkippedCount})
	require.Equal(t, received.SkippedCount, sent.SkippedCount)
	require.Len(t, received.Skipped, 9001)
}

// An app that refuses a later offer ends the transfer.
func TestRefusedLater(t *testing.T) {
	source, _ := longFolder(4500)
	r := try{sources: []Source{source}, dir: t.TempDir()}
	r.decide = func(_ context.Context, o *Offer) error {
		if o.Earlier > 0 {
			return Refuse("enough")
		}
		return nil
	}
	sent, received := r.run(t)
	require.ErrorIs(t, received.err, ErrRefused)
	require.ErrorIs(t, sent.err, ErrRefused)
	require.Greater(t, received.Files, 4000)
}

// A list that outgrows memory goes to the app's folder, or says what to do; neither
// side ever uses the system's folder for temporary files.
func TestSpoolFolder(t *testing.T) {
	source, _ := longFolder(34_000)
	refuse := func(context.Context, *Offer) error { return Refuse("") }
	r := try{sources: []Source{source}, dir: t.TempDir(), decide: refuse}
	t.Setenv("TMPDIR", "/nonexistent")
	sent, received := r.run(t)
	require.ErrorIs(t, sent.err, ErrSpool)
	require.ErrorIs(t, received.err, ErrSpool)
	require.ErrorContains(t, received.err, "more than 32 MiB")
	spool := t.TempDir()
	var err error
	r.send.Spool, err = os.OpenRoot(spool)
	require.NoError(t, err)
	defer r.send.Spool.Close()
	sent, received = r.run(t)
	require.ErrorIs(t, sent.err, ErrRefused)
	require.ErrorIs(t, received.err, ErrRefused)
	left, err := os.ReadDir(spool)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoDirExists(t, filepath.Join(r.dir, partialDir))
	r.send.Spool.Close()
	sent, _ = r.run(t)
	require.ErrorIs(t, sent.err, ErrSpool)
	require.ErrorIs(t, sent.err, os.ErrClosed)
}

// A sender cannot send more than it has announced, nor offer without end.
func TestMoreThanAnnounced(t *testing.T) {
	e, twice := file("a", 5), file("b", 5)
	all := entry{kind: kindOffered, totals: totals{files: 2, bytes: 10, stored: 10}}
	one := []any{begin(0), data("hello"), chunkHash("hello"), end("hello"), kindSent}
	next := func(last ...any) []byte { return say(append(append([]any{hello{}, e, all}, one...), last...)...) }
	_, names, err := hearAll(t, next(append(append([]any{twice, all}, one...), kindDone)...), 1, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, names)
	third := file("c", 5)
	for name, b := range map[string][]byte{
		"more":         next(twice, third, all),
		"other totals": next(twice, entry{kind: kindOffered, totals: totals{files: 3, bytes: 15, stored: 15}}),
		"nothing":      next(all),
		"the end":      next(kindDone),
		"files":        next(begin(0)),
		"too little":   say(hello{}, e, entry{kind: kindOffered}),
		"overflow":     say(hello{}, file("x", 1<<62), file("y", 1<<62), all),
	} {
		_, _, err := hearAll(t, b, 1)
		require.ErrorIs(t, err, ErrProtocol, name)
	}
}
