// Package console is the terminal of a program that talks to strangers: they
// cannot control it, and only input that was entered after a question answers
// the question.
package console

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// A Console is the user's input and output. Everything is made printable. Its
// methods may be called concurrently, except that it asks one question at a
// time.
type Console struct {
	Out, Err io.Writer // results; everything else
	Live     bool      // Err is a terminal

	keys *keyboard // nil if nobody answers
}

// Standard returns a console with the program's output. See [Console.Listen]
// for its input.
func Standard() *Console {
	return &Console{Out: os.Stdout, Err: os.Stderr, Live: term.IsTerminal(int(os.Stderr.Fd()))}
}

// Say prints a line with a result.
func (c *Console) Say(format string, args ...any) {
	io.WriteString(c.Out, escape(fmt.Sprintf(format, args...))+"\n")
}

// Warn prints any other line.
func (c *Console) Warn(format string, args ...any) {
	io.WriteString(c.Err, escape(fmt.Sprintf(format, args...))+"\n")
}

// escape returns text with all characters escaped that could do more to a
// terminal than fill their place in a line.
func escape(text string) string {
	var b strings.Builder
	for _, r := range text { // invalid UTF-8 becomes U+FFFD
		if strconv.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// Printable returns a writer of whole lines, such as those of a log, which
// makes them printable.
func Printable(to io.Writer) io.Writer { return printable{to} }

type printable struct{ to io.Writer }

func (p printable) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		text, ended := strings.CutSuffix(line, "\n")
		if text = escape(strings.ReplaceAll(text, "\t", "  ")); ended {
			text += "\n"
		}
		if _, err := io.WriteString(p.to, text); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
