package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/examples/drop/console"
)

const maxListed = 20 // names of files that were left out

// A transfer is a running transfer, as shown to the user.
type transfer struct {
	*console.Console
	verb  string // "Sent" or "Received"
	other string // the peer
	began time.Time
	open  bool // whether there is a stream

	last  block.Progress
	meter console.Meter
}

func newTransfer(c *console.Console, verb, other string) *transfer {
	return &transfer{
		Console: c, verb: verb, other: other, began: time.Now(), meter: console.Meter{Console: c},
	}
}

// show shows the progress.
func (t *transfer) show(p block.Progress) {
	t.last = p
	t.meter.Show(p.Bytes, p.TotalBytes, p)
}

// lost tells the user, once, that the transfer continues when the other device
// is reached again.
func (t *transfer) lost(err error, _ time.Duration) {
	if t.open {
		t.open = false
		t.Warn("%s was lost (%s): trying again", t.other, words(err))
	}
}

// end tells the user how the transfer ended.
func (t *transfer) end(ctx context.Context, r block.Result, err error) code {
	t.meter.Stop()
	for _, f := range r.Skipped[:min(len(r.Skipped), maxListed)] {
		t.Warn("left out: %q: %s", f.Path, words(f.Err))
	}
	if more := r.SkippedCount - maxListed; more > 0 {
		t.Warn("… and %d more", more)
	}
	t.Say("%s", t.summary(r, err, time.Since(t.began)))
	if err != nil {
		t.Warn("drop: %s", t.explain(ctx, err))
	}
	switch {
	case err == nil && r.SkippedCount == 0:
		return exitAll
	case (err == nil || errors.Is(err, block.ErrIncomplete)) && r.Files+r.Folders > 0:
		return exitSome
	}
	return exitFailed
}

// summary returns a text like "Sent 812 files, 9.4 MB; 2 left out (0.61 s, 15.4
// MB/s)", or says how far a failed transfer got.
func (t *transfer) summary(r block.Result, err error, took time.Duration) string {
	text := fmt.Sprintf("%s %v", t.verb, r)
	if err != nil && !errors.Is(err, block.ErrIncomplete) {
		if t.last.Bytes == 0 && r.Sent == 0 && r.Files == 0 {
			return t.verb + " nothing"
		}
		text = fmt.Sprintf("Stopped at %v. %s", t.last, text)
	}
	rate := float64(r.Sent) / 1e6 / max(took.Seconds(), 1e-3)
	return fmt.Sprintf("%s (%.2f s, %.1f MB/s)", text, took.Seconds(), rate)
}

// explain says why a transfer was not completed.
func (t *transfer) explain(ctx context.Context, err error) string {
	switch {
	case ctx.Err() != nil && !decided(err):
		return "canceled" // with Ctrl-C
	case errors.Is(err, p2p.ErrNoRoute):
		return t.other + " does not receive, or not from this version of drop"
	}
	text := "the transfer with " + t.other + ": " + words(err) // not all faults are the other's
	if t.last.Bytes > 0 && !errors.Is(err, block.ErrIncomplete) {
		text += "; sent again, it resumes where it ended"
	}
	return text
}

// decided reports whether a transfer had ended by itself, even if Ctrl-C came
// right after.
func decided(err error) bool {
	if peer := (*block.PeerError)(nil); errors.As(err, &peer) {
		return true
	}
	return slices.ContainsFunc([]error{
		block.ErrDiskFull, block.ErrIncomplete, block.ErrRefused, block.ErrUnanswered,
	}, func(end error) bool { return errors.Is(err, end) })
}

// words returns the text of an error without the names of packages.
func words(err error) string {
	return strings.NewReplacer("block: ", "", "p2p: ", "").Replace(err.Error())
}

// tellPaths shows the new paths to peers when a network has changed. It returns
// when ctx is done.
func tellPaths(ctx context.Context, c *console.Console, node *p2p.P2P) {
	for e := range node.Watch(ctx) {
		if e, ok := e.(p2p.PeerPathChanged); ok {
			c.Warn("%s is at %v now", who(e.Peer), e.To.Remote)
		}
	}
}

// place returns where the other side of a transfer is.
func place(s net.Conn) string {
	if path := s.(*p2p.Stream).Path(); path.Remote.IsValid() {
		return " at " + path.Remote.String()
	}
	return ""
}

// who describes a peer. Names are quoted, since they may contain anything.
func who(p *p2p.Peer) string {
	return fmt.Sprintf("%q (%s)", p.Name(), p.Identity().Fingerprint())
}
