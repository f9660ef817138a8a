package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
)

// notebook makes the store of a phone that is a member of a library whose only
// admin is a laptop.
func notebook(t *testing.T) (folder string, key library.RecoveryKey) {
	laptop := library.New(library.Config{})
	node, err := p2p.Start(t.Context(), p2p.Config{App: "test", Name: "Laptop", Hooks: []p2p.Hook{laptop}})
	require.NoError(t, err)
	defer node.Shutdown(context.Background())
	key = library.NewRecoveryKey()
	l, err := laptop.Found("Notes", key)
	require.NoError(t, err)
	instance, record := identity.New(), l.Record()
	first, err := record.First(identity.New(), instance)
	require.NoError(t, err)
	_, err = l.Admit(first, library.RoleMember, "Phone", library.RecoveryKey{})
	require.NoError(t, err)

	folder = filepath.Join(t.TempDir(), "libraries")
	store, err := library.OpenStore(folder)
	require.NoError(t, err)
	_, err = library.New(library.Config{Store: store}).Add(l.Record(), instance)
	require.NoError(t, err)
	require.NoError(t, store.Close())
	return folder, key
}

// keyFile writes a recovery key to a file, with the white space that a user may
// have copied.
func keyFile(t *testing.T, key library.RecoveryKey) string {
	file := filepath.Join(t.TempDir(), "key")
	text := key.Text()
	require.NoError(t, os.WriteFile(file, []byte("  "+text[:20]+"\n"+text[20:]+"\n"), 0o600))
	return file
}

func TestLibraryRecover(t *testing.T) {
	folder, key := notebook(t)
	status, stdout, stderr := sdp2p(t.Context(), "library", "recover", "--key-file", keyFile(t, key), "--remove", "Laptop", folder)
	require.Zero(t, status, stderr)
	require.Regexp(t, `^this device is an admin of "Notes"\n"Laptop" \((\w{4}-){3}\w{4}\) is removed\n$`, stdout)

	store, err := library.OpenStore(folder)
	require.NoError(t, err)
	defer store.Close()
	l := library.New(library.Config{Store: store}).All()[0]
	require.Equal(t, library.RoleAdmin, l.Role())
	require.Empty(t, l.Members())

	status, _, stderr = sdp2p(t.Context(), "library", "--key-file", keyFile(t, key), "recover", folder)
	require.Equal(t, exitFailed, status)
	require.Contains(t, stderr, "quit the app first")
}

// The command refuses whatever does not fit together, says why, and changes
// nothing.
func TestLibraryRecoverRefuses(t *testing.T) {
	folder, key := notebook(t)
	file := keyFile(t, key)
	wrong := filepath.Join(t.TempDir(), "wrong")
	require.NoError(t, os.WriteFile(wrong, []byte(key.Text()+"a"), 0o600))
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	for want, args := range map[string][]string{
		"--key-file and FOLDER":                                 {folder},
		"not a recovery key, or one with a mistake":             {"recover", "--key-file", wrong, folder},
		"no library in the folder was made with this":           {"recover", "--key-file", keyFile(t, library.NewRecoveryKey()), folder},
		"nowhere: no such file":                                 {"recover", "--key-file", file, nowhere},
		"nokey: no such file":                                   {"recover", "--key-file", "nokey", folder},
		`no member is called "Tablet"; the members are "Laptop`: {"recover", "--key-file", file, "--remove", "Tablet", folder},
		"--key-file and FOLDER are required":                    {"recover", folder},
	} {
		status, _, stderr := sdp2p(t.Context(), append([]string{"library"}, args...)...)
		require.NotZero(t, status)
		require.Contains(t, stderr, want)
	}
	require.NoDirExists(t, nowhere)
	store, err := library.OpenStore(folder)
	require.NoError(t, err)
	defer store.Close()
	require.Len(t, library.New(library.Config{Store: store}).All()[0].Members(), 1)
}
