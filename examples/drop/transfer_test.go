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
	"github.com/sdp2p/p2p/examples/drop/console"
)

// startTransfer returns a transfer to "Bob", and the screen that the user sees.
func startTransfer() (*transfer, *screen) {
	s := &screen{}
	return newTransfer(&console.Console{Out: s, Err: s}, "Sent", `"Bob" (FP)`), s
}

func TestSummary(t *testing.T) {
	t.Parallel()
	transfer, _ := startTransfer()
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
		transfer, s := startTransfer()
		require.Equal(t, test.want, transfer.end(t.Context(), test.r, test.err), "%+v", test)
		require.Regexp(t, `(?m)^(Sent|Stopped) `, s.String(), "there must be a summary in each case")
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
	transfer, s := startTransfer()
	transfer.end(t.Context(), r, &block.IncompleteError{Missing: 12_345, First: r.Skipped[0]})
	require.Contains(t, s.String(), `left out: "name 0\x1b]0;OWNED\a": neither a file nor a folder`)
	require.Equal(t, 20, strings.Count(s.String(), "left out: "))
	require.Contains(t, s.String(), "\n… and 12325 more\n")
	require.Contains(t, s.String(), "; 12345 left out (")
	require.NotContains(t, s.String(), "\x1b")
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
		{&block.IncompleteError{First: &block.FileError{Err: block.ErrDiskFull}}, `the transfer with "Bob" (FP): not everything has arrived`},
		{peer(block.ErrRefused, ""), `the transfer with "Bob" (FP): the other device declined`},
		{peer(block.ErrRefused, evil), `the transfer with "Bob" (FP): the other device declined: "\x1b]0;OWNED\a"`},
		{peer(block.ErrCanceled, ""), `the transfer with "Bob" (FP): the other device canceled`},
		{block.ErrUnanswered, `the transfer with "Bob" (FP): the offer was not answered in time`},
		{&block.SpaceError{Needed: 7_000_000, Free: 500}, `the transfer with "Bob" (FP): the disk is full: 7.0 MB are needed, 500 B are free`},
		{&p2p.ResetError{Code: p2p.ErrBusy, Remote: true}, `the transfer with "Bob" (FP): stream reset by the peer: busy: over a limit, try later`},
		{p2p.ErrNoRoute, `"Bob" (FP) does not receive, or not from this version of drop`},
		{&p2p.DialError{Err: errors.New(evil)}, `the transfer with "Bob" (FP): cannot reach : \x1b]0;OWNED\a`},
		{fmt.Errorf("%w: %s", p2p.ErrConnectionLost, evil), `the transfer with "Bob" (FP): the connection was lost: \x1b]0;OWNED\a`},
	} {
		transfer, s := startTransfer()
		transfer.end(t.Context(), block.Result{}, test.err)
		require.Regexp(t, `^Sent .*\ndrop: `+regexp.QuoteMeta(test.want), s.String())
		require.NotContains(t, s.String(), "\x1b")
	}
	transfer, _ := startTransfer()
	require.Equal(t, "canceled", transfer.explain(canceled, block.ErrCanceled))
	for _, err := range []error{block.ErrRefused, block.ErrUnanswered, block.ErrDiskFull, block.ErrIncomplete} {
		require.NotEqual(t, "canceled", transfer.explain(canceled, err), "Ctrl-C came later")
	}
	require.Equal(t, "canceled", transfer.explain(canceled, p2p.ErrConnectionLost))
	require.Contains(t, transfer.explain(canceled, peer(block.ErrDiskFull, "")), "has no room on its disk")
	again := "; sent again, it resumes where it ended"
	require.NotContains(t, transfer.explain(t.Context(), block.ErrCut), again)
	transfer.last.Bytes = 1
	require.Contains(t, transfer.explain(t.Context(), block.ErrCut), again)
}
