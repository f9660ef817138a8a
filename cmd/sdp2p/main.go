// Sdp2p makes identities, recovers libraries, examines the nodes of a local
// network, says why one is not found or not reached, shows the state of a
// running app's node, and runs relays, from a terminal or a shell script.
//
//	sdp2p id [--create] [--json] FILE
//	sdp2p library recover --key-file KEY [--remove NAME] FOLDER
//	sdp2p scan [--app sd] [--interface NAME] [--time 2s] [--json]
//	sdp2p doctor [--app sd] [--port 7373] [--interface NAME] [--time 3s] [--json] [--key FILE --contact KEY…] [--relay KEY@IP:PORT]… [PEER|ADDRESS]
//	sdp2p status [--json] ADDRESS
//	sdp2p relay [--config FILE] [flags]
//	sdp2p relay token --issuer KEY --node NODE --account UUID [flags]
//	sdp2p relay list --key KEY --relays FILE --out LIST [--for 24h] | --show LIST
//	sdp2p relay usage [--state relay-state] [--format table|csv|json] [--period 2026-03]
//
// Results go to standard output, and everything else to standard error. The
// exit status is
//
//	0  if it is done. It is 0 even if a scan found nothing, so that a script
//	   with set -e goes on, and even if the doctor warns
//	1  if it failed, and for the doctor if a check failed or the peer was not
//	   reached; the output says what to do
//	2  if the command line is wrong
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sdp2p/p2p/mdns/scan"
)

// A program is the commands of sdp2p, in the order of the help.
type program []command

// newProgram returns the program that scans with s. Each command is a file and
// a line here.
func newProgram(s scanner) program {
	return program{
		{"id", "[--create] [--json] FILE", "shows the identity in a key file, or makes one", idHelp, id},
		{"library", "recover --key-file KEY [--remove NAME] FOLDER", "makes this device an admin again, and removes a lost one, with a recovery key",
			libraryHelp, libraries},
		{"scan", "[--app sd] [--interface NAME] [--time 2s] [--json]", "lists the nodes on the local network", scanHelp, s.setup},
		{"doctor", "[--app sd] [--port 7373] [--interface NAME] [--time 3s] [--json] [--key FILE --contact KEY…] [--relay KEY@IP:PORT]… [PEER|ADDRESS]",
			"checks whether nodes on this host can be found and reached, or why a peer is not", doctorHelp + codesHelp(), checkUp},
		{"status", "[--json] ADDRESS", "shows the state of a running node, whose app serves its debugging page at ADDRESS", statusHelp, status},
		{"relay", "[--config FILE] [flags] | token … | list … | usage …", "runs a relay, makes tokens for it, signs lists of relays, or shows the use of accounts", relayHelp, relays},
	}
}

type command struct {
	name, synopsis, about, help string // help follows the flags
	setup                       func(flags *flag.FlagSet) action
}

// An action runs a command with the arguments that follow its flags.
type action func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// A usageError describes an error in the command line.
type usageError struct{ error }

const exitDone, exitFailed, exitUsage = 0, 1, 2
const exitStatus = "Exit status: 0 done, even if nothing was found or the doctor only warns; 1 failed, or a check failed; 2 the command line is wrong.\n"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(newProgram(scan.Scan).run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs a command line and returns the exit status.
func (p program) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		return p.usage(stderr, exitUsage)
	}
	name, args := args[0], args[1:]
	if name == "-h" || strings.TrimLeft(name, "-") == "help" {
		if len(args) == 0 {
			return p.usage(stdout, exitDone)
		}
		name, args = args[0], []string{"--help"}
	}
	for _, c := range p {
		if c.name == name {
			return c.run(ctx, args, stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "sdp2p: there is no command %q; \"sdp2p help\" lists them\n", name)
	return exitUsage
}

func (p program) usage(w io.Writer, status int) int {
	fmt.Fprint(w, "Sdp2p makes identities, recovers libraries, examines the nodes of a local network, and runs relays.\n\n")
	for _, c := range p {
		fmt.Fprintf(w, "sdp2p %s %s\n        %s\n", c.name, c.synopsis, c.about)
	}
	fmt.Fprint(w, "\n\"sdp2p help COMMAND\" says more. ", exitStatus)
	return status
}

func (c *command) run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // its output is written here
	do := c.setup(flags)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(stdout, "usage: sdp2p %s %s\n\nsdp2p %s %s.\n\n", c.name, c.synopsis, c.name, c.about)
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		fmt.Fprint(stdout, "\n", c.help, "\n", exitStatus)
		return exitDone
	}
	if err != nil {
		err = usageError{err}
	} else if err = do(ctx, flags.Args(), stdout, stderr); err == nil {
		return exitDone
	}
	fmt.Fprintf(stderr, "sdp2p %s: %v\n", c.name, err)
	if !errors.As(err, new(usageError)) {
		return exitFailed
	}
	fmt.Fprintf(stderr, "usage: sdp2p %s %s\n", c.name, c.synopsis)
	return exitUsage
}
