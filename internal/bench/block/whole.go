package block

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/internal/bench/report"
)

// memory measures what each side of a transfer takes.
func memory(ctx context.Context, b *bench) error {
	program, err := b.program(ctx)
	if err != nil {
		return err
	}
	const sender, receiver = 0, 1
	var heap, live [2][2]report.Sample // of each way, on each side
	for range b.memory {
		for i, w := range []way{blocks, copied} {
			peaks, err := once(ctx, program, w, b.file, filepath.Join(b.dir, "to"))
			if err != nil {
				return fmt.Errorf("%s: %w", w.route, err)
			}
			for side, p := range peaks {
				heap[i][side] = append(heap[i][side], p.Heap/mib)
				live[i][side] = append(live[i][side], p.Live/mib)
			}
		}
	}
	for side, name := range []string{sender: "sender", receiver: "receiver"} {
		f := report.Figure{
			What: "memory of " + sized(b.large) + ": " + name + "'s heap", Unit: "MiB", Digits: 1, Goal: transferHeap,
			Peer: copyName, Ours: heap[0][side], Theirs: heap[1][side],
		}
		b.table.Add(f)
		f.What, f.Goal, f.Ours, f.Theirs = "… live", 0, live[0][side], live[1][side]
		b.table.Add(f)
	}
	return nil
}

// program builds the program for one side, once.
func (b *bench) program(ctx context.Context) (string, error) {
	var err error
	if b.side == "" {
		b.side, err = buildSide(ctx, b.disk)
	}
	return b.side, err
}

// once moves a file from one process to another, into a folder that is made
// anew.
func once(ctx context.Context, program string, w way, from, to string) (peaks [2]peak, err error) {
	if err := renew(to); err != nil {
		return peaks, err
	}
	r, at, err := spawnReceiver(ctx, program, to)
	if err != nil {
		return peaks, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	s, err := spawn(ctx, program, "send", at.String(), w.route, from)
	if err != nil {
		return peaks, err
	}
	sent, err := s.peak()
	if err = errors.Join(err, s.end()); err != nil {
		return peaks, err
	}
	received, err := r.peak()
	return [2]peak{sent, received}, err
}

// renew makes an empty folder.
func renew(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

// resume measures what is sent again after an interruption.
func resume(ctx context.Context, b *bench) error {
	program, err := b.program(ctx)
	if err != nil {
		return err
	}
	from := b.file
	var again report.Sample
	for range b.kills {
		sent, err := interrupted(ctx, program, from, filepath.Join(b.dir, "to"), b.large)
		if err != nil {
			return err
		}
		again = append(again, 100*float64(sent-b.large)/float64(b.large))
	}
	b.table.Add(report.Figure{
		What: "sent again after a receiver was killed at half of " + sized(b.large), Unit: "%", Digits: 2, Goal: sentAgain, Ours: again,
	})
	return nil
}

// interrupted sends a file, of which the receiver is killed when it has got
// about half, and sends it again. It returns how many bytes it sent.
func interrupted(ctx context.Context, program, from, to string, size int64) (sent int64, err error) {
	if err := renew(to); err != nil {
		return 0, err
	}
	first, _, err := attempt(ctx, program, from, to, size/2)
	if err != nil {
		return 0, err
	}
	second, path, err := attempt(ctx, program, from, to, 0)
	if err != nil {
		return 0, err
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return 0, err
	case info.Size() != size:
		return 0, fmt.Errorf("%d bytes have arrived of %d", info.Size(), size)
	case second.Resumed == 0:
		return 0, errors.New("nothing was kept")
	}
	return first.Sent + second.Sent, nil
}

var errKilled = errors.New("the receiver was killed")

// attempt sends a file to a receiver that is killed when it has got so many
// bytes, if that is not zero. It returns where the file is, or would be.
func attempt(ctx context.Context, program, from, to string, killAt int64) (result block.Result, path string, err error) {
	path = filepath.Join(to, filepath.Base(from))
	r, at, err := spawnReceiver(ctx, program, to)
	if err != nil {
		return result, path, err
	}
	defer func() {
		if ended := r.end(); killAt == 0 {
			err = errors.Join(err, ended)
		}
	}()
	n, peer, err := startSender(ctx, at)
	if err != nil {
		return result, path, err
	}
	defer n.close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = over(ctx, bare(peer, blocks), func(s stream) error {
		result, err = block.Send(ctx, s, block.Paths(from), block.SendOptions{Progress: func(p block.Progress) {
			if killAt > 0 && p.Verified >= killAt {
				r.kill()
				cancel(errKilled)
			}
		}})
		return err
	})
	if killAt > 0 {
		if context.Cause(ctx) != errKilled {
			return result, path, fmt.Errorf("it ended before it was cut: %w", err)
		}
		err = nil
	}
	return result, path, err
}
