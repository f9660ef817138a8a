package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p/mdns"
)

// demo runs three devices as processes of this program, which find each other
// on the loopback interface: they pair, write, are separated, write on both
// sides, and meet again. One has a clock that is 10 minutes ahead; it is
// revoked in the end, by an admin that did not make the notebook. The demo
// fails unless all have the same notes whenever they should.
func demo(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 50*time.Second, errors.New("the demo took too long"))
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "notes-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var all []*process
	start := func(name string, args ...string) *process {
		args = append([]string{"--dir", filepath.Join(dir, name), "--name", name, "--interface", mdns.Loopback()[0]}, args...)
		p, failed := startProcess(ctx, name, exec.CommandContext(ctx, self, args...))
		if failed != nil {
			panic(failed)
		}
		all = append(all, p)
		return p
	}
	defer func() { // each step panics with an error
		if r := recover(); r != nil {
			failed, ok := r.(error)
			if !ok {
				panic(r)
			}
			err = failed
		}
		for _, p := range all {
			err = errors.Join(err, p.end())
		}
	}()
	share(start("Alice"), start("Bob"), start("Carol", "--clock", "10m"))
	return nil
}

// share is the script of the three devices. It panics with an error.
func share(alice, bob, carol *process) {
	say("Alice makes a notebook, has Bob join, and makes him an admin, by the recovery key.")
	key := alice.do("new")[0]
	pair(alice, bob)
	alice.do("promote Bob " + key)
	bob.until("Bob is an admin", func() bool { return strings.Contains(bob.do("members")[0], "admin, this device") })

	say("Bob has Carol join, whose clock is 10 minutes ahead.")
	pair(bob, carol)

	say("Each writes a note.")
	shopping := alice.do("add Shopping")[0]
	alice.do("body " + shopping + " bread")
	holidays := bob.do("add Holidays")[0]
	music := carol.do("add Music")[0]
	same(alice, bob, carol)

	say("Carol goes offline. All go on writing: Carol, and then Alice, the same line.")
	carol.do("offline")
	carol.do("body " + shopping + " bread and honey, wrote Carol")
	carol.do("title " + holidays + " Holidays in Norway")
	carol.do("add Written offline")
	time.Sleep(100 * time.Millisecond) // otherwise it would be undefined which is later
	alice.do("body " + shopping + " bread and milk, wrote Alice later")
	bob.do("body " + holidays + " July")
	bob.do("rm " + music)
	same(alice, bob)

	say("Carol comes back.")
	carol.do("online")
	same(alice, bob, carol)
	if all := strings.Join(alice.do("list"), "\n"); !strings.Contains(all, "wrote Alice later") ||
		!strings.Contains(all, "Holidays in Norway: July") || !strings.Contains(all, "Written offline") || strings.Contains(all, "Music") {
		panic(errors.New("not everybody's last change counts"))
	}

	say("Bob revokes Carol. What Carol writes then arrives nowhere, and she gets nothing more.")
	bob.do("revoke Carol")
	carol.try("title " + shopping + " Carol was here") // maybe before Alice has heard of it
	alice.wait(regexp.MustCompile(`^"Carol" was removed by "Bob"$`))
	for _, p := range []*process{alice, bob} {
		p.until("Carol is no member", func() bool { return !strings.Contains(strings.Join(p.do("members"), "\n"), "Carol") })
	}
	carol.try("title " + shopping + " Carol was here")
	bob.do("add The end")
	same(alice, bob)
	if all := strings.Join(bob.do("list"), "\n"); strings.Contains(all, "Carol was here") || !strings.Contains(all, "The end") {
		panic(errors.New("a revoked device was heard"))
	}
	if slices.Equal(carol.do("digest"), alice.do("digest")) {
		panic(errors.New("a revoked device hears of changes"))
	}
	for _, line := range alice.do("list") {
		fmt.Println("    " + line)
	}
	fmt.Println("demo: all devices had the same notes whenever they should")
}

func say(text string) { fmt.Println("demo: " + text) }

var shows = regexp.MustCompile(`shows the digits (\d{6})`)

// pair makes guest join the notebook of host, if both show the same digits.
func pair(host, guest *process) {
	ticket := host.do("invite")[0]
	guest.do("join " + ticket)
	here, there := host.wait(shows), guest.wait(shows)
	if here[1] != there[1] {
		panic(fmt.Errorf("%s shows %s and %s shows %s", host.name, here[1], guest.name, there[1]))
	}
	host.do("yes")
	guest.do("yes")
	host.wait(regexp.MustCompile(`has joined$`))
	guest.wait(regexp.MustCompile(`^joined$`))
}

// same waits until all have the same notes.
func same(all ...*process) {
	var names []string
	for _, p := range all {
		names = append(names, p.name)
	}
	what, digest := strings.Join(names, ", ")+" have the same notes", ""
	all[0].until(what, func() bool {
		var digests []string
		for _, p := range all {
			digests = append(digests, p.do("digest")[0])
		}
		digest = digests[0]
		return len(slices.Compact(digests)) == 1
	})
	say(fmt.Sprintf("%s: %.16s", what, digest))
}

// A process is a device that is controlled by commands. Its methods panic with
// an error.
type process struct {
	ctx     context.Context
	name    string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string // lines that answer, and those that
	told    chan string // tell something by themselves, without their "* "
}

func startProcess(ctx context.Context, name string, cmd *exec.Cmd) (*process, error) {
	p := &process{ctx: ctx, name: name, cmd: cmd, answers: make(chan string, 1000), told: make(chan string, 1000)}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in = in
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process
		defer close(p.answers)
		defer close(p.told)
		for s := bufio.NewScanner(out); s.Scan(); {
			if text, ok := strings.CutPrefix(s.Text(), "* "); ok {
				fmt.Printf("    %s: %s\n", name, text)
				p.told <- text
			} else {
				p.answers <- s.Text()
			}
		}
	}()
	return p, nil
}

// do makes the device execute a line, and returns the answer.
func (p *process) do(line string) (answer []string) {
	answer, err := p.try(line)
	if err != nil {
		panic(err)
	}
	return answer
}

// try is do for a command that may be refused.
func (p *process) try(line string) (answer []string, refused error) {
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		panic(fmt.Errorf("%s: %w", p.name, err))
	}
	for {
		switch text := p.next(p.answers); {
		case text == "ok":
			return answer, nil
		case strings.HasPrefix(text, "error: "):
			return nil, fmt.Errorf("%s, %q: %s", p.name, line, text)
		default:
			answer = append(answer, text)
		}
	}
}

// wait waits until the device reports something.
func (p *process) wait(what *regexp.Regexp) []string {
	for {
		if found := what.FindStringSubmatch(p.next(p.told)); found != nil {
			return found
		}
	}
}

func (p *process) next(lines <-chan string) string {
	select {
	case <-p.ctx.Done():
		panic(context.Cause(p.ctx))
	case text, ok := <-lines:
		if !ok {
			panic(fmt.Errorf("%s has ended", p.name))
		}
		return text
	}
}

// until waits until a condition holds.
func (p *process) until(what string, is func() bool) {
	for !is() {
		select {
		case <-p.ctx.Done():
			panic(fmt.Errorf("%w; not yet: %s", context.Cause(p.ctx), what))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// end ends the process.
func (p *process) end() error {
	io.WriteString(p.in, "quit\n")
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}
