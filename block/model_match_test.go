package block

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
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
