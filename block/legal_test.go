package block

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A match is a transfer with a referee at each end.
type match struct {
	here, there    *tap
	sent, received Result
	sendErr, err   error
}

// play moves sources into dir, in a bubble; prepare may change the stream.
func play(t *testing.T, dir string, sources []Source, perOffer int, opts ReceiveOptions, prepare func(m *match)) *match {
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	m := &match{}
	m.here, m.there = new(plan).taps(attempt{cut: -1, cutBack: -1, spoiltFor: 1})
	if opts.From = "a"; prepare != nil {
		prepare(m)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Hour)
	defer stop()
	var both sync.WaitGroup
	both.Go(func() {
		m.sent, m.sendErr = Send(ctx, m.here, sources, SendOptions{perOffer: perOffer})
		m.here.Close()
	})
	both.Go(func() {
		m.received, m.err = Receive(ctx, m.there, nil, root, opts)
		m.there.Close()
	})
	both.Wait()
	require.NoError(t, ctx.Err(), "the transfer hangs")
	require.NoError(t, m.here.referee.err)
	require.NoError(t, m.there.referee.err)
	require.NotErrorIs(t, m.sendErr, ErrProtocol)
	require.NotErrorIs(t, m.err, ErrProtocol)
	return m
}

// slowly returns a source for files, which takes 10 ms for each read.
func slowly(files ...*wantedFile) Source {
	p := &plan{paces: map[string]*pace{"source": {fixed: 10 * time.Millisecond}}, files: files}
	return p.sources()[0]
}

// spoil corrupts some chunks of the first file, which is entry 1, on the way,
// each of them a number of times.
func spoil(m *match, times int, chunks ...uint32) {
	m.here.spoils = func(s span) bool {
		return s.offer == 0 && s.of.entry == 1 && slices.Contains(chunks, s.of.chunk) && s.asked < times
	}
}

// The receiver reports progress even while it still hashes the data that it has
// of a file.
func TestProgressBeforeAnswer(t *testing.T) {
	dir := t.TempDir()
	source := func() []Source {
		return []Source{slowly(&wantedFile{path: "top/a", size: 1000}, &wantedFile{path: "top/b", size: 8 * piece})}
	}
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, source(), 2, ReceiveOptions{}, func(m *match) { m.here.after = 5 * piece })
		require.Error(t, m.err)
		opts := ReceiveOptions{faults: func(op, _ string) error {
			if op == "read" {
				time.Sleep(150 * time.Millisecond)
			}
			return nil
		}}
		m = play(t, dir, source(), 2, opts, nil)
		require.NoError(t, m.sendErr)
		require.NoError(t, m.err)
		require.Positive(t, m.received.Resumed)
		require.Positive(t, m.here.referee.seen["receiver deciding 12"])
	})
}

// A file that the receiver cannot write is not sent any further.
func TestEndsEarly(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, []Source{slowly(&wantedFile{path: "top/a", size: 30 * piece}, &wantedFile{path: "top/b", size: 10})}, 0, failing(3), nil)
		require.ErrorIs(t, m.err, ErrWrite)
		require.ErrorIs(t, m.sendErr, ErrWrite)
		require.Equal(t, 1, m.received.Files)
		require.Equal(t, 1, m.sent.Files)
		require.Less(t, m.here.written, int64(8*piece))
		require.Equal(t, 1, m.here.referee.seen["receiver taking 9"])
		require.Equal(t, 1, m.here.referee.seen["sender file 9"])
		require.FileExists(t, filepath.Join(dir, "top", "b"))
	})
}

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

// failing returns options for a disk whose nth write takes 5 ms and then fails
// because the file is too large.
func failing(n int) ReceiveOptions {
	writes := 0
	return ReceiveOptions{faults: func(op, _ string) error {
		if op != "write" {
			return nil
		}
		if writes++; writes != n {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
		return syscall.EFBIG
	}}
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

// The sender's last message does not arrive in time.
func TestLastWord(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, []Source{slowly(&wantedFile{path: "top/a", size: 10})}, 0, ReceiveOptions{}, func(m *match) {
			m.here.before = func() {
				if m.here.referee.state[senders] == sEnded {
					time.Sleep(10 * time.Second)
				}
			}
		})
		require.NoError(t, m.sendErr)
		require.NoError(t, m.err)
	})
}

// Nothing follows a last message, even if the peer reads it so late that a keep
// is due, and if the app cancels meanwhile.
func TestNothingBehindLastWord(t *testing.T) {
	for range 3000 {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(keepAlive+time.Second, cancel)
			tr := newTransfer(ctx, here)
			tr.start(&tr.talks, tr.talk)
			go func() {
				tr.finish(message{kind: kindDone})
				tr.talks.Wait()
				here.Close()
			}()
			time.Sleep(2 * keepAlive)
			heard, err := io.ReadAll(there)
			require.NoError(t, err)
			require.Equal(t, []byte{byte(kindDone)}, heard)
		})
	}
}

// The referee detects a message that is in no row of the tables: the last
// message of each case. All messages before it are allowed.
func TestReferee(t *testing.T) {
	of := func(k kind, entry uint16, chunk uint32) message { return message{kind: k, entry: entry, chunk: chunk} }
	yes := wish{verdict: verdictWhole}
	offer := say(hello{}, folder("d"), file("d/a", 2), file("d/b", piece+1), kindOffered)
	answer := say(kindAnswer, yes, yes, yes)
	a := say(begin(1), data("hi"), chunkHash("hi"))
	chunk := say(data(string(noise[:piece])), chunkHash(""))
	whole := slices.Concat(a, say(end(), begin(2)), chunk, say(data("x"), chunkHash(""), end()))
	ask := say(of(kindRepair, 1, 0))
	for name, said := range map[string][][]byte{ // in turns: the sender's, the receiver's
		"no hello":                    {say(kindKeep)},
		"before its folder":           {say(hello{}), nil, say(file("d/a", 1))},
		"more than announced":         {say(hello{}, file("a", 1)), nil, say(kindOffered)},
		"an answer too early":         {say(hello{}), say(kindAnswer)},
		"no answer":                   {offer, nil, say(begin(1))},
		"a claim of a folder":         {offer, say(kindAnswer, wish{verdict: verdictFrom, claims: make([]hash, 1)})},
		"two answers":                 {offer, answer, nil, say(kindAnswer)},
		"progress of a sender":        {offer, nil, say(message{kind: kindProgress})},
		"a folder begins":             {offer, answer, say(begin(0))},
		"the first is left out":       {offer, answer, say(begin(2))},
		"the last is left out":        {offer, answer, slices.Concat(a, say(end())), nil, say(kindSent)},
		"twice":                       {offer, answer, slices.Concat(a, say(end())), nil, say(begin(1))},
		"from where it was not asked": {offer, answer, say(of(kindBegin, 1, 1))},
		"one in another":              {offer, answer, a, nil, say(begin(2))},
		"too much":                    {offer, answer, say(begin(1)), nil, say(data("hi!"))},
		"too little":                  {offer, answer, say(begin(1), data("h")), nil, say(chunkHash("h"))},
		"an end too early":            {offer, answer, slices.Concat(a, say(end(), begin(2)), chunk), nil, say(end())},
		"an end behind a failure":     {offer, answer, slices.Concat(a, say(of(kindFailed, 1, 0))), nil, say(end())},
		"a failure twice":             {offer, answer, say(of(kindFailed, 1, 0)), nil, say(of(kindFailed, 1, 0))},
		"a failure inside a chunk":    {offer, answer, slices.Concat(a, say(end(), begin(2), data("x"))), nil, say(of(kindFailed, 1, 0))},
		"begins behind its failure":   {offer, answer, say(of(kindFailed, 1, 0)), nil, say(begin(1))},
		"repairs what nobody wants":   {offer, answer, a, nil, say(of(kindRepair, 1, 0))},
		"repairs too often":           {offer, answer, a, ask, say(of(kindRepair, 1, 0), data("hi"), chunkHash("hi")), nil, say(of(kindRepair, 1, 0))},
		"a repair in a chunk":         {offer, answer, slices.Concat(a, say(end(), begin(2), data("x"))), ask, say(of(kindRepair, 1, 0))},
		"a repair behind a failure":   {offer, answer, a, ask, say(of(kindFailed, 1, 0)), nil, say(of(kindRepair, 1, 0))},
		"another file in a repair":    {offer, answer, slices.Concat(a, say(end(), begin(2))), ask, say(of(kindRepair, 1, 0)), nil, say(of(kindFailed, 2, 0))},
		"asks four times":             {offer, answer, a, slices.Concat(ask, ask, ask), nil, ask},
		"asks for what has not begun": {offer, answer, a, say(of(kindRepair, 2, 0))},
		"asks for no chunk":           {offer, answer, a, say(of(kindRepair, 1, 1))},
		"the receiver fails twice":    {offer, answer, a, say(of(kindFailed, 1, 0)), nil, say(of(kindFailed, 1, 0))},
		"done too early":              {offer, answer, whole, say(kindDone)},
		"done before a repair":        {offer, answer, slices.Concat(whole, say(kindSent)), ask, nil, say(kindDone)},
		"done before a late repair":   {offer, answer, slices.Concat(whole, say(kindSent)), slices.Concat(ask, say(of(kindFailed, 1, 0))), nil, say(kindDone)},
		"done before done":            {offer, answer, slices.Concat(whole, say(kindSent)), nil, say(kindDone)},
		"behind the end":              {offer, answer, slices.Concat(whole, say(kindSent)), say(kindDone), say(kindDone), nil, say(kindKeep)},
		"behind an abort":             {offer, say(message{kind: kindAbort}), nil, say(kindKeep)},
	} {
		r := newReferee()
		for i, b := range said {
			require.NoError(t, r.err, name)
			for j := range b { // in whatever pieces it arrives
				r.hear(side(i%2), b[j:j+1])
			}
		}
		require.Error(t, r.err, name)
	}
}

// A receiver that is canceled while the sender's first bytes arrive reads no
// more once it has returned.
func TestCancelAtHello(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			go func() {
				here.Write(say(hello{}, file("a", 1)))
				here.Close()
			}()
			_, err := Receive(ctx, there, nil, nil, ReceiveOptions{})
			require.Error(t, err)
			there.Close()
		})
	}
}
