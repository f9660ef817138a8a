package block

import (
	"sync"
	"time"
)

const (
	reportEvery = 100 * time.Millisecond
	rateOver    = 20 // reports
)

// Progress tells how far a transfer is. Bytes are those of files, and count what was there already from an earlier attempt.
type Progress struct {
	File                string  // that is on its way, as it was offered
	FileBytes, FileSize int64   // of it: sent, or arrived; all
	Files, TotalFiles   int     // that have been sent, or have arrived; that were accepted
	Bytes, TotalBytes   int64   // that have been sent, or have arrived; of all accepted files
	Verified            int64   // bytes that the receiver has verified: the same on both sides, but for the way
	Rate                float64 // bytes per second, over the last 2 s
}

// A Result is what has become of a transfer.
type Result struct {
	Files, Folders int          // that are whole and in their place at the receiver
	Bytes          int64        // of these files
	Sent           int64        // bytes of files that crossed the stream, or were given to it
	Resumed        int64        // bytes that an earlier attempt had brought
	Restarted      int          // files of which the earlier attempt had brought something that the sender has no more
	Repaired       int          // chunks that were corrupted on the way and sent again
	Skipped        []*FileError // what was left out, and what failed
}

// A meter holds the progress and the result of a transfer.
type meter struct {
	mu     sync.Mutex
	now    Progress
	result Result
}

func (m *meter) update(f func(*Progress, *Result)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.now, &m.result)
}

func (m *meter) progress() Progress {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// skip books an entry that was left out or has failed.
func (m *meter) skip(path string, err error) {
	m.update(func(_ *Progress, r *Result) { r.Skipped = append(r.Skipped, &FileError{path, err}) })
}

// tick reports progress every 100 ms if there is any, and a last time when the transfer ends.
func (t *transfer) tick(report func(Progress)) {
	type sample struct {
		at    time.Time
		bytes int64
	}
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	samples := []sample{{at: time.Now()}}
	var last Progress
	for over := false; !over; {
		select {
		case <-ticker.C:
		case <-t.ctx.Done():
			over = true
		}
		p := t.progress()
		samples = append(samples, sample{time.Now(), p.Bytes})
		if len(samples) > rateOver {
			samples = samples[1:]
		}
		first := samples[0]
		if took := time.Since(first.at).Seconds(); took > 0 {
			p.Rate = float64(p.Bytes-first.bytes) / took
		}
		if p != last {
			last = p
			report(p)
		}
	}
}
