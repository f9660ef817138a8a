package block

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// deepFolder returns a folder with deeply nested files.
func deepFolder(files int) (Source, map[string]string) {
	fsys, want := fstest.MapFS{}, map[string]string{}
	for i := range files {
		name := fmt.Sprintf("a/b/c/d/%04d", i)
		fsys[name] = &fstest.MapFile{Data: []byte(name[len(name)-4:])}
		want[name] = name[len(name)-4:]
	}
	for i, name := range []string{".", "a", "a/b", "a/b/c", "a/b/c/d"} {
		fsys[name] = &fstest.MapFile{Mode: os.ModeDir | 0o755, ModTime: time.Unix(int64(1e9+i), 0)}
	}
	return Source{Name: "top", FS: fsys, Path: "."}, want
}

// A long list is sent as several offers. The app is asked about each, with the
// totals of all; both sides count the same; after an interruption, only the
// rest is sent; and folders that continue in the next offer keep their times.
func TestManyOffers(t *testing.T) {
	const files = 700
	source, want := deepFolder(files)
	r := try{sources: []Source{source}, dir: t.TempDir(), cut: after(70 << 10)}
	r.send.perOffer, r.receive.Times = 300, true
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
	require.Greater(t, received.Files, 200)
	require.Less(t, received.Files, files)
	r.cut, earlier = nil, nil
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, []int{0, 300, 600}, earlier)
	require.Greater(t, sent.Resumed, int64(4*200))
	for _, side := range []outcome{sent, received} {
		require.Equal(t, []int{files, 5, 0}, []int{side.Files, side.Folders, side.SkippedCount})
		require.EqualValues(t, 4*files, side.Bytes)
		require.EqualValues(t, 4*files, side.Sent+side.Resumed)
	}
	require.Equal(t, []int{files, files}, []int{last.Files, last.TotalFiles})
	require.Equal(t, []int64{4 * files, 4 * files}, []int64{last.Bytes, last.TotalBytes})
	require.Equal(t, want, contents(t, filepath.Join(r.dir, "top")))
	require.Empty(t, leftovers(t, r.dir))
	for i, name := range []string{".", "a", "a/b", "a/b/c", "a/b/c/d"} {
		info, err := os.Stat(filepath.Join(r.dir, "top", name))
		require.NoError(t, err)
		require.EqualValues(t, 1e9+i, info.ModTime().Unix(), name)
	}
}

// An offer ends when its list is long, also without the limit of a test.
func TestLongLists(t *testing.T) {
	s := &sender{transfer: newTransfer(t.Context(), nil), lots: []*lot{newLot(0, 0)}, list: spool{limit: 100 << 20}}
	for range maxEntries + 10 {
		require.NoError(t, s.add(entry{kind: kindFile, path: "x"}))
	}
	require.Len(t, s.lots, 2)
	require.Equal(t, maxEntries, s.lots[0].end)
	for range lotBytes/maxPath + 10 {
		require.NoError(t, s.add(entry{kind: kindFile, path: strings.Repeat("x", maxPath)}))
	}
	require.Len(t, s.lots, 3)
	for _, l := range s.lots {
		require.Less(t, l.size, int64(maxOffer))
	}
}

// A folder that the app skips in one offer stays out in the next offer, which
// continues in it.
func TestSkippedInTheNextOffer(t *testing.T) {
	source, _ := deepFolder(50)
	r := try{sources: []Source{source, {Name: "z", Reader: strings.NewReader("z"), Size: 1}}, dir: t.TempDir()}
	r.send.perOffer = 20
	r.decide = func(_ context.Context, o *Offer) error {
		for f := range o.All() {
			if strings.HasSuffix(f.Path, "/d") {
				o.Skip(f.Index)
			}
		}
		return nil
	}
	sent, received := r.run(t)
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
	require.Equal(t, []int{1, 4, 51}, []int{received.Files, received.Folders, received.SkippedCount})
	require.Equal(t, received.SkippedCount, sent.SkippedCount)
	require.Len(t, received.Skipped, 51)
}

// An app that refuses a later offer aborts the transfer.
func TestRefusedLater(t *testing.T) {
	source, _ := deepFolder(50)
	r := try{sources: []Source{source}, dir: t.TempDir()}
	r.send.perOffer = 40
	r.decide = func(_ context.Context, o *Offer) error {
		if o.Earlier > 0 {
			return Refuse("enough")
		}
		return nil
	}
	sent, received := r.run(t)
	require.ErrorIs(t, received.err, ErrRefused)
	require.ErrorIs(t, sent.err, ErrRefused)
	require.Equal(t, 35, received.Files)
}

// A sender can neither send more than it has announced nor make offers without
// end.
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
		_, _, err := hearAll(t, b, 1, 0) // the other side waits for an answer or an abort
		require.ErrorIs(t, err, ErrProtocol, name)
	}
}

// The first offer must arrive within a minute; once it is accepted, later ones
// may take any time.
func TestSlowLaterOffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		all := entry{kind: kindOffered, totals: totals{files: 2}}
		go func() {
			b := make([]byte, 1024)
			for {
				if _, err := there.Read(b); err != nil {
					return
				}
			}
		}()
		go func() {
			there.Write(say(hello{}, file("a", 0), all, begin(0), end(), kindSent, file("b", 0)))
			for range 200 {
				time.Sleep(time.Second)
				there.Write([]byte{byte(kindKeep)})
			}
			there.Write(say(all, begin(0), end(), kindSent, kindDone))
			there.Close()
		}()
		root, err := os.OpenRoot(t.TempDir())
		require.NoError(t, err)
		defer root.Close()
		r, err := Receive(t.Context(), here, nil, root, ReceiveOptions{})
		require.NoError(t, err)
		require.Equal(t, 2, r.Files)
		here.Close()
	})
}
