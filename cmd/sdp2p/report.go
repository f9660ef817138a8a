package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/sdp2p/p2p/internal/text"
)

// A reportFile is the output of --report, for a bug report, without secrets and
// names.
type reportFile struct {
	path  string // "" for none
	state string // of the file with the app's state; "" for none
}

// write writes the findings of the doctor to the file. It fails if the file
// exists.
func (f *reportFile) write(d *doctor, r *report, args []string) error {
	if f.path == "" {
		return nil
	}
	text, err := f.text(d, r, args)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--report: %w", err)
	}
	_, err = file.WriteString(text)
	return errors.Join(err, file.Close())
}

func (f *reportFile) text(d *doctor, r *report, args []string) (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "sdp2p doctor, %s\n\n", time.Now().UTC().Format(time.RFC3339))
	fmt.Fprintf(&b, "system  %s/%s, %s, %d processors\n", runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU())
	if info, ok := debug.ReadBuildInfo(); ok {
		fmt.Fprintf(&b, "built   %s %s\n", info.Main.Path, cmp.Or(info.Main.Version, "(unknown)"))
		for _, s := range info.Settings {
			if strings.HasPrefix(s.Key, "vcs.") {
				fmt.Fprintf(&b, "        %s %s\n", s.Key, s.Value)
			}
		}
		for _, m := range info.Deps {
			if strings.HasSuffix(m.Path, "/quic-go") || strings.HasSuffix(m.Path, "/go-libp2p") {
				fmt.Fprintf(&b, "        %s %s\n", m.Path, m.Version)
			}
		}
	}
	fmt.Fprintf(&b, "asked   app %s, port %d, %d arguments, %d relays, %d contacts\n\n", d.app, d.port, len(args), len(d.outside.servers), len(d.contacts))
	if err := r.write(&b); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "\nheard   %d devices\n", len(r.Heard))
	for _, s := range r.Heard {
		fmt.Fprintf(&b, "        %s %s %v: %d packets\n", s.Interface, s.Family, s.Source, s.Packets)
	}
	if r.Peer != nil {
		fmt.Fprintf(&b, "peer    reached %v\n", r.Peer.Reached)
		for _, c := range r.Peer.Candidates {
			fmt.Fprintf(&b, "        %v: reached %v after %.1f ms\n", c.Address, c.Reached, c.Milliseconds)
		}
	}
	text := r.withoutNames(b.String())
	if f.state == "" {
		return text, nil
	}
	state, err := nameless(f.state)
	return text + "\nstate of the app\n" + state + "\n", err
}

// withoutNames replaces the names of devices and hosts.
func (r *report) withoutNames(text string) string {
	var names []string
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	if r.Peer != nil {
		if t, err := parseTarget(r.Peer.Asked); err == nil && t.peer.IsZero() {
			names = append(names, r.Peer.Asked)
		}
		for _, c := range r.Peer.Candidates {
			names = append(names, c.Name)
		}
	}
	return without(names, text)
}

// without replaces names in a text, also as lines show them. What contains
// another name goes first: its rest would stay.
func without(names []string, from string) string {
	for _, name := range names {
		names = append(names, text.Mask(name), printable(name))
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	for _, name := range names {
		if len(name) > 1 {
			from = strings.ReplaceAll(from, name, "(name)")
		}
	}
	return from
}

// nameless reads a state of package p2p, and removes names, metadata, and
// hooks' reports of libraries.
func nameless(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--state: %w", err)
	}
	var state map[string]any
	if err := json.Unmarshal(b, &state); err != nil {
		return "", fmt.Errorf("--state: %w", err)
	}
	var names []string
	strip(state, &names)
	blot(state, names)
	b, err = json.MarshalIndent(state, "", "  ")
	return string(b), err
}

// strip takes out what has names, and adds these to names.
func strip(value any, names *[]string) {
	switch value := value.(type) {
	case map[string]any:
		if metadata, ok := value["metadata"].(map[string]any); ok {
			take(metadata["name"], names)
		}
		delete(value, "metadata")
		delete(value, "libraries")
		_, peer := value["identity"]
		if _, member := value["instance"]; peer || member {
			take(value["name"], names)
			delete(value, "name")
		}
		for _, inside := range value {
			strip(inside, names)
		}
	case []any:
		for _, inside := range value {
			strip(inside, names)
		}
	}
}

func take(name any, names *[]string) {
	if name, ok := name.(string); ok {
		*names = append(*names, name)
	}
}

// lookups finds the host that an error says was looked for.
var lookups = regexp.MustCompile(`(lookup )[^ ]+?(:? )`)

// blot replaces names in texts for people.
func blot(value any, names []string) {
	switch value := value.(type) {
	case map[string]any:
		for key, inside := range value {
			text, ok := inside.(string)
			if ok && (key == "error" || key == "cause" || key == "unreachable") {
				value[key] = without(names, lookups.ReplaceAllString(text, "${1}(name)${2}"))
			}
			blot(inside, names)
		}
	case []any:
		for _, inside := range value {
			blot(inside, names)
		}
	}
}
