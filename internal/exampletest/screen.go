package exampletest

import (
	"context"
	"regexp"
	"sync"
	"testing"
	"time"
)

// A Screen holds the output that a user sees, and lets a test wait for text.
type Screen struct {
	mu      sync.Mutex
	text    string
	seen    int           // number of bytes that tests have waited for
	changed chan struct{} // closed by the next Write
}

// Write shows text.
func (s *Screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(b)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return len(b), nil
}

// String returns all the text.
func (s *Screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// Shows waits for text after the text that was waited for before.
func (s *Screen) Shows(t testing.TB, text string) {
	t.Helper()
	s.Matches(t, regexp.MustCompile(regexp.QuoteMeta(text)))
}

// Matches is like Shows, but for text that matches.
func (s *Screen) Matches(t testing.TB, text *regexp.Regexp) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		s.mu.Lock()
		if at := text.FindStringIndex(s.text[s.seen:]); at != nil {
			s.seen += at[1]
			s.mu.Unlock()
			return
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%v does not appear:\n%s", text, s)
		}
	}
}
