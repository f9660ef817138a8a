package netlab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An Avahi is an avahi-daemon on a host, with a bus of its own.
type Avahi struct {
	h      *Host
	env    []string
	config string
	daemon *Tool
}

const (
	busConfig = `<busconfig><type>system</type><listen>%s</listen><auth>EXTERNAL</auth><policy context="default">` +
		`<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/></policy></busconfig>`
	avahiConfig = "[server]\nhost-name=avahi-%d\nallow-interfaces=%s\nuse-ipv4=yes\nuse-ipv6=yes\n" +
		"ratelimit-interval-usec=1000000\nratelimit-burst=1000\n[publish]\npublish-workstation=no\npublish-hinfo=no\n"
)

// Avahi starts avahi-daemon on the host, until the test ends.
func (h *Host) Avahi(t testing.TB) *Avahi {
	t.Helper()
	dir, err := os.MkdirTemp("", "avahi") // short, for the path of a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	bus := "unix:path=" + filepath.Join(dir, "bus")
	a := &Avahi{h: h, env: []string{"DBUS_SYSTEM_BUS_ADDRESS=" + bus, "LC_ALL=C.UTF-8"}, config: filepath.Join(dir, "avahi.conf")}
	conf := filepath.Join(dir, "bus.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, busConfig, bus), 0o600))
	require.NoError(t, os.WriteFile(a.config, fmt.Appendf(nil, avahiConfig, h.number, Interface), 0o600))
	h.Tool(t, a.env, "dbus-daemon", "--nofork", "--print-address=1", "--config-file="+conf).Await(time.Time{}, "unix:")
	a.Start(t)
	return a
}

// Start starts the daemon, after Stop.
func (a *Avahi) Start(t testing.TB) {
	t.Helper()
	// A directory of its own for the process id: the system may have a daemon,
	// and other hosts of labs too. What ip netns exec mounts is seen by that
	// process only.
	const script = `mkdir -p /run/avahi-daemon && mount -t tmpfs none /run/avahi-daemon && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f "$0"`
	a.daemon = a.h.Tool(t, a.env, "sh", "-c", script, a.config)
	a.daemon.Await(time.Time{}, "startup complete")
}

// Stop stops the daemon, which says its goodbyes, and returns when it was told
// to.
func (a *Avahi) Stop() time.Time {
	a.h.lab.t.Helper()
	return a.daemon.Terminate()
}

// Browse starts avahi-browse for a service type, such as _sd._udp. It prints +,
// = (resolved) and - lines, in its format for programs.
func (a *Avahi) Browse(t testing.TB, service string) *Tool {
	t.Helper()
	return a.h.Tool(t, a.env, "avahi-browse", "-rpk", service)
}

// Publish starts avahi-publish for an instance of a service type, and waits
// until it is established.
func (a *Avahi) Publish(t testing.TB, instance, service, port string, txt ...string) *Tool {
	t.Helper()
	p := a.h.Tool(t, a.env, "avahi-publish", append([]string{"-s", instance, service, port}, txt...)...)
	p.Await(time.Time{}, "Established")
	return p
}
