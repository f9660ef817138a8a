package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
)

// newTransfer returns a transfer with "Bob", and the screen that the user sees.
func newTransfer(live bool) (*transfer, *screen) {
	s := &screen{}
	c := &console{out: s, err: s, live: live}
	return &transfer{console: c, verb: "Sent", other: `"Bob" (FP)`, began: time.Now()}, s
}

func at(bytes, total int64) block.Progress {
	return block.Progress{Bytes: bytes, TotalBytes: total, TotalFiles: 3}
}

// When a transfer fails, its bar stays where it was.
func TestBar(t *testing.T) {
	t.Parallel()
	failed, s := newTransfer(true)
	failed.show(at(30, 100))
	failed.show(at(60, 200)) // the total has grown
	failed.end(t.Context(), block.Result{}, block.ErrCut)
	require.Contains(t, s.text, " 30% ")
	require.NotContains(t, s.text, "100%")
	last := s.text[strings.LastIndex(s.text, "%")-3:]
	require.Regexp(t, `^ 30% .*\(60/200 B.*\]\s*\nStopped at 0 of 3 files, 60 B of 200 B`, last)

	whole, s := newTransfer(true)
	whole.show(at(30, 100))
	whole.show(at(100, 100))
	whole.end(t.Context(), block.Result{Files: 3, Bytes: 100}, nil)
	require.Contains(t, s.text, "100% ")
	require.Regexp(t, `[^\n]\nSent 3 files, 100 B \(`, s.text, "exactly one end of line")
}

// Without a terminal, progress takes a few lines, and more reports do not make
// more lines.
func TestLines(t *testing.T) {
	t.Parallel()
	failed, s := newTransfer(false)
	for i := range int64(55_001) {
		failed.show(at(i*10, 1_000_000))
	}
	failed.end(t.Context(), block.Result{}, block.ErrCut)
	lines := strings.Split(s.text, "\n")
	require.Equal(t, "  0 %: 0 of 3 files, 0 B of 1.0 MB", lines[0])
	require.Equal(t, " 10 %: 0 of 3 files, 100.0 kB of 1.0 MB", lines[1])
	require.Equal(t, " 50 %: 0 of 3 files, 500.0 kB of 1.0 MB", lines[5])
	require.Regexp(t, `^Stopped at 0 of 3 files, 550.0 kB of 1.0 MB\. Sent `, lines[6])
	require.NotContains(t, s.text, "\r")

	empty, s := newTransfer(false)
	empty.show(block.Progress{TotalFiles: 1})
	require.Empty(t, s.text)
}

func TestSummary(t *testing.T) {
	t.Parallel()
	transfer, _ := newTransfer(false)
	r := block.Result{Files: 812, Bytes: 9_400_000, Sent: 4_000_000}
	took := 2 * time.Second
	require.Equal(t, "Sent 812 files, 9.4 MB (2.00 s, 2.0 MB/s)", transfer.summary(r, nil, took))
	r.Resumed, r.SkippedCount = 5_400_000, 2
	want := "Sent 812 files, 9.4 MB; 5.4 MB were there already; 2 left out (2.00 s, 2.0 MB/s)"
	require.Equal(t, want, transfer.summary(r, fmt.Errorf("%w: …", block.ErrIncomplete), took))
	require.Equal(t, "Sent nothing", transfer.summary(block.Result{}, block.ErrRefused, took))
	transfer.last = block.Progress{Files: 1, TotalFiles: 2, Bytes: 7_000_000, TotalBytes: 10_000_000}
	require.Equal(t, "Stopped at 1 of 2 files, 7.0 MB of 10.0 MB. "+want, transfer.summary(r, block.ErrCut, took))
}

// The exit code tells whether all, some or nothing arrived.
func TestExitCode(t *testing.T) {
	t.Parallel()
	incomplete := &block.IncompleteError{Missing: 1, First: &block.FileError{Path: "a", Err: block.ErrChanged}}
	for _, test := range []struct {
		r    block.Result
		err  error
		want code
	}{
		{block.Result{Files: 1}, nil, exitAll},
		{block.Result{}, nil, exitAll},
		{block.Result{Files: 1, SkippedCount: 1}, nil, exitSome},
		{block.Result{Files: 1, SkippedCount: 1}, incomplete, exitSome},
		{block.Result{Folders: 1, SkippedCount: 1}, incomplete, exitSome},
		{block.Result{SkippedCount: 1}, incomplete, exitFailed},
		{block.Result{SkippedCount: 1}, nil, exitFailed},
		{block.Result{Files: 1}, block.ErrCut, exitFailed},
		{block.Result{Files: 1, SkippedCount: 1}, &block.PeerError{Err: block.ErrCanceled}, exitFailed},
	} {
		transfer, s := newTransfer(false)
		require.Equal(t, test.want, transfer.end(t.Context(), test.r, test.err), "%+v", test)
		require.Regexp(t, `(?m)^(Sent|Stopped) `, s.text, "there must be a summary in each case")
	}
}

// A few names of files that were left out are listed, and then the number of
// the others.
func TestLeftOutNames(t *testing.T) {
	t.Parallel()
	var r block.Result
	for i := range 25 {
		err := &block.FileError{Path: fmt.Sprint("name ", i, evil), Err: block.ErrIrregular}
		r.Skipped = append(r.Skipped, err)
	}
	r.Files, r.SkippedCount = 1, 12_345
	transfer, s := newTransfer(false)
	transfer.end(t.Context(), r, &block.IncompleteError{Missing: 12_345, First: r.Skipped[0]})
	require.Contains(t, s.text, `left out: "name 0\x1b]0;OWNED\a": neither a file nor a folder`)
	require.Equal(t, 20, strings.Count(s.text, "left out: "))
	require.Contains(t, s.text, "\n… and 12325 more\n")
	require.Contains(t, s.text, "; 12345 left out (")
	require.NotContains(t, s.text, "\x1b")
}

// Each cause of failure is named, and nothing that a peer says is printed raw.
func TestExplain(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	peer := func(err error, reason string) error { return &block.PeerError{Err: err, Reason: reason} }
	for _, test := range []struct {
		err  error
		want string
	}{
		{&block.IncompleteError{First: &block.FileError{Err: block.ErrDiskFull}}, `"Bob" (FP): not everything has arrived`},
		{peer(block.ErrRefused, ""), `"Bob" (FP): the other device declined`},
		{peer(block.ErrRefused, evil), `"Bob" (FP): the other device declined: "\x1b]0;OWNED\a"`},
		{peer(block.ErrCanceled, ""), `"Bob" (FP): the other device canceled`},
		{block.ErrUnanswered, `"Bob" (FP): the offer was not answered in time`},
		{&block.SpaceError{Needed: 7_000_000, Free: 500}, `"Bob" (FP): the disk is full: 7.0 MB are needed, 500 B are free`},
		{&p2p.ResetError{Code: p2p.ErrBusy, Remote: true}, `"Bob" (FP): stream reset by the peer: busy: over a limit, try later`},
		{p2p.ErrNoRoute, `"Bob" (FP) does not receive, or not from this version of drop`},
		{&p2p.DialError{Err: errors.New(evil)}, `"Bob" (FP): cannot reach : \x1b]0;OWNED\a`},
		{fmt.Errorf("%w: %s", p2p.ErrConnectionLost, evil), `"Bob" (FP): the connection was lost: \x1b]0;OWNED\a`},
	} {
		transfer, s := newTransfer(false)
		transfer.end(t.Context(), block.Result{}, test.err)
		require.Regexp(t, `^Sent .*\ndrop: `+regexp.QuoteMeta(test.want), s.text)
		require.NotContains(t, s.text, "\x1b")
	}
	transfer, _ := newTransfer(false)
	require.Equal(t, "canceled", transfer.explain(canceled, block.ErrCanceled))
	require.Equal(t, "canceled", transfer.explain(canceled, p2p.ErrConnectionLost))
	require.Contains(t, transfer.explain(canceled, peer(block.ErrDiskFull, "")), "has no room on its disk")
	again := "; sent again, it resumes where it ended"
	require.NotContains(t, transfer.explain(t.Context(), block.ErrCut), again)
	transfer.last.Bytes = 1
	require.Contains(t, transfer.explain(t.Context(), block.ErrCut), again)
}
