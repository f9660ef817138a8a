package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/sdp2p/p2p/identity"
)

const idHelp = `FILE is a key file: it contains the secret that identifies a device, and only the user of the app may read it (mode 0600).
Only the public key is ever printed. --create makes a new file, and never overwrites one. With --json there is one object,
always with these keys:

  file         as given
  created      whether it was just made
  identity     the public key, in 43 characters of base64, which identifies this device to others
  fingerprint  of that key, for people to compare
`

// A key is the output of --json for a key file; idHelp describes it.
type key struct {
	File        string                  `json:"file"`
	Created     bool                    `json:"created"`
	Identity    identity.RemoteIdentity `json:"identity"`
	Fingerprint string                  `json:"fingerprint"`
}

func id(flags *flag.FlagSet) action {
	create := flags.Bool("create", false, "make a new identity, in a file that does not exist")
	asJSON := flags.Bool("json", false, "print JSON instead of text")
	return func(_ context.Context, args []string, stdout, _ io.Writer) error {
		switch {
		case len(args) == 0 || args[0] == "":
			return usageError{errors.New("which FILE?")}
		case len(args) > 1:
			return usageError{fmt.Errorf("%q is one argument too many; flags go before FILE", args[1])}
		}
		file, use := args[0], identity.Load
		if *create {
			use = identity.Create
		}
		own, err := use(file)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, remedy(file, *create, err))
		}
		k := key{file, *create, own.Remote(), own.Remote().Fingerprint()}
		if *asJSON {
			return writeJSON(stdout, k)
		}
		_, err = fmt.Fprintf(stdout, "identity     %v\nfingerprint  %s\n", k.Identity, k.Fingerprint)
		return err
	}
}

// remedy says what to do about a key file that cannot be used or made.
func remedy(file string, create bool, err error) string {
	var disk *fs.PathError
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Sprintf(`It is unchanged: "sdp2p id %s" shows its contents. Another identity needs another file.`, file)
	case errors.Is(err, fs.ErrNotExist) && create:
		return fmt.Sprintf("The folder has to exist: mkdir -p %s", filepath.Dir(file))
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf(`"sdp2p id --create %s" makes one.`, file)
	case errors.Is(err, identity.ErrPermissions):
		return fmt.Sprintf("chmod 600 %s\nAnyone who could read it until now may have the key: if that was somebody else, make a new identity.", file)
	case errors.Is(err, fs.ErrPermission):
		return "Only the owner of the file and its folder may use it."
	case errors.As(err, &disk):
		return "Is the name right, and is the disk in order?"
	}
	return "Is it the right file? If a key file is damaged, only a copy of it brings the identity back; with a new identity, other devices\n" +
		"take this one for another device, and have to be paired again."
}
