package block

import (
	"fmt"
	"strings"

	"github.com/sdp2p/p2p/internal/text"
)

// String describes the offer for people and logs, as in "812 files and 3
// folders, 9.4 MB, and 2 that cannot be sent".
func (o *Offer) String() string {
	s := fmt.Sprintf("%s and %s, %s", text.Count(o.Files, "file", "files"),
		text.Count(o.Folders, "folder", "folders"), size(o.Bytes))
	if o.LeftOut > 0 {
		s += fmt.Sprintf(", and %d that cannot be sent", o.LeftOut)
	}
	return s
}

// String describes the progress for people and logs, as in "1 of 2 files, 7.0
// MB of 10.0 MB".
func (p Progress) String() string {
	return fmt.Sprintf("%d of %s, %s of %s", p.Files, text.Count(p.TotalFiles, "file", "files"),
		size(p.Bytes), size(p.TotalBytes))
}

// String describes the outcome for people and logs: the files and bytes that
// are in their place, and the other numbers unless they are 0, as in "812
// files, 9.4 MB; 5.4 MB were there already; 7 unchanged since last time; 3.0 MB
// reused of earlier files; 2 left out".
func (r Result) String() string {
	parts := []string{text.Count(r.Files, "file", "files") + ", " + size(r.Bytes)}
	if r.Resumed > 0 {
		parts = append(parts, size(r.Resumed)+" were there already")
	}
	if r.Unchanged > 0 {
		parts = append(parts, fmt.Sprintf("%d unchanged since last time", r.Unchanged))
	}
	if r.Reused > 0 {
		parts = append(parts, size(r.Reused)+" reused of earlier files")
	}
	if r.SkippedCount > 0 {
		parts = append(parts, fmt.Sprintf("%d left out", r.SkippedCount))
	}
	return strings.Join(parts, "; ")
}

// String says what may happen since the file system lacks these features, for
// people and logs, as in "a crash may leave an empty file". It is empty if
// nothing is lacking.
func (l Lacks) String() string {
	var all []string
	for _, lack := range []struct {
		is   bool
		text string
	}{
		{l.Sync, "a power cut may lose files that have just arrived"},
		{l.Links, "a crash may leave an empty file"},
		{l.Locks, "two programs must not receive the same files at a time"},
		{l.Exchange, "changed files cannot be replaced, and come in addition"},
	} {
		if lack.is {
			all = append(all, lack.text)
		}
	}
	return strings.Join(all, "; ")
}

func size(bytes int64) string { return text.Size(uint64(max(bytes, 0))) }
