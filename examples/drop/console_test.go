package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// evil is what an evil peer might want to print: it sets the title of the
// window.
const evil = "\x1b]0;OWNED\x07"

// A screen holds the output that a user sees, and lets a test wait for text.
type screen struct {
	mu      sync.Mutex
	text    string
	seen    int           // number of bytes that tests have waited for
	changed chan struct{} // closed by the next Write
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(b)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return len(b), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// wait waits for text after the text that was waited for before.
func (s *screen) wait(t testing.TB, text string) {
	t.Helper()
	s.match(t, regexp.MustCompile(regexp.QuoteMeta(text)))
}

// match is like wait, but for text that matches.
func (s *screen) match(t testing.TB, text *regexp.Regexp) {
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

// A user sits at a console.
type user struct {
	*console
	*screen
	keys *io.PipeWriter
}

// newUser returns a user who can answer.
func newUser(t testing.TB) *user {
	in, keys := io.Pipe()
	u := &user{screen: &screen{}, keys: keys}
	u.console = &console{out: u.screen, err: u.screen}
	u.listen(in)
	t.Cleanup(func() { keys.Close() })
	return u
}

// enter enters text. When it returns, the console has read it.
func (u *user) enter(text string) {
	io.WriteString(u.keys, text)
	u.keys.Write(nil) // returns once the console has read the first text
}

// bubble runs a test in which no time passes.
func bubble(t *testing.T, test func(*testing.T)) {
	t.Parallel()
	synctest.Test(t, test)
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Grüße 日本 \"…\"": "Grüße 日本 \"…\"",
		evil:             `\x1b]0;OWNED\a`,
		"a\nb\r\tc":      `a\nb\r\tc`,
		"\u202egnp.exe":  `\u202egnp.exe`,
		"\x9b31m\u009b":  "\uFFFD31m\\u009b",
		"zero\u200bwide": `zero\u200bwide`,
	} {
		require.Equal(t, want, plain(text))
	}
	c := &console{out: &screen{}, err: &screen{}}
	c.say("%s", evil)
	c.warn("%s", evil)
	require.NotContains(t, c.out.(*screen).text+c.err.(*screen).text, "\x1b")
}

// A log is made printable as well, line by line.
func TestPrintable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	n, err := printable{&b}.Write([]byte("a\t" + evil + "\nb\n"))
	require.NoError(t, err)
	require.Equal(t, len("a\t"+evil+"\nb\n"), n)
	require.Equal(t, "a  \\x1b]0;OWNED\\a\nb\n", b.String())
	b.Reset()
	slog.New(slog.NewTextHandler(printable{&b}, nil)).Warn(evil, "reason", evil)
	require.NotContains(t, b.String(), "\x1b")
}

// Only what is entered after a question answers it.
func TestEnteredBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, test := range []struct {
			before, after string
			want          string
		}{
			{"", "n\n", "n"},
			{"y\n", "n\n", "n"},
			{"y\ny\ny\n", "\n", ""},
			{"y", "\n", ""}, // what was entered before is not a whole line
			{"n\n", "y\nn\n", "y"},
			{"n", "y\n", "y"},
		} {
			u := newUser(t)
			u.enter(test.before)
			got := make(chan string)
			go func() {
				line, _ := u.ask(t.Context(), "Well?")
				got <- line
			}()
			u.wait(t, "Well? ")
			u.enter(test.after)
			require.Equal(t, test.want, <-got, "%q", test)
		}
	})
}

// An answer to a question that is no longer open does not answer the next one.
func TestAskAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		u := newUser(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := u.ask(ctx, "First?")
			ended <- err
		}()
		u.wait(t, "First? ")
		u.enter("y")
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		u.enter("\ny\n")
		go func() {
			line, err := u.ask(t.Context(), "Second?")
			if line != "" {
				err = errors.New("answered: " + line)
			}
			ended <- err
		}()
		u.wait(t, "Second? ")
		u.enter("\n")
		require.NoError(t, <-ended)
		go func() {
			_, err := u.ask(t.Context(), "Third?")
			ended <- err
		}()
		u.wait(t, "Third? ")
		u.enter("y")
		u.keys.Close()
		require.ErrorIs(t, <-ended, io.EOF)
		_, err := u.ask(t.Context(), "Fourth?")
		require.ErrorIs(t, err, io.EOF)
		_, err = (&console{}).ask(t.Context(), "Anybody?")
		require.ErrorIs(t, err, io.EOF)
	})
}

func TestConfirm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for answer, want := range map[string]bool{
			"y\n": true, " Yes \r\n": true, "n\n": false, "\n": false, "yo\n": false, "": false,
		} {
			u := newUser(t)
			got := make(chan bool)
			go func() {
				ok, _ := u.confirm(t.Context(), "Well?")
				got <- ok
			}()
			u.wait(t, "Well? [y/N] ")
			if u.enter(answer); answer == "" {
				u.keys.Close()
			}
			require.Equal(t, want, <-got, "%q", answer)
		}
	})
}
