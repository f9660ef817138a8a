package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/google/uuid"
)

const help = `new                 make a notebook, in an empty folder
join TICKET         or join that of another device
invite              make a ticket for one more device
yes, no             answer whether the digits are the same on both
add TITLE           make a note
title ID TEXT       change its title
body ID TEXT        change its text
rm ID, restore ID   delete it; have it back
list                all notes
members             the devices, and which of them are admins
revoke NAME         throw one out; an admin: with the recovery key behind the name,
                    or the others are asked
promote NAME        make one an admin; the same way
requests            what other admins ask this one for
endorse NAME        agree to what that admin asks for
decline NAME        or forget it
recover KEY         make this device an admin, by the recovery key
offline, online     stop and start the network
digest              a hash of all notes: the same on devices that have the same
quit`

// A Terminal lets a user control a device, a line at a time. Every command is
// answered with some lines, the last of which is "ok" or begins with "error: ".
// Lines that begin with "* " report other events.
type Terminal struct {
	device *Device
	jobs   sync.WaitGroup // pairing

	mu     sync.Mutex // guards what follows
	out    io.Writer
	answer chan bool // nil: nothing is asked
}

// Tell reports an event.
func (t *Terminal) Tell(format string, args ...any) { t.print("* "+format, args...) }

func (t *Terminal) print(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format+"\n", args...)
}

// clean makes a text of others fit for printing in a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// ask is a [Question].
func (t *Terminal) ask(ctx context.Context, name, digits string) bool {
	answer := make(chan bool, 1)
	t.mu.Lock()
	busy := t.answer != nil
	if !busy {
		t.answer = answer
	}
	t.mu.Unlock()
	if busy {
		return false
	}
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.answer == answer {
			t.answer = nil
		}
	}()
	t.Tell("%q shows the digits %s. Are they the same on both? yes or no", name, digits)
	select {
	case yes := <-answer:
		return yes
	case <-ctx.Done():
		return false
	}
}

// errQuit ends the program.
var errQuit = errors.New("quit")

// Do executes a line. ctx ends with the program.
func (t *Terminal) Do(ctx context.Context, line string) error {
	err := t.do(ctx, strings.TrimSpace(line))
	switch {
	case err == nil:
		t.print("ok")
	case errors.Is(err, errQuit):
		return err
	default:
		t.print("error: %s", clean(err.Error()))
	}
	return nil
}

func (t *Terminal) do(ctx context.Context, line string) error {
	d := t.device
	command, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	switch command {
	case "":
		return nil
	case "help":
		t.print("%s", help)
		return nil
	case "quit":
		return errQuit
	case "new":
		return t.found()
	case "join":
		t.jobs.Go(func() {
			if err := d.Join(ctx, rest, t.ask); err != nil {
				t.Tell("not joined: %v", err)
				return
			}
			t.Tell("joined")
		})
		return nil
	case "yes", "no":
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.answer == nil {
			return errors.New("nothing was asked")
		}
		t.answer <- command == "yes"
		t.answer = nil
		return nil
	case "offline":
		return d.Offline(ctx)
	case "online":
		return d.Online(ctx)
	}
	n := d.notebook.Load()
	if n == nil {
		return errNoNotebook
	}
	if done, err := t.manage(n, command, rest); done {
		return err
	}
	return t.edit(ctx, n, command, rest)
}

// found makes a notebook, and shows its recovery key, only this once.
func (t *Terminal) found() error {
	key, err := t.device.Found()
	if err != nil {
		return err
	}
	t.print("%s", key.Text())
	t.print("This is the recovery key of the notebook. Print it, or keep it in a password manager: it is shown")
	t.print("only this once, and kept on no device. With it, any device of the notebook becomes an admin (recover KEY),")
	t.print("and removes one that was lost or stolen, even an admin (revoke NAME KEY). Anyone who has it can do so.")
	t.print("It does not bring back notes: they are only on the devices.")
	return nil
}

// edit executes the commands about notes.
func (t *Terminal) edit(ctx context.Context, s *Notebook, command, rest string) error {
	switch command {
	case "invite":
		ticket, wait, err := t.device.Invite(t.ask)
		if err != nil {
			return err
		}
		t.print("%s", ticket)
		t.jobs.Go(func() {
			if name, err := wait(ctx); err != nil {
				t.Tell("nobody has joined: %v", err)
			} else {
				t.Tell("%q has joined", name)
			}
		})
		return nil
	case "list":
		notes, err := s.Notes()
		if err != nil {
			return err
		}
		for _, n := range notes {
			if !n.Deleted {
				t.print("%.8s  %s: %s", n.ID, clean(n.Title), clean(n.Body))
			}
		}
		return nil
	case "digest":
		digest, err := s.Digest()
		if err != nil {
			return err
		}
		t.print("%x", digest)
		return nil
	case "add":
		id := uuid.New()
		t.print("%.8s", id)
		return s.Set(Change{id, Title, rest})
	}
	return change(s, command, rest)
}

// change changes an existing note.
func change(s *Notebook, command, rest string) error {
	id, text, _ := strings.Cut(rest, " ")
	changes := map[string]Change{
		"title": {Field: Title, Value: text}, "body": {Field: Body, Value: text},
		"rm": {Field: Deleted, Value: "yes"}, "restore": {Field: Deleted},
	}
	c, ok := changes[command]
	if !ok {
		return fmt.Errorf("%q is not a command; try help", command)
	}
	notes, err := s.Notes()
	if err != nil {
		return err
	}
	for _, n := range notes {
		if id != "" && strings.HasPrefix(n.ID.String(), id) {
			if c.Note != uuid.Nil {
				return fmt.Errorf("more than one note begins with %q", id)
			}
			c.Note = n.ID
		}
	}
	if c.Note == uuid.Nil {
		return fmt.Errorf("no note begins with %q", id)
	}
	return s.Set(c)
}
