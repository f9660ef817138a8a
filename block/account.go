package block

import (
	"sync"
	"time"
)

// An account is what the app sees of a transfer that takes several streams: one
// progress, which never goes back, and one result.
type account struct {
	report func(Progress) // may be nil

	mu      sync.Mutex
	now     Progress // the last one reported
	new     bool     // something has arrived since the last call of moved
	result  Result
	samples []sample // of the last reports, rateOver at most
}

// A sample says how many bytes had arrived at a given time.
type sample struct {
	at    time.Time
	bytes int64
}

// progress reports the progress of a stream. While the stream only repeats what
// an earlier one transferred, nothing is reported.
func (a *account) progress(p Progress) {
	a.mu.Lock()
	before := a.now
	if p.Bytes < before.Bytes {
		p.File, p.FileBytes, p.FileSize = before.File, before.FileBytes, before.FileSize
	} else if p.File == before.File {
		p.FileBytes = max(p.FileBytes, before.FileBytes)
	}
	p.Bytes, p.Verified = max(p.Bytes, before.Bytes), max(p.Verified, before.Verified)
	p.Files = max(p.Files, before.Files)
	if p.TotalBytes == 0 { // the offer has not been decided on yet
		p.TotalFiles, p.TotalBytes = before.TotalFiles, before.TotalBytes
	}
	p.TotalFiles, p.TotalBytes = max(p.TotalFiles, p.Files), max(p.TotalBytes, p.Bytes)
	a.samples = append(a.samples, sample{time.Now(), p.Bytes})
	a.samples = a.samples[max(0, len(a.samples)-rateOver):]
	p.Rate = 0
	if oldest := a.samples[0]; time.Since(oldest.at) > 0 {
		p.Rate = float64(p.Bytes-oldest.bytes) / time.Since(oldest.at).Seconds()
	}
	a.now = p
	news := p.Bytes > before.Bytes || p.Verified > before.Verified || p.Files > before.Files
	a.new = a.new || news
	p.Rate, before.Rate = 0, 0
	changed := p != before
	p = a.now
	a.mu.Unlock()
	if a.report != nil && changed {
		a.report(p)
	}
}

// moved reports whether something has arrived since its last call.
func (a *account) moved() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	moved := a.new
	a.new = false
	return moved
}

// add adds the result of a stream. What that stream found in place, and what it
// skipped, counts for the whole transfer.
func (a *account) add(r Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := &a.result
	if all.Sent == 0 {
		all.Resumed = max(all.Resumed, r.Resumed)
	}
	all.Sent += r.Sent
	all.Unchanged = max(all.Unchanged, r.Unchanged)
	all.unverified = max(all.unverified, r.unverified)
	all.Reused += r.Reused
	all.Restarted += r.Restarted
	all.Repaired += r.Repaired
	all.Files, all.Folders, all.Bytes = max(all.Files, r.Files), max(all.Folders, r.Folders), max(all.Bytes, r.Bytes)
	if r.SkippedCount > 0 || r.Files+r.Folders > 0 { // the stream got far enough to know them
		all.Skipped, all.SkippedCount = r.Skipped, r.SkippedCount
	}
	all.Lacks.Sync = all.Lacks.Sync || r.Lacks.Sync
	all.Lacks.Links = all.Lacks.Links || r.Lacks.Links
	all.Lacks.Locks = all.Lacks.Locks || r.Lacks.Locks
	all.Lacks.Exchange = all.Lacks.Exchange || r.Lacks.Exchange
}

func (a *account) total() Result {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.result
}
