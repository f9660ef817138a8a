package console

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

// A keyboard is the user's input. It is read all the time, so that input from
// before a question is gone when the question is asked.
type keyboard struct {
	flush func() // drops unread input

	mu     sync.Mutex
	text   []byte        // entered since the question
	answer chan<- string // takes the first line of text; nil: there is no question
	ended  bool
}

// Listen reads the user's input until it ends. Without it, nobody answers.
func (c *Console) Listen(in io.Reader) {
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

// Ask asks the user and returns the line that is entered then. It fails with
// io.EOF if nobody can answer any more. It asks one question at a time.
func (c *Console) Ask(ctx context.Context, question string) (string, error) {
	if c.keys == nil {
		return "", io.EOF
	}
	answer, k := make(chan string, 1), c.keys
	k.mu.Lock()
	k.flush()
	k.text, k.answer = nil, answer
	io.WriteString(c.Err, escape(question)+" ")
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
		c.Warn("") // ends the line of the question
		return "", io.EOF
	case <-ctx.Done():
		k.mu.Lock()
		k.answer = nil
		k.mu.Unlock()
		c.Warn("")
		return "", ctx.Err()
	}
}

// Choose lists some things by number, and returns the index of the one whose
// number the user enters. It fails as Ask does, and for any other answer.
func (c *Console) Choose(ctx context.Context, question string, of []string) (int, error) {
	for i, text := range of {
		c.Warn("%3d  %s", i+1, text)
	}
	line, err := c.Ask(ctx, question)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(line)
	if err != nil || n < 1 || n > len(of) {
		return 0, fmt.Errorf("there is no such number: %q", line)
	}
	return n - 1, nil
}

// Confirm asks a question to which y and yes mean yes, and everything else no.
func (c *Console) Confirm(ctx context.Context, question string) (bool, error) {
	line, err := c.Ask(ctx, question+" [y/N]")
	return strings.EqualFold(line, "y") || strings.EqualFold(line, "yes"), err
}
