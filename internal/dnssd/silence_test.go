package dnssd_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/internal/dnssd/dnssdtest"
)

// nothingYet is the list of lines of an empty buffer.
var nothingYet = []string{""}

// logging returns a configuration with these interfaces, and its log.
func logging(interfaces ...string) (dnssd.Config, *lockedBuffer) {
	var logged lockedBuffer
	return dnssd.Config{Interfaces: interfaces, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, &logged
}

// requireLogged requires that the log consists of lines with these texts, and
// no others.
func requireLogged(t *testing.T, logged *lockedBuffer, says ...[]string) {
	t.Helper()
	lines := slices.DeleteFunc(logged.lines(), func(line string) bool { return line == "" })
	require.Len(t, lines, len(says), "%q", lines)
	for i, words := range says {
		for _, word := range words {
			require.Contains(t, lines[i], word)
		}
	}
}

// A start without a network is logged once, after 2 s, and so is the first
// network.
func TestStartWithoutNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := dnssdtest.NewHost()
		cfg, logged := logging()
		run := runWith(t, h, cfg)
		pass(1900 * time.Millisecond)
		require.Equal(t, nothingYet, logged.lines())
		pass(200 * time.Millisecond)
		warning := []string{"level=WARN", "discovery finds nobody", "connect this device to a network"}
		requireLogged(t, logged, warning)
		pass(24 * time.Hour)
		requireLogged(t, logged, warning)

		h.Plug(link, eth(1))
		pass(5 * time.Second)
		info := []string{"level=INFO", "discovery has a network interface now", "interface=eth0"}
		requireLogged(t, logged, warning, info)
		h.Unplug(2) // later changes are not logged
		pass(time.Hour)
		h.Plug(link, eth(1))
		pass(time.Hour)
		requireLogged(t, logged, warning, info)
		run.stop()
		requireLogged(t, logged, warning, info)
	})
}

// Nothing is logged about an interface that comes within 2 s, or about one that
// cannot be used for a while later on. An interface that discovery cannot use
// does not count as a network.
func TestStartWithSlowNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := dnssdtest.NewHost()
		cfg, logged := logging()
		runWith(t, h, cfg)
		pass(10 * time.Millisecond)
		h.Plug(dnssdtest.NewLink(), eth(1))
		pass(time.Minute)
		down := eth(1)
		down.Up = false
		h.Change(down)
		pass(time.Hour)
		require.Equal(t, nothingYet, logged.lines())
	})
	for name, change := range map[string]func(*dnssd.Interface){
		"down":           func(i *dnssd.Interface) { i.Up = false },
		"no address":     func(i *dnssd.Interface) { i.Addrs = nil },
		"loopback":       func(i *dnssd.Interface) { i.Loopback = true },
		"point-to-point": func(i *dnssd.Interface) { i.PointToPoint = true },
		"no multicast":   func(i *dnssd.Interface) { i.Multicast = false },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				ifc := eth(1)
				change(&ifc)
				cfg, logged := logging()
				runWith(t, hostOn(dnssdtest.NewLink(), ifc), cfg)
				pass(time.Minute)
				requireLogged(t, logged, []string{"discovery finds nobody", "there=eth0"})
			})
		})
	}
}

// Names of interfaces that do not exist are logged once, along with the
// existing ones; and so is each interface that appears.
func TestMissingInterfaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := hostOn(link, eth(1))
		cfg, logged := logging("wlan0", "eth0", "usb0")
		runWith(t, h, cfg)
		pass(1900 * time.Millisecond)
		require.Equal(t, nothingYet, logged.lines())
		pass(time.Hour)
		missing := []string{"level=WARN", "do not exist", `missing="wlan0 usb0"`, "there=eth0"}
		requireLogged(t, logged, missing)
		come := eth(1)
		come.Index, come.Name, come.Addrs = 3, "usb0", []netip.Prefix{netip.MustParsePrefix("10.1.0.1/16")}
		h.Plug(link, come)
		pass(time.Hour)
		there := []string{"level=INFO", "is there now", "interface=usb0"}
		requireLogged(t, logged, missing, there)
		h.Unplug(3)
		pass(time.Hour)
		h.Plug(link, come)
		pass(time.Hour)
		requireLogged(t, logged, missing, there)
	})
	// If all are missing, one line is enough; if one exists but cannot be used,
	// that is logged, too.
	bubble(t, func(t *testing.T) {
		cfg, logged := logging("wlan0")
		runWith(t, hostOn(dnssdtest.NewLink(), eth(1)), cfg)
		pass(time.Hour)
		requireLogged(t, logged, []string{"missing=wlan0"})
	})
	bubble(t, func(t *testing.T) {
		down := eth(1)
		down.Up = false
		h := hostOn(dnssdtest.NewLink(), down)
		cfg, logged := logging("wlan0", "eth0")
		runWith(t, h, cfg)
		pass(time.Hour)
		says := [][]string{{"missing=wlan0", "there=eth0"}, {"none of its network interfaces is up", `interfaces="wlan0 eth0"`}}
		requireLogged(t, logged, says...)
		h.Change(eth(1))
		pass(time.Minute)
		requireLogged(t, logged, append(says, []string{"has a network interface now", "interface=eth0"})...)
	})
}

// Engines that run one after another log each thing once.
func TestSilenceIsShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		link := dnssdtest.NewLink()
		h := dnssdtest.NewHost()
		cfg, logged := logging("eth0", "wlan0")
		cfg.Silence = new(dnssd.Silence)
		says := [][]string{{"missing=\"eth0 wlan0\""}}
		for range 3 {
			n := runWith(t, h, cfg)
			pass(time.Minute)
			n.stop()
			requireLogged(t, logged, says...)
		}
		h.Plug(link, eth(1))
		runWith(t, h, cfg)
		pass(time.Minute)
		requireLogged(t, logged, append(says, []string{"is there now", "interface=eth0"})...)
	})
	bubble(t, func(t *testing.T) {
		h := dnssdtest.NewHost()
		cfg, logged := logging()
		cfg.Silence = new(dnssd.Silence)
		for range 3 {
			n := runWith(t, h, cfg)
			pass(time.Minute)
			n.stop()
			requireLogged(t, logged, []string{"finds nobody"})
		}
	})
}

// If interfaces cannot be listed, only that is logged.
func TestSilenceWithoutList(t *testing.T) {
	bubble(t, func(t *testing.T) {
		cfg, logged := logging("wlan0")
		h := &secretive{Host: dnssdtest.NewHost()}
		cfg.Service, cfg.Network = serviceType, h
		e, err := dnssd.New(cfg)
		require.NoError(t, err)
		ended := make(chan error, 1)
		go func() { ended <- e.Run(t.Context()) }()
		t.Cleanup(func() { require.NoError(t, <-ended) })
		pass(time.Hour)
		requireLogged(t, logged, []string{"cannot list network interfaces"})
	})
}

// A secretive host cannot list its interfaces.
type secretive struct{ *dnssdtest.Host }

func (*secretive) Interfaces() ([]dnssd.Interface, error) { return nil, errors.New("not permitted") }
