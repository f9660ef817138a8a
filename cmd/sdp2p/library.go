package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sdp2p/p2p/library"
)

const libraryHelp = `FOLDER is the folder with an app's libraries (library.Store); the app must not run meanwhile. KEY is a file with the
recovery key of one of them, as the app showed it once; "-" reads it from standard input. This device becomes an admin of
that library, and each --remove, a name or a fingerprint, removes a member, which may be an admin. The app tells the other
devices once it runs again. Data that was only on lost devices does not come back.
`

// libraryKeySize is the maximum size of a key file.
const libraryKeySize = 4096

func libraries(flags *flag.FlagSet) action {
	file := flags.String("key-file", "", "the file with the recovery key")
	var remove []string
	flags.Func("remove", "a member to remove; may be repeated", func(s string) error { remove = append(remove, s); return nil })
	return func(_ context.Context, args []string, stdout, _ io.Writer) error {
		if len(args) > 0 && args[0] == "recover" { // flags may follow it, too
			if err := flags.Parse(args[1:]); err != nil {
				return usageError{err}
			}
			args = append([]string{"recover"}, flags.Args()...)
		}
		if len(args) != 2 || args[0] != "recover" || *file == "" {
			return usageError{errors.New("recover, --key-file and FOLDER are required")}
		}
		key, err := readRecoveryKey(*file)
		if err != nil {
			return err
		}
		if _, err := os.Stat(args[1]); err != nil {
			return err // without making the folder
		}
		store, err := library.OpenStore(args[1])
		if errors.Is(err, library.ErrInUse) {
			return fmt.Errorf("quit the app first: %w", err)
		} else if err != nil {
			return err
		}
		return errors.Join(recoverLibrary(store, key, remove, stdout), store.Close())
	}
}

func readRecoveryKey(file string) (key library.RecoveryKey, err error) {
	in := os.Stdin
	if file != "-" {
		if in, err = os.Open(file); err != nil {
			return key, err
		}
		defer in.Close()
	}
	text, err := io.ReadAll(io.LimitReader(in, libraryKeySize))
	if err != nil {
		return key, err
	}
	return library.ParseRecoveryKey(string(text))
}

// recoverLibrary makes this device an admin of the library that a key made, and
// removes members of it.
func recoverLibrary(store *library.Store, key library.RecoveryKey, remove []string, out io.Writer) error {
	for _, l := range library.New(library.Config{Store: store}).All() {
		if l.Record().Founder != key.Founder() {
			continue
		}
		name := l.Record().Name
		if l.Role() != library.RoleAdmin {
			if err := l.Promote(l.Instance(), key); err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
		}
		fmt.Fprintf(out, "this device is an admin of %q\n", name)
		for _, who := range remove {
			m, err := findMember(l, who)
			if err == nil {
				err = l.Remove(m.Instance, library.RemoveOptions{Key: key})
			}
			if err != nil {
				return fmt.Errorf("%q: %w", name, err)
			}
			fmt.Fprintf(out, "%q (%s) is removed\n", m.Name, m.Node.Fingerprint())
		}
		return nil
	}
	return errors.New("no library in the folder was made with this key")
}

func findMember(l *library.Library, who string) (found library.Member, err error) {
	for _, m := range l.Members() {
		if m.Member.Name != who && m.Member.Node.Fingerprint() != who {
			continue
		}
		if !found.Instance.IsZero() {
			return found, fmt.Errorf("several members are called %q: use a fingerprint", who)
		}
		found = m.Member
	}
	if found.Instance.IsZero() {
		return found, fmt.Errorf("no member is called %q; the members are %s", who, names(l))
	}
	return found, nil
}

func names(l *library.Library) string {
	var all []string
	for _, m := range l.Members() {
		all = append(all, fmt.Sprintf("%q (%s)", m.Member.Name, m.Member.Node.Fingerprint()))
	}
	return strings.Join(all, ", ")
}
