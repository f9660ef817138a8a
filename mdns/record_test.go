package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/dnssd"
	"github.com/sdp2p/p2p/p2ptest"
)

// As much metadata as a node may have is announced whole, with the node's own fields first.
func TestFullMetadata(t *testing.T) {
	n, err := p2p.Start(t.Context(), p2p.Config{
		App: "test", Name: "n", Version: "1", Hooks: []p2p.Hook{p2ptest.NewNetwork(p2ptest.Config{}).Listener(p2ptest.ListenerConfig{})},
	})
	require.NoError(t, err)
	defer n.Shutdown(context.Background())
	require.NoError(t, n.UpdateMetadata(func(m map[string]string) {
		for i := 0; len(m) < 128; i++ {
			m[fmt.Sprint("a", i)] = "v"
		}
	}))
	announced, err := services(n)
	require.NoError(t, err)
	require.Len(t, announced, 1)
	require.Equal(t, n.Identity().String(), announced[0].Instance)
	require.Len(t, announced[0].TXT, 129)
	require.Equal(t, "name=n", announced[0].TXT[0])
	require.Contains(t, announced[0].TXT[:6], "sdp2p=2")
	engine, err := dnssd.New(dnssd.Config{Service: "_test._udp"})
	require.NoError(t, err)
	require.NoError(t, engine.Publish(announced...))

	id, metadata, candidates, err := parseInstance(dnssd.Instance{
		Name: announced[0].Instance, TXT: announced[0].TXT,
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:1")}, OffLink: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1")},
		LinkLocal: []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%lo]:1")},
	})
	require.NoError(t, err)
	require.Equal(t, n.Identity(), id)
	require.Equal(t, n.Metadata(), metadata)
	require.Len(t, candidates, 2, "a link-local address is no candidate")
	require.Equal(t, 2, candidates[0].Version)
}

func TestParseTXT(t *testing.T) {
	library := "d66e0000-0000-0000-0000-0000000000%02x=" + identity.New().Remote().String()
	var txt []string
	for i := range p2p.MaxLibraries + 1 {
		txt = append(txt, fmt.Sprintf(library, i))
	}
	txt = append(txt, "name=Zoë \\ \"=\"", "name=second", "boolean", "=empty key", "bad key\x01=v", "bytes=\xff", "os=MacOS", "sdp2p=x", "SDP2P=2", "sdp2p=3")
	metadata, says := parseTXT(txt)
	require.Equal(t, 2, says)
	require.Equal(t, "Zoë \\ \"=\"", metadata["name"])
	require.Equal(t, "macos", p2p.ParseNodeMetadata(metadata).OperatingSystem)
	require.Len(t, metadata, p2p.MaxLibraries+2)
	require.NoError(t, p2p.ValidateMetadata(metadata))

	slices.Reverse(txt[:p2p.MaxLibraries+1]) // the first implementation's order changes with each announcement
	again, _ := parseTXT(txt)
	require.Equal(t, metadata, again)

	txt = nil // 129 entries, and the node's name last
	for i := range 128 {
		txt = append(txt, fmt.Sprintf("%03d=v", i))
	}
	metadata, _ = parseTXT(append(txt, "name=n"))
	require.Len(t, metadata, 128)
	require.Equal(t, "n", metadata["name"])
	require.NotContains(t, metadata, "127")

	metadata, says = parseTXT(nil) // version 1's, with nothing
	require.Empty(t, metadata)
	require.Zero(t, says)
	_, _, _, err := parseInstance(dnssd.Instance{Name: strings.Repeat("A", 43)})
	require.ErrorIs(t, err, identity.ErrInvalid)
}

// Without a scanner, or asked for something that cannot be, Scan says what to do.
func TestScanRefuses(t *testing.T) {
	linked := asker.Swap(nil) // the examples import one
	t.Cleanup(func() { asker.Store(linked) })
	_, err := Scan(t.Context(), "test", ScanConfig{})
	require.ErrorIs(t, err, ErrNoScanner)
	RegisterScanner(func(context.Context, string, *net.Interface, time.Duration) ([]Answer, error) {
		t.Error("nothing is to be asked")
		return nil, nil
	})
	_, err = Scan(t.Context(), "double--hyphen", ScanConfig{})
	require.ErrorContains(t, err, "1 to 12 letters", "an app that no node can have")
	_, err = Scan(t.Context(), "test", ScanConfig{Interface: "no such interface"})
	require.ErrorContains(t, err, "no such interface")
}

// A scan asks again and again on every interface, and unites the answers.
func TestScan(t *testing.T) { synctest.Test(t, scanAgain) }

func scanAgain(t *testing.T) {
	ids := []string{identity.New().Remote().String(), identity.New().Remote().String()}
	slices.Sort(ids)
	addr4, other, addr6 := netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1"), netip.MustParseAddrPort("[2001:db8::1]:1")
	first := time.Now()
	last := first.Add(time.Second)
	failure := errors.New("it does not work")
	var mu sync.Mutex
	asked := map[string]int{}
	ask := func(ctx context.Context, service string, on *net.Interface, within time.Duration) ([]Answer, error) {
		time.Sleep(within) // simulated
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, "_test._udp", service)
		asked[on.Name]++
		switch {
		case on.Name == "broken":
			return nil, failure
		case on.Name == "cable" && asked[on.Name] == 1:
			return []Answer{{ids[1], []string{"name=new"}, []netip.AddrPort{addr6}, last}, {"no identity", nil, nil, first}}, nil
		case on.Name == "cable" && asked[on.Name] == 2:
			return []Answer{{ids[1], []string{"name=old"}, []netip.AddrPort{other}, first}}, nil
		case on.Name == "radio" && asked[on.Name] == 2:
			return []Answer{{ids[1], []string{"name=old"}, []netip.AddrPort{addr4, addr6}, first}, {ids[0], []string{"name=a", "sdp2p=2"}, nil, first}}, nil
		}
		return nil, nil
	}
	run := func(ctx context.Context, cfg ScanConfig, names ...string) ([]Scanned, error) {
		var interfaces []net.Interface
		for _, name := range names {
			interfaces = append(interfaces, net.Interface{Name: name})
		}
		return (&scan{ask: ask, service: "_test._udp", found: map[identity.RemoteIdentity]*Scanned{}}).run(ctx, interfaces, cfg)
	}
	var warnings []error
	cfg := ScanConfig{Time: 3 * scanRound, Warn: func(err error) { warnings = append(warnings, err) }}
	all, err := run(t.Context(), cfg, "cable", "broken", "radio")
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, map[string]string{"name": "a"}, all[0].Metadata)
	require.Equal(t, ids[1], all[1].Identity.String())
	require.Equal(t, []netip.AddrPort{addr4, other, addr6}, all[1].Addrs)
	require.Equal(t, map[string]string{"name": "new"}, all[1].Metadata, "what was heard last counts")
	require.Equal(t, last, all[1].Heard)
	require.Len(t, warnings, 1)
	require.ErrorIs(t, warnings[0], failure)
	require.ErrorContains(t, warnings[0], "broken")
	require.Equal(t, 1, asked["broken"])

	warnings = nil
	_, err = run(t.Context(), cfg, "broken", "broken")
	require.ErrorIs(t, err, failure)
	require.Empty(t, warnings)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	all, err = run(ended, ScanConfig{Time: time.Hour}, "cable", "broken")
	require.NoError(t, err)
	require.Empty(t, all)
}

func FuzzParseTXT(f *testing.F) {
	f.Add("name=x", "sdp2p=2", "a")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		metadata, says := parseTXT([]string{a, b, c})
		require.NoError(t, p2p.ValidateMetadata(metadata))
		require.GreaterOrEqual(t, says, 0)
	})
}
