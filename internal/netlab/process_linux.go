package netlab

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience limits how long a test waits: longer than anything takes.
const Patience = 40 * time.Second

// An Event is an event that a program has reported.
type Event struct {
	At    time.Time // of the wall clock, which all programs of a lab share
	Name  string
	About []string
}

// A Process is a program that runs on a host. Its methods are for the goroutine
// of its test, unless they say otherwise.
type Process struct {
	t      testing.TB
	cmd    *exec.Cmd
	input  io.WriteCloser
	output output
	killed bool
	done   chan struct{} // closed when it has ended and all its events are in events
	err    error         // how it ended; readable once done is closed

	mu      sync.Mutex
	calls   int
	replies map[int]chan message
	events  []Event
	more    chan struct{} // closed when something is added to events
}

// A message is one line, in either direction.
type message struct {
	Event *Event `json:",omitempty"` // or a call, or its reply:

	Call  int             `json:",omitempty"` // its number, from 1
	Name  string          `json:",omitempty"`
	Data  json.RawMessage `json:",omitempty"`
	Error string          `json:",omitempty"`
}

// output holds the output of a program that was meant for people.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const (
	programEnv  = "SDP2P_NETTEST_PROGRAM"
	programName = "TestNode"
	linePrefix  = "\x1enetlab " // the testing package prints lines of its own
)

// Start runs TestNode of this test binary on the host, with a configuration
// that [Program] hands to it. The process ends with the test, which fails if
// the process does not end cleanly.
func (h *Host) Start(t testing.TB, cfg any) *Process {
	t.Helper()
	return h.StartProgram(t, programName, cfg)
}

// StartProgram is [Host.Start] for a test with another name than TestNode.
func (h *Host) StartProgram(t testing.TB, name string, cfg any) *Process {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	config, err := json.Marshal(cfg)
	require.NoError(t, err)
	p := &Process{
		t: t, cmd: h.Command(self, "-test.run=^"+name+"$"), done: make(chan struct{}),
		replies: map[int]chan message{}, more: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), programEnv+"="+string(config))
	p.cmd.Stderr = &p.output
	p.input, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.done)
		p.read(out)
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.end()
		if t.Failed() {
			t.Logf("%s told %v\nand printed:\n%s", config, p.Events(), &p.output)
		}
	})
	return p
}

// read reads the program's messages until its output ends.
func (p *Process) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		text, ok := strings.CutPrefix(line, linePrefix)
		var m message
		if !ok || json.Unmarshal([]byte(text), &m) != nil {
			_, _ = p.output.Write([]byte(line))
			continue
		}
		p.mu.Lock()
		if m.Event != nil {
			p.events = append(p.events, *m.Event)
			close(p.more)
			p.more = make(chan struct{})
		} else if reply := p.replies[m.Call]; reply != nil {
			delete(p.replies, m.Call)
			reply <- m
		}
		p.mu.Unlock()
	}
}

// Events returns the events that the program has reported so far.
func (p *Process) Events() []Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// Await returns the first event at or after since with the name and, as far as
// given, these subjects. It waits for the event if necessary; the test ends if
// it does not come.
func (p *Process) Await(since time.Time, name string, about ...string) Event {
	p.t.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	for {
		ended := false
		select {
		case <-p.done:
			ended = true
		default:
		}
		p.mu.Lock()
		more := p.more
		i := slices.IndexFunc(p.events, func(e Event) bool {
			return !e.At.Before(since) && e.Name == name && len(e.About) >= len(about) && slices.Equal(e.About[:len(about)], about)
		})
		if i >= 0 {
			defer p.mu.Unlock()
			return p.events[i]
		}
		p.mu.Unlock()
		if ended {
			p.t.Fatalf("the program ended (%v) without telling %q %q", p.err, name, about)
		}
		select {
		case <-more:
		case <-p.done:
		case <-timeout.C:
			p.t.Fatalf("after %v the program has not told %q %q", Patience, name, about)
		}
	}
}

// Call calls a function that the program has registered with [Handle], and
// returns its result. It may be called concurrently.
func Call[R any](p *Process, name string, args any) (result R, err error) {
	data, err := json.Marshal(args)
	if err != nil {
		return result, err
	}
	answer := make(chan message, 1)
	p.mu.Lock()
	p.calls++
	m := message{Call: p.calls, Name: name, Data: data}
	p.replies[m.Call] = answer
	err = write(p.input, "", m)
	p.mu.Unlock()
	if err != nil {
		return result, err
	}
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case m = <-answer:
	case <-p.done:
		return result, fmt.Errorf("the program ended during %q", name)
	case <-timeout.C:
		return result, fmt.Errorf("%q took more than %v", name, Patience)
	}
	if m.Error != "" {
		return result, errors.New(m.Error)
	}
	return result, json.Unmarshal(m.Data, &result)
}

func write(w io.Writer, prefix string, m message) error {
	line, err := json.Marshal(m)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s%s\n", prefix, line)
	}
	return err
}

// Quit asks the program to end, and does not wait.
func (p *Process) Quit() { p.input.Close() }

// Stop asks the program to end, and waits until it has. The test ends if that
// takes too long or is not clean.
func (p *Process) Stop() {
	p.t.Helper()
	p.end()
	if p.t.Failed() {
		p.t.FailNow()
	}
}

func (p *Process) end() {
	p.t.Helper()
	p.Quit()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-p.done:
		if p.err != nil && !p.killed {
			p.t.Errorf("the program failed: %v", p.err)
		}
	case <-timeout.C:
		p.t.Errorf("the program does not end after %v", Patience)
		p.Kill()
	}
}

// Suspend stops the process, as sleep does, until Resume.
func (p *Process) Suspend() { _ = p.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume continues a suspended process.
func (p *Process) Resume() { _ = p.cmd.Process.Signal(syscall.SIGCONT) }

// Kill ends the program at once (SIGKILL), and returns when that was.
func (p *Process) Kill() time.Time {
	p.killed = true
	at := time.Now()
	_ = p.cmd.Process.Kill() // unless it has ended
	<-p.done
	return at
}

// A Console is a program's end of the conversation with the test that started
// it.
type Console struct {
	handlers map[string]func(json.RawMessage) (any, error)

	mu sync.Mutex // held while a line is written
}

// Program decodes the configuration with which [Host.Start] has started the
// process. It skips the test if the process was started otherwise.
func Program(t testing.TB, cfg any) *Console {
	config, ok := os.LookupEnv(programEnv)
	if !ok {
		t.Skip("this is a program that other tests run")
	}
	require.NoError(t, json.Unmarshal([]byte(config), cfg))
	return &Console{handlers: map[string]func(json.RawMessage) (any, error){}}
}

// Tell reports an event to the test. It may be called concurrently.
func (c *Console) Tell(name string, about ...string) {
	c.write(message{Event: &Event{At: time.Now(), Name: name, About: about}})
}

func (c *Console) write(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := write(os.Stdout, linePrefix, m); err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
	}
}

// Handle registers the function for [Call] with that name. Handlers run
// concurrently.
func Handle[A, R any](c *Console, name string, f func(A) (R, error)) {
	c.handlers[name] = func(data json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(data, &args); err != nil {
			return nil, err
		}
		return f(args)
	}
}

// Serve serves calls until the test asks the program to end or is gone itself.
func (c *Console) Serve() {
	var running sync.WaitGroup
	defer running.Wait()
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		running.Go(func() { c.write(c.handle(line)) })
	}
}

func (c *Console) handle(line []byte) message {
	var m message
	if err := json.Unmarshal(line, &m); err != nil {
		return message{Error: err.Error()}
	}
	reply := message{Call: m.Call}
	f := c.handlers[m.Name]
	if f == nil {
		reply.Error = fmt.Sprintf("the program does not know %q", m.Name)
		return reply
	}
	result, err := f(m.Data)
	if err == nil {
		reply.Data, err = json.Marshal(result)
	}
	if err != nil {
		reply.Error = err.Error()
	}
	return reply
}
