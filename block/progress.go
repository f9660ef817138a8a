package block

import (
	"math"
	"sync"
	"time"
)

const (
	reportEvery = 100 * time.Millisecond
	rateOver    = 20     // reports
	maxSkipped  = 10_000 // entries that a Result lists
)

// Progress describes the progress of a transfer. Bytes are bytes of files, and
// include those that arrived in an earlier attempt.
type Progress struct {
	File                string  // the file in transit, as it was offered
	FileBytes, FileSize int64   // of that file: sent, or arrived; in all
	Files, TotalFiles   int     // files sent, or arrived; files accepted
	Bytes, TotalBytes   int64   // bytes sent, or arrived; of all accepted files
	Verified            int64   // bytes that the receiver has verified: the same on both sides, except for the delay
	Rate                float64 // bytes per second, over the last 2 s
}

// A Result describes the outcome of a transfer.
type Result struct {
	Files, Folders int          // that are whole and in their place at the receiver
	Bytes          int64        // of these files
	Sent           int64        // bytes of files that crossed the stream, or were given to it; holes do not
	Resumed        int64        // bytes that had arrived in an earlier attempt
	Unchanged      int          // files that were sent before, with the same size and time of modification: not sent or verified again
	Reused         int64        // bytes that the receiver has copied from files that the same sender had sent before
	Restarted      int          // files for which an earlier attempt had received data that the sender's file no longer has
	Repaired       int          // chunks that were corrupted in transit and sent again
	Skipped        []*FileError // files and folders that were left out or failed, on either side: the first 10,000
	SkippedCount   int          // total number of files and folders that were left out or failed
	Lacks          Lacks        // at the receiver

	unverified int64 // bytes of the files counted by Unchanged
}

// Lacks names features that the file system of the destination lacks. A
// transfer works without them.
type Lacks struct {
	Sync  bool // no fsync: a power cut may lose files that have arrived
	Links bool // no hard links: unless a rename can refuse to replace a file (as on Linux), a crash may leave an empty file
	Locks bool // no file locks: another process may take over an offer that this one is receiving
	// Exchange is set if a file was to be replaced ([Replace]), and was kept:
	// two files cannot exchange their names in one step there, or files do not
	// keep their numbers, so that nothing tells the file from another one.
	Exchange bool
}

// A meter holds the progress and the result of a transfer.
type meter struct {
	mu      sync.Mutex
	now     Progress
	result  Result
	missing int        // entries that should have arrived
	first   *FileError // the first of these
	again   bool       // another attempt may bring some of these
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

// skip records an entry that was left out or has failed.
func (m *meter) skip(path string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := &FileError{path, err}
	if m.result.SkippedCount++; m.result.SkippedCount <= maxSkipped {
		m.result.Skipped = append(m.result.Skipped, e)
	}
	if e.missing() {
		m.missing++
		m.again = m.again || e.again()
		if m.first == nil {
			m.first = e
		}
	}
}

// outcome returns the results of Send and Receive for a transfer that was
// aborted with err, or ran to its end.
func (m *meter) outcome(err error, allowIncomplete bool) (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.result
	r.Skipped = r.Skipped[:len(r.Skipped):len(r.Skipped)] // goroutines that still run do not change it
	if err == nil && m.missing > 0 && !allowIncomplete {
		err = &IncompleteError{m.missing, m.first}
	}
	return r, err
}

// tick reports progress every 100 ms if there is any, and once more when the
// transfer ends.
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

// have counts a file of that size that the receiver has already.
func (p *Progress) have(r *Result, size int64, unchanged bool) {
	p.Files++
	p.Bytes += size
	if unchanged {
		r.Unchanged++
		r.unverified += size
		return
	}
	p.Verified += size
	r.Resumed += size
}

// expect adds files and bytes to the totals, without overflow of the bytes.
func (p *Progress) expect(files int, bytes int64) {
	p.TotalFiles += files
	if p.TotalBytes += bytes; p.TotalBytes < 0 {
		p.TotalBytes = math.MaxInt64
	}
}
