package main

import (
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/contact"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/mdns/scan"
	"github.com/sdp2p/p2p/quic"
)

// private starts a node that is visible to one contact only.
func private(t *testing.T, app string, to identity.RemoteIdentity) *p2p.P2P {
	t.Helper()
	listener := quic.New(quic.Config{})
	contacts := contact.New(contact.Config{Listener: listener})
	require.NoError(t, contacts.Set([]identity.RemoteIdentity{to}))
	discovery := mdns.New(mdns.Config{Mode: mdns.ContactsOnly, Contacts: contacts, Interfaces: []string{exampletest.Loopback(t)}})
	node, err := p2p.Start(t.Context(), p2p.Config{App: app, Name: hostile, Hooks: []p2p.Hook{listener, contacts, discovery}})
	require.NoError(t, err)
	t.Cleanup(func() { shutdown(t.Context(), node) })
	return node
}

// With the app's key and a contact's key, the doctor tells that this contact is
// here. Without the keys, neither the doctor nor a scan tells this; they only
// tell that somebody is here.
func TestDoctorContacts(t *testing.T) {
	// Random, since tests of other checkouts on this host would be counted, too.
	app := "hid-" + rand.Text()[:6]
	key := filepath.Join(t.TempDir(), "key.pem")
	own, err := identity.Create(key)
	require.NoError(t, err)
	node := private(t, app, own.Remote())
	doctor := func(args ...string) (*report, int, string) {
		args = append([]string{"doctor", "--app", app, "--interface", exampletest.Loopback(t), "--time", "1s", "--json", "--port", "7399"}, args...)
		status, stdout, stderr := sdp2p(t.Context(), args...)
		if stdout == "" {
			return nil, status, stderr
		}
		return decoded(t, stdout), status, stderr
	}
	r, _, _ := doctor()
	require.Len(t, r.about("contacts"), 1)
	require.Equal(t, "1 node is visible to contacts only; their identities are hidden", r.about("contacts")[0].Value)
	other := identity.New().Remote()
	r, _, _ = doctor("--key", key, "--contact", node.Identity().String(), "--contact", other.String())
	checks := r.about("contacts")
	require.Len(t, checks, 3)
	require.Equal(t, check{"contacts", node.Identity().String(), fine, codeOK, checks[1].Value, ""}, checks[1])
	require.Contains(t, checks[1].Value, "here at [127.0.0.1:")
	require.Equal(t, codeNoContact, checks[2].Code)

	_, status, stderr := doctor("--contact", other.String())
	require.Equal(t, exitUsage, status)
	require.Contains(t, stderr, "--key FILE")
	_, status, _ = doctor("--key", key, "--contact", "nobody")
	require.Equal(t, exitUsage, status)

	status, stdout, stderr := scanning(t.Context(), scan.Scan, "scan", "--app", app, "--interface", exampletest.Loopback(t), "--time", "1s")
	require.Equal(t, exitDone, status, stderr)
	require.Empty(t, stdout)
	require.Equal(t, "sdp2p scan: 1 node is visible to contacts only, and not listed\n", stderr)
}
