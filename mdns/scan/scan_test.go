package scan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// For an invalid app or interface, Scan fails without asking.
func TestScanRefuses(t *testing.T) {
	ask := func(context.Context, string, *net.Interface, time.Duration) ([]answer, error) {
		t.Error("Scan must not ask")
		return nil, nil
	}
	_, err := scan(t.Context(), "double--hyphen", Config{}, ask)
	require.ErrorContains(t, err, "1 to 12 letters", "an invalid app name")
	_, err = scan(t.Context(), "test", Config{Interface: "no such interface"}, ask)
	require.ErrorContains(t, err, "no such interface")
}

// Scan asks on the named interface, even if that is a loopback interface.
func TestScanInterface(t *testing.T) {
	all, err := net.Interfaces()
	require.NoError(t, err)
	i := slices.IndexFunc(all, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	if i < 0 {
		t.Skip("no loopback interface")
	}
	id := identity.New().Remote()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found, err := scan(ctx, "test", Config{Interface: all[i].Name, Time: time.Hour},
		func(_ context.Context, service string, on *net.Interface, _ time.Duration) ([]answer, error) {
			cancel()
			if service != "_test._udp" || on.Index != all[i].Index {
				return nil, fmt.Errorf("asked for %q on %q", service, on.Name)
			}
			return []answer{{instance: id.String()}}, nil
		})
	require.NoError(t, err)
	require.Equal(t, []Node{{Identity: id, Metadata: map[string]string{}}}, found)
}

// A network has three interfaces, one of them broken, and the answers that a
// scan hears on them.
type network struct {
	ids                  []string
	addr4, other4, addr6 netip.AddrPort
	first, last          time.Time
	failure              error

	mu    sync.Mutex
	asked map[string]int
}

func newNetwork() *network {
	n := &network{
		ids:   []string{identity.New().Remote().String(), identity.New().Remote().String()},
		addr4: netip.MustParseAddrPort("10.0.0.1:1"), other4: netip.MustParseAddrPort("10.0.0.2:1"),
		addr6: netip.MustParseAddrPort("[2001:db8::1]:1"),
		first: time.Now(), last: time.Now().Add(time.Second), failure: errors.New("it does not work"),
		asked: map[string]int{},
	}
	slices.Sort(n.ids)
	return n
}

// ask implements askFunc.
func (n *network) ask(ctx context.Context, service string, on *net.Interface, wait time.Duration) ([]answer, error) {
	select {
	case <-time.After(wait): // simulated time
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[on.Name]++
	switch {
	case on.Name == "broken":
		return nil, n.failure
	case service != "_test._udp":
		return nil, fmt.Errorf("asked for %q", service)
	case on.Name == "cable" && n.asked[on.Name] == 1:
		return []answer{{n.ids[1], []string{"name=new"}, []netip.AddrPort{n.addr6}, n.last}, {"no identity", nil, nil, n.first}}, nil
	case on.Name == "cable" && n.asked[on.Name] == 2:
		return []answer{{n.ids[1], []string{"name=old"}, []netip.AddrPort{n.other4}, n.first}}, nil
	case on.Name == "radio" && n.asked[on.Name] == 2:
		return []answer{
			{n.ids[1], []string{"name=old"}, []netip.AddrPort{n.addr4, n.addr6}, n.first},
			{n.ids[0], []string{"name=a", "sdp2p=2"}, nil, n.first},
		}, nil
	}
	return nil, nil
}

func (n *network) scan(ctx context.Context, cfg Config, names ...string) ([]Node, error) {
	var interfaces []net.Interface
	for _, name := range names {
		interfaces = append(interfaces, net.Interface{Name: name})
	}
	return newSurvey("test", n.ask).run(ctx, interfaces, cfg)
}

// A scan asks several times on every interface, and merges the answers. An
// interface that fails is reported.
func TestScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		var warnings []error
		cfg := Config{Time: 3 * round, Warn: func(err error) { warnings = append(warnings, err) }}
		all, err := n.scan(t.Context(), cfg, "cable", "broken", "radio")
		require.NoError(t, err)
		require.Equal(t, 3*round, time.Since(n.first))
		require.Len(t, all, 2)
		require.Equal(t, map[string]string{"name": "a"}, all[0].Metadata)
		require.Equal(t, n.ids[1], all[1].Identity.String())
		require.Equal(t, []netip.AddrPort{n.addr4, n.other4, n.addr6}, all[1].Addrs)
		require.Equal(t, map[string]string{"name": "new"}, all[1].Metadata, "the latest answer counts")
		require.Equal(t, n.last, all[1].Heard)
		require.Len(t, warnings, 1)
		require.ErrorIs(t, warnings[0], n.failure)
		require.ErrorContains(t, warnings[0], "broken")
		require.Equal(t, map[string]int{"cable": 3, "radio": 3, "broken": 1}, n.asked)

		cfg.Warn = nil
		again, err := newNetwork().scan(t.Context(), cfg, "cable", "broken")
		require.NoError(t, err)
		require.Len(t, again, 1, "without a callback, there are no warnings")
	})
}

// A scan that cannot ask on any interface fails, and reports no warnings.
func TestScanFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		_, err := n.scan(t.Context(), Config{Warn: func(err error) { t.Error(err) }}, "broken", "broken")
		require.ErrorIs(t, err, n.failure)
		require.Equal(t, 2, n.asked["broken"])
	})
}

// The end of the context is not an error: it ends the scan, which returns the
// nodes found by then.
func TestScanCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		ctx, cancel := context.WithTimeout(t.Context(), round+round/2)
		defer cancel()
		all, err := n.scan(ctx, Config{Time: time.Hour}, "cable", "radio")
		require.NoError(t, err)
		require.Equal(t, round+round/2, time.Since(n.first))
		require.Len(t, all, 1)
		require.Equal(t, n.ids[1], all[0].Identity.String())

		all, err = n.scan(ctx, Config{Time: time.Hour}, "cable", "broken")
		require.NoError(t, err)
		require.Empty(t, all)
	})
}

// With the zero Config, a scan takes two seconds.
func TestScanTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cfg := range []Config{{}, {Time: -1}, {Time: 2 * time.Second}} {
			n := newNetwork()
			_, err := n.scan(t.Context(), cfg, "radio")
			require.NoError(t, err)
			require.Equal(t, 2*time.Second, time.Since(n.first))
		}
	})
}
