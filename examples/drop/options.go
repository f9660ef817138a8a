package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay"
	"github.com/sdp2p/p2p/relay/token"
)

//go:embed help.txt
var help string

// options are what the user wants.
type options struct {
	command string   // send or receive
	paths   []string // what to send, or the folder to receive into
	demo    string   // a path, or empty

	name, keys string
	on         []string // network interfaces; nil: all that support multicast
	to, from   string   // the other device: its key, its fingerprint or, for to, its name
	yes, once  bool

	relay  relay.Config
	friend identity.RemoteIdentity // the other device, if it is called through relays
	relays *relay.Client           // nil without relays
	spool  *os.Root                // for long lists of files, or nil
}

// flags returns the flags that set the options.
func (o *options) flags() *flag.FlagSet {
	f := flag.NewFlagSet("drop", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	hostname, _ := os.Hostname()
	f.StringVar(&o.name, "name", hostname, "the `name` that others see")
	f.StringVar(&o.to, "to", "", "send to the device with this fingerprint or `name`")
	f.BoolVar(&o.yes, "yes", false, "receive everything; send to a name that is not verified")
	f.BoolVar(&o.yes, "y", false, "the same as --yes")
	f.BoolVar(&o.once, "once", false, "receive one transfer, and exit with its code")
	f.StringVar(&o.demo, "demo", "", "send this `path` between two processes here")
	f.Func("interface", "find devices on this network `interface` only", func(name string) error {
		o.on = append(o.on, name)
		return nil
	})
	f.StringVar(&o.keys, "keys", "", "the `folder` for the keys that others know")
	f.StringVar(&o.from, "from", "", "trust the sender with this `key`; with --relay, its whole key")
	f.Func("relay", "reach the other device through `KEY@IP:PORT`", func(list string) (err error) {
		o.relay.Servers, err = relay.ParseServers(list)
		return err
	})
	f.Func("token", "the `file` with the token for the relay", func(file string) error {
		if file == "" {
			return nil // as an empty --relay
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		t, err := token.Parse(string(text))
		o.relay.Tokens = []token.Token{t}
		return err
	})
	return f
}

// parse sets the options. Flags may stand anywhere, but not after "--".
func (o *options) parse(flags *flag.FlagSet, args []string) error {
	var words []string
	for {
		if err := flags.Parse(args); err != nil {
			return err
		}
		rest := flags.Args()
		if n := len(args) - len(rest); n > 0 && args[n-1] == "--" {
			words = append(words, rest...)
			break
		}
		if len(rest) == 0 {
			break
		}
		words, args = append(words, rest[0]), rest[1:]
	}
	switch n := len(words); {
	case o.demo != "" && n == 0:
		return nil
	case o.demo != "" || n < 2 || words[0] != "send" && (words[0] != "receive" || n > 2):
		return errors.New("one of these, please: drop receive DIR, " +
			"drop send PATH..., drop --demo PATH")
	case o.from != "" && !isKey(o.from):
		return errors.New("--from names a device by its key or fingerprint, " +
			"since anybody can take a name")
	}
	o.command, o.paths = words[0], words[1:]
	if o.relay.Servers == nil {
		return nil
	}
	other := o.from
	if o.command == "send" {
		other = o.to
	}
	var err error
	if o.friend, err = identity.Parse(other); err != nil {
		return fmt.Errorf("with --relay, name the other device by its whole key, "+
			"which it prints: %w", err)
	}
	return nil
}
