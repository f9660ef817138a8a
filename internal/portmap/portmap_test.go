package portmap

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bubble runs a test with a gateway, in simulated time.
func bubble(t *testing.T, name string, alter func(*gateway), f func(*testing.T, *gateway, *run)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway()
			g.started = g.started.Add(-time.Hour)
			alter(g)
			r := start(t, g.dial)
			time.Sleep(3500 * time.Millisecond) // three tries of both protocols take 3.5 s
			synctest.Wait()
			f(t, g, r)
			r.stop()
		})
	})
}

func (r *run) requireAt(t *testing.T, addr netip.Addr, port uint16) {
	t.Helper()
	got, err := r.Addr()
	require.NoError(t, err)
	require.Equal(t, netip.AddrPortFrom(addr, port), got)
}

func (r *run) requireNone(t *testing.T, cause error) {
	t.Helper()
	got, err := r.Addr()
	require.ErrorIs(t, err, cause)
	require.False(t, got.IsValid())
}

// protocols are gateways that speak only one protocol, and the requests that
// they get for a mapping.
var protocols = []struct {
	name  string
	alter func(*gateway)
	first string // versions of the first requests
	renew string
	end   string
}{
	{"PCP", func(g *gateway) { g.pmp = false }, "\x02", "\x02", "\x82"},
	{"NAT-PMP", func(g *gateway) { g.pcp = false }, "\x02\x00\x00", "\x00\x00", "\x80"},
	{"both", func(*gateway) {}, "\x02", "\x02", "\x82"},
}

// A mapping takes two datagrams. It is renewed at half of its lifetime, and
// released at the end.
func TestMapping(t *testing.T) {
	for _, p := range protocols {
		bubble(t, p.name, p.alter, func(t *testing.T, g *gateway, r *run) {
			r.requireAt(t, external, 40000)
			require.Equal(t, p.first, string(g.questions()))
			require.Equal(t, map[uint16]uint16{40000: inner}, g.mappings())
			for range 5 {
				time.Sleep(lifetime/2 - 5*time.Second)
				require.Empty(t, g.questions())
				time.Sleep(5 * time.Second)
				synctest.Wait()
				require.Equal(t, p.renew, string(g.questions()))
			}
			require.Equal(t, 1, r.changed())
			r.stop()
			require.Equal(t, p.end, string(g.questions()))
			require.Empty(t, g.mappings())
			r.requireNone(t, ErrNoGateway)
			require.LessOrEqual(t, len(g.nonces), 1, "a mapping keeps its nonce")
		})
	}
}

// A gateway may grant less time than requested, or an absurdly short time.
func TestLifetime(t *testing.T) {
	for lasts, half := range map[uint32]time.Duration{600: 300 * time.Second, 3: time.Minute, 0xffffffff: lifetime / 2} {
		bubble(t, time.Duration(half).String(), func(g *gateway) { g.lasts = lasts }, func(t *testing.T, g *gateway, r *run) {
			g.questions()
			time.Sleep(half - 5*time.Second)
			require.Empty(t, g.questions())
			time.Sleep(5 * time.Second)
			synctest.Wait()
			require.Len(t, g.questions(), 1)
		})
	}
}

// Lost datagrams are sent again.
func TestLoss(t *testing.T) {
	for _, p := range protocols {
		bubble(t, p.name, func(g *gateway) { p.alter(g); g.drop = 2 }, func(t *testing.T, g *gateway, r *run) {
			r.requireAt(t, external, 40000)
			require.Equal(t, "\x02\x02"+p.first, string(g.questions()))
		})
	}
}

// A gateway's restart is recognized by its epoch, and the mapping is made
// again, at the same port.
func TestRestart(t *testing.T) {
	for _, p := range protocols {
		bubble(t, p.name, p.alter, func(t *testing.T, g *gateway, r *run) {
			require.Equal(t, 1, r.changed())
			g.set(func() { g.mapped[40000], g.mapped[41000] = 99, inner }) // now another node's
			time.Sleep(lifetime / 2)
			synctest.Wait()
			r.requireAt(t, external, 41000)
			require.Equal(t, 2, r.changed())
			g.restart()
			require.Empty(t, g.mappings())
			time.Sleep(lifetime / 2)
			synctest.Wait()
			r.requireAt(t, external, 41000)
			require.Equal(t, map[uint16]uint16{41000: inner}, g.mappings())
			require.Equal(t, 3, r.changed(), "a change must be reported: the address is the same, but flows are lost")
		})
	}
}

// If a gateway restarts between its two answers of NAT-PMP, it is asked again.
func TestRestartMeanwhile(t *testing.T) {
	answers := 0
	restarts := func(g *gateway) {
		g.pcp = false
		g.mangle = func(b []byte) [][]byte {
			if answers++; answers == 2 { // the mapping's answer is on its way
				g.started, g.mapped = time.Now(), map[uint16]uint16{}
			}
			return [][]byte{b}
		}
	}
	bubble(t, "NAT-PMP", restarts, func(t *testing.T, g *gateway, r *run) {
		time.Sleep(again)
		synctest.Wait()
		r.requireAt(t, external, 40000)
		require.Equal(t, map[uint16]uint16{40000: inner}, g.mappings())
		require.Equal(t, "\x02\x00\x00\x02\x00\x00", string(g.questions()))
	})
}

// A refusal tells the reason, and for how long; after that, the gateway is
// asked again.
func TestRefusals(t *testing.T) {
	for _, p := range protocols {
		speaks, codes := PCP, byte(13)
		if p.name == "NAT-PMP" {
			speaks, codes = NATPMP, 5
		}
		for code := byte(2); code <= codes+1; code++ {
			want := Refusal{Protocol: speaks, Code: uint16(code)}
			wait := longError
			if speaks == PCP {
				want.Lasts, wait = 10*time.Minute, 10*time.Minute
			}
			bubble(t, p.name+": "+want.Error(), func(g *gateway) { p.alter(g); g.code, g.errLasts = code, 600 }, func(t *testing.T, g *gateway, r *run) {
				r.requireNone(t, want)
				require.Zero(t, r.changed())
				g.questions()
				time.Sleep(wait - 5*time.Second)
				require.Empty(t, g.questions())
				g.set(func() { g.code = 0 })
				time.Sleep(5 * time.Second)
				synctest.Wait()
				r.requireAt(t, external, 40000)
			})
		}
	}
}

// A mapping lasts for the time that was granted, even if the gateway refuses to
// renew it or is silent.
func TestKeptUntilItExpires(t *testing.T) {
	for _, p := range protocols {
		for what, f := range map[string]func(*gateway){"refused": func(g *gateway) { g.code, g.errLasts = 8, 30 }, "silent": func(g *gateway) { g.silent = true }} {
			bubble(t, p.name+" "+what, p.alter, func(t *testing.T, g *gateway, r *run) {
				g.set(func() { f(g) })
				g.questions()
				time.Sleep(lifetime - 10*time.Second)
				synctest.Wait()
				r.requireAt(t, external, 40000)
				asked := len(g.questions())
				require.Positive(t, asked)
				require.Less(t, asked, 30, "it is asked at ever shorter parts of the rest, at most three times each")
				time.Sleep(20 * time.Second)
				synctest.Wait()
				_, err := r.Addr()
				require.Error(t, err)
				require.Equal(t, 2, r.changed())
			})
		}
	}
}

// A silent gateway is sent three datagrams of each protocol, less and less
// often, and is asked again as soon as the network changes.
func TestSilence(t *testing.T) {
	bubble(t, "", func(g *gateway) { g.silent = true }, func(t *testing.T, g *gateway, r *run) {
		r.requireNone(t, ErrSilent)
		require.Equal(t, "\x02\x02\x02\x00\x00\x00", string(g.questions()))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		require.Less(t, len(g.questions()), 6*(5+24*3600/1024))
		r.requireNone(t, ErrSilent)
		require.Zero(t, r.changed())
		g.set(func() { g.silent = false })
		r.Renew()
		synctest.Wait()
		r.requireAt(t, external, 40000)
	})
}

// The end does not wait for a gateway that has gone.
func TestReleaseIsShort(t *testing.T) {
	bubble(t, "", func(*gateway) {}, func(t *testing.T, g *gateway, r *run) {
		g.set(func() { g.silent = true })
		began := time.Now()
		r.stop()
		require.LessOrEqual(t, time.Since(began), goodbye)
	})
	bubble(t, "while it is asked", func(g *gateway) { g.silent = true }, func(t *testing.T, g *gateway, r *run) {
		r.Renew()
		synctest.Wait()
		began := time.Now()
		r.stop()
		require.Zero(t, time.Since(began), "there is nothing to release")
	})
}

// Another network gets another mapping: the former one is no longer reported,
// and its nonce is not used.
func TestOtherNetwork(t *testing.T) {
	bubble(t, "", func(*gateway) {}, func(t *testing.T, g *gateway, r *run) {
		to := func(gateway netip.Addr, port uint16) {
			r.mu.Lock()
			r.target, r.port = gateway, port
			r.mu.Unlock()
			r.Renew()
			synctest.Wait()
		}
		to(netip.MustParseAddr("198.51.100.1"), inner)
		got, err := r.Addr()
		require.ErrorContains(t, err, "another gateway")
		require.False(t, got.IsValid())
		to(netip.Addr{}, inner)
		r.requireNone(t, ErrNoGateway)
		to(netip.MustParseAddr("2001:db8::1"), inner)
		r.requireNone(t, ErrNoGateway)
		to(router, 0)
		r.requireNone(t, ErrNoGateway)
		require.Len(t, g.nonces, 1)
		g.set(func() { g.external = netip.MustParseAddr("203.0.113.6") })
		require.Len(t, g.mappings(), 1, "the former gateway cannot be reached any more")
		to(router, inner+1)
		r.requireAt(t, netip.MustParseAddr("203.0.113.6"), 40001)
		require.Len(t, g.nonces, 2)
		to(router, inner+2)
		r.requireAt(t, netip.MustParseAddr("203.0.113.6"), 40001)
		require.Len(t, g.nonces, 3)
		require.Equal(t, map[uint16]uint16{40000: inner, 40001: inner + 2}, g.mappings(), "the former mapping must have been released")
		to(router, 0)
		r.requireNone(t, ErrNoGateway)
		require.Equal(t, map[uint16]uint16{40000: inner}, g.mappings())
	})
}

// The address that a gateway reports must be the IPv4 address of a host.
func TestLies(t *testing.T) {
	for _, addr := range []string{"0.0.0.0", "224.0.0.1", "2001:db8::1"} {
		bubble(t, addr, func(g *gateway) { g.pmp, g.external = false, netip.MustParseAddr(addr) }, func(t *testing.T, g *gateway, r *run) {
			r.requireNone(t, ErrLying)
		})
	}
}

// If a request of PCP was sent twice, the answer of NAT-PMP to it also comes
// twice.
func TestLateVersion(t *testing.T) {
	late := true
	bubble(t, "NAT-PMP", func(g *gateway) {
		g.pcp = false
		g.mangle = func(b []byte) [][]byte {
			if late && b[3] == 1 {
				late = false
				return [][]byte{b, b}
			}
			return [][]byte{b}
		}
	}, func(t *testing.T, g *gateway, r *run) {
		r.requireAt(t, external, 40000)
		require.Equal(t, "\x02\x00\x00", string(g.questions()))
	})
}

// Answers that are cut, doubled or late, or belong to another request, are
// skipped, and the next one is taken.
func TestNoise(t *testing.T) {
	for _, p := range protocols {
		for what, mangle := range map[string]func([]byte) [][]byte{
			"cut": func(b []byte) (all [][]byte) {
				for n := range b {
					if n != 8 && n != 24 || b[0] != 0 { // for which it would be an error
						all = append(all, b[:n])
					}
				}
				return append(all, b)
			},
			"doubled": func(b []byte) [][]byte { return [][]byte{b, b} },
			"another's": func(b []byte) [][]byte {
				other := append([]byte(nil), b...)
				if b[0] == 2 {
					other[30]++
				} else {
					other[1]++
				}
				return [][]byte{other, b}
			},
		} {
			bubble(t, p.name+" "+what, func(g *gateway) { p.alter(g); g.mangle = mangle }, func(t *testing.T, g *gateway, r *run) {
				r.requireAt(t, external, 40000)
			})
		}
	}
}

// Over real sockets, only the gateway is heard, and a port on which nothing
// listens is detected at once.
func TestSockets(t *testing.T) {
	listen := func() *net.UDPConn {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	g, at, stranger := newGateway(), listen(), listen()
	g.pmp = false
	go func() {
		for b := make([]byte, 2000); ; {
			n, from, err := at.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			for _, out := range g.hear(b[:n]) {
				lie := append([]byte(nil), out...)
				lie[43]++ // changes the port
				stranger.WriteToUDPAddrPort(lie, from)
				at.WriteToUDPAddrPort(out, from)
			}
		}
	}()
	changed := make(chan struct{}, 10)
	dial := func(netip.Addr) (net.Conn, error) { return net.DialUDP("udp4", nil, at.LocalAddr().(*net.UDPAddr)) }
	target := func() (netip.Addr, uint16) { return router, inner }
	m := New(Config{Target: target, Changed: func() { changed <- struct{}{} }, Logger: slog.New(slog.DiscardHandler), dial: dial})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	<-changed
	got, err := m.Addr()
	require.NoError(t, err)
	require.Equal(t, netip.AddrPortFrom(external, 40000), got)
	cancel()
	<-done
	require.Eventually(t, func() bool {
		return len(g.mappings()) == 0
	}, time.Minute, time.Millisecond, "released")

	at.Close()
	conn, err := dial(router)
	require.NoError(t, err)
	defer conn.Close()
	_, err = exchange(t.Context(), conn, appendAddress(nil), readAddress)
	require.ErrorIs(t, err, ErrSilent)
}
