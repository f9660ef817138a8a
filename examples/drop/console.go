package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

// A console is the user's input and output. Peers cannot control the terminal:
// everything is made printable.
type console struct {
	out, err io.Writer // results; everything else
	live     bool      // err is a terminal
	keys     *keyboard // nil if nobody answers
}

// say prints a line with a result.
func (c *console) say(format string, args ...any) {
	io.WriteString(c.out, plain(fmt.Sprintf(format, args...))+"\n")
}

// warn prints any other line.
func (c *console) warn(format string, args ...any) {
	io.WriteString(c.err, plain(fmt.Sprintf(format, args...))+"\n")
}

// plain returns text with all characters escaped that could do more to a
// terminal than fill their place in a line.
func plain(text string) string {
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

// A printable makes whole lines, such as those of a log, printable.
type printable struct{ to io.Writer }

func (p printable) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		text, ended := strings.CutSuffix(line, "\n")
		if text = plain(strings.ReplaceAll(text, "\t", "  ")); ended {
			text += "\n"
		}
		if _, err := io.WriteString(p.to, text); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// A keyboard is the user's input. It is read all the time, so that input from
// before a question is gone when the question is asked.
type keyboard struct {
	flush func() // drops unread input

	mu     sync.Mutex
	text   []byte        // entered since the question
	answer chan<- string // takes the first line of text; nil: there is no question
	ended  bool
}

// listen reads the user's input until it ends.
func (c *console) listen(in io.Reader) {
	k := &keyboard{flush: func() {}}
	if f, ok := in.(*os.File); ok {
		k.flush = func() { flush(int(f.Fd())) }
	}
	c.keys = k
	go func() {
		for b := make([]byte, 1024); ; {
			n, err := in.Read(b)
			if k.enter(b[:n], err != nil); err != nil {
				return
			}
		}
	}()
}

// enter takes input, and whether it was the last.
func (k *keyboard) enter(b []byte, last bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = last
	if k.answer == nil {
		return
	}
	k.text = append(k.text, b...)
	if line, _, ok := bytes.Cut(k.text, []byte("\n")); ok {
		k.answer <- string(line)
	} else if !last {
		return
	}
	close(k.answer)
	k.answer = nil
}

// ask asks the user and returns the line that is entered then. It fails with
// io.EOF if nobody can answer any more. It asks one question at a time.
func (c *console) ask(ctx context.Context, question string) (string, error) {
	if c.keys == nil {
		return "", io.EOF
	}
	answer, k := make(chan string, 1), c.keys
	k.mu.Lock()
	k.flush()
	k.text, k.answer = nil, answer
	io.WriteString(c.err, plain(question)+" ")
	if k.ended {
		close(answer)
		k.answer = nil
	}
	k.mu.Unlock()
	select {
	case line, ok := <-answer:
		if ok {
			return strings.TrimSpace(line), nil
		}
		c.warn("") // ends the line of the question
		return "", io.EOF
	case <-ctx.Done():
		k.mu.Lock()
		k.answer = nil
		k.mu.Unlock()
		c.warn("")
		return "", ctx.Err()
	}
}

// confirm asks a question to which y and yes mean yes, and everything else no.
func (c *console) confirm(ctx context.Context, question string) (bool, error) {
	line, err := c.ask(ctx, question+" [y/N]")
	return strings.EqualFold(line, "y") || strings.EqualFold(line, "yes"), err
}
