package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// A user sits at a console.
type user struct {
	*Console
	*exampletest.Screen
	keys *io.PipeWriter
}

// newUser returns a user who can answer.
func newUser(t testing.TB) *user {
	in, keys := io.Pipe()
	u := &user{Screen: &exampletest.Screen{}, keys: keys}
	u.Console = &Console{Out: u.Screen, Err: u.Screen}
	u.Listen(in)
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
				line, _ := u.Ask(t.Context(), "Well?")
				got <- line
			}()
			u.Shows(t, "Well? ")
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
			_, err := u.Ask(ctx, "First?")
			ended <- err
		}()
		u.Shows(t, "First? ")
		u.enter("y")
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		u.enter("\ny\n")
		go func() {
			line, err := u.Ask(t.Context(), "Second?")
			if line != "" {
				err = errors.New("answered: " + line)
			}
			ended <- err
		}()
		u.Shows(t, "Second? ")
		u.enter("\n")
		require.NoError(t, <-ended)
		go func() {
			_, err := u.Ask(t.Context(), "Third?")
			ended <- err
		}()
		u.Shows(t, "Third? ")
		u.enter("y")
		u.keys.Close()
		require.ErrorIs(t, <-ended, io.EOF)
		_, err := u.Ask(t.Context(), "Fourth?")
		require.ErrorIs(t, err, io.EOF)
		_, err = (&Console{}).Ask(t.Context(), "Anybody?")
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
				ok, _ := u.Confirm(t.Context(), "Well?")
				got <- ok
			}()
			u.Shows(t, "Well? [y/N] ")
			if u.enter(answer); answer == "" {
				u.keys.Close()
			}
			require.Equal(t, want, <-got, "%q", answer)
		}
	})
}

func TestChoose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for answer, want := range map[string]string{
			"2\n": "1 <nil>", "0\n": `0 there is no such number: "0"`, "3\n": `0 there is no such number: "3"`,
			"b\n": `0 there is no such number: "b"`, "": "0 EOF",
		} {
			u := newUser(t)
			got := make(chan string)
			go func() {
				i, err := u.Choose(t.Context(), "Which?", []string{"a", evil})
				got <- fmt.Sprint(i, " ", err)
			}()
			u.Shows(t, "  1  a\n  2  \\x1b]0;OWNED\\a\nWhich? ")
			if u.enter(answer); answer == "" {
				u.keys.Close()
			}
			require.Equal(t, want, <-got, "%q", answer)
		}
	})
}
