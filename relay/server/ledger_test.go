package server

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/circuit"
	"github.com/sdp2p/p2p/relay/token"
)

func TestPeriods(t *testing.T) {
	at := time.Date(2028, 2, 29, 23, 59, 59, 0, time.FixedZone("", 3600))
	for c, want := range map[Cycle]string{Hourly: "2028-02-29T22:00Z", Daily: "2028-02-29T00:00Z", Monthly: "2028-02-01T00:00Z"} {
		require.Equal(t, want, c.Period(at).String())
		got, err := ParseCycle(string(c))
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	_, err := ParseCycle("week")
	require.Error(t, err)
}

// TestLedgerModel compares a ledger with a model: in each period, the bytes
// granted and not given back never exceed the limit, and after everything is
// settled, the sums equal the bytes used.
func TestLedgerModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		dir, err := os.MkdirTemp("", "ledger")
		require.NoError(r, err)
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "ledger")
		now := time.Unix(1_800_000_000, 0)
		var l *FileLedger
		open := func() {
			var err error
			l, err = OpenLedger(path, Hourly)
			require.NoError(r, err)
			l.now = func() time.Time { return now }
		}
		open()
		const limit = 20 << 20
		accounts := []token.Account{{Number: uuid.UUID{1}}, {Number: uuid.UUID{2}}, {Issuer: identity.New().Remote(), Number: uuid.UUID{1}}}
		want := map[bookKey]int64{}
		var held, settled []Grant
		give := func(g Grant, unused int64) { require.NoError(r, l.Give(t.Context(), g, unused)) }
		r.Repeat(map[string]func(*rapid.T){
			"take": func(r *rapid.T) {
				a := rapid.SampledFrom(accounts).Draw(r, "account")
				n := rapid.Int64Range(1, 10<<20).Draw(r, "bytes")
				g, err := l.Take(t.Context(), a, n, limit)
				require.NoError(r, err)
				k := bookKey{a, Hourly.Period(now)}
				require.Equal(r, k.period, g.Period)
				require.Equal(r, max(min(n, Chunk, limit-want[k]), 0), g.Bytes)
				want[k] += g.Bytes
				require.Equal(r, want[k], g.Used)
				if g.Bytes > 0 {
					held = append(held, g)
				}
			},
			"give": func(r *rapid.T) {
				if len(held) == 0 {
					r.Skip()
				}
				i := rapid.IntRange(0, len(held)-1).Draw(r, "grant")
				g := held[i]
				unused := rapid.Int64Range(-40_000, g.Bytes).Draw(r, "unused")
				give(g, unused)
				want[bookKey{g.Account, g.Period}] -= unused
				held = append(held[:i], held[i+1:]...)
				settled = append(settled, g)
			},
			"give again": func(r *rapid.T) {
				if len(settled) > 0 {
					give(rapid.SampledFrom(settled).Draw(r, "grant"), 1000)
				}
			},
			"owe": func(r *rapid.T) {
				a := rapid.SampledFrom(accounts).Draw(r, "account")
				g := NewGrant(a, 0, 0, 0)
				give(g, -5000)
				give(g, -5000)
				want[bookKey{a, Hourly.Period(now)}] += 5000
			},
			"time": func(r *rapid.T) { now = now.Add(20 * time.Minute) },
			"restart": func(r *rapid.T) {
				require.NoError(r, l.Close())
				open()
			},
			"compact": func(r *rapid.T) { require.NoError(r, l.log.rewrite(l.book.lines())) },
			"": func(r *rapid.T) {
				for k, n := range want {
					used, err := l.Used(t.Context(), k.account, k.period)
					require.NoError(r, err)
					require.Equal(r, n, used)
				}
			},
		})
		uses, err := ReadLedger(path)
		require.NoError(r, err)
		require.Equal(r, l.Uses(), uses)
		for _, u := range uses {
			require.Equal(r, want[u.key()], u.Bytes)
		}
		require.NoError(r, l.Close())
	})
}

// A file that is cut anywhere yields the entries that were complete; a damaged
// file is refused.
func TestLedgerFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger")
	l, err := OpenLedger(path, Monthly)
	require.NoError(t, err)
	for range 3 {
		g, err := l.Take(t.Context(), payer, 1000, -1)
		require.NoError(t, err)
		require.NoError(t, l.Give(t.Context(), g, 400))
	}
	require.NoError(t, l.Sync())
	require.NoError(t, l.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	last := int64(0)
	for n := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		l, err := OpenLedger(path, Monthly)
		require.NoError(t, err)
		used := bookedBy(t, l)
		require.Contains(t, []int64{last, last + 1000, last - 400}, used)
		last = used
		_, err = l.Take(t.Context(), payer, 1, -1)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		l, err = OpenLedger(path, Monthly)
		require.NoError(t, err, "the file is complete after another line was added")
		require.NoError(t, l.Close())
	}
	require.EqualValues(t, 1800, last)
	for _, bad := range []string{"{}\n", "x\n", `{"Op":"steal"}` + "\n", strings.Repeat("x", 2*maxLine)} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		_, err := OpenLedger(path, Monthly)
		require.Error(t, err)
		_, err = ReadLedger(path)
		require.Error(t, err)
	}
	_, err = ReadLedger(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// The file does not grow for ever, and grants that will never be settled are
// forgotten.
func TestLedgerCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger")
		l, err := OpenLedger(path, Hourly)
		require.NoError(t, err)
		lost, err := l.Take(t.Context(), payer, 77, -1)
		require.NoError(t, err)
		time.Sleep(3 * time.Hour)
		for range 5000 {
			g, err := l.Take(t.Context(), payer, 1000, -1)
			require.NoError(t, err)
			require.NoError(t, l.Give(t.Context(), g, 999))
		}
		require.Less(t, l.log.lines, 1100)
		require.Empty(t, l.book.open)
		require.NoError(t, l.Give(t.Context(), lost, 77))
		n, err := l.Used(t.Context(), payer, lost.Period)
		require.NoError(t, err)
		require.EqualValues(t, 77, n, "an unsettled grant stays booked")
		require.EqualValues(t, 5000, bookedBy(t, l))
		require.NoError(t, l.Close())
	})
}

func TestMemoryDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d MemoryDirectory
		one, two := Entry{Relay: identity.New().Remote(), Zone: "a"}, Entry{Relay: identity.New().Remote(), Zone: "b"}
		ctx, cancel := context.WithCancel(t.Context())
		var seen [][]Entry
		done := make(chan struct{})
		go func() {
			defer close(done)
			for all, err := range d.Watch(ctx) {
				if err == nil {
					seen = append(seen, all)
				}
			}
		}()
		synctest.Wait()
		publish := func(e Entry, ttl time.Duration) {
			require.NoError(t, d.Publish(ctx, e, ttl))
			synctest.Wait()
		}
		publish(one, time.Minute)
		publish(two, time.Minute)
		list := func(zone string) int {
			all, err := d.List(ctx, zone)
			require.NoError(t, err)
			return len(all)
		}
		require.Equal(t, []int{2, 1, 1, 0}, []int{list(""), list("a"), list("b"), list("c")})
		time.Sleep(50 * time.Second)
		publish(one, time.Minute)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Equal(t, []int{1, 1, 0}, []int{list(""), list("a"), list("b")})
		publish(one, 0)
		require.Zero(t, list(""))
		cancel()
		<-done
		var counts []int
		for _, all := range seen {
			counts = append(counts, len(all))
		}
		require.Equal(t, []int{0, 1, 2, 2, 1, 0}, counts)
	})
}

func TestMetrics(t *testing.T) {
	r := newRelay(t, nil)
	callee := r.callee(t, 1)
	_, s, accepted := r.member(t, 1).call(callee)
	carry(t, s, accepted, 1234, 100)
	require.Equal(t, circuit.PermissionDenied, newClient(t, r).reserve())
	eventually(t, "the bytes are counted", func() bool { return r.metrics.relayed.Load() == 1234 })
	get := func(h http.Handler) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		return w.Code, w.Body.String()
	}
	code, page := get(r.Metrics())
	require.Equal(t, 200, code)
	for name, want := range map[string]int{
		"relayed_bytes_total": 1234, "connections": 3, "members": 2, "reservations": 1, "circuits": 1, "circuits_opened_total": 1, "ledger_up": 1,
		`tokens_total{status="ok"}`: 2, `requests_total{type="connect",status="ok"}`: 1, `requests_total{type="reserve",status="permission denied",reason="token"}`: 1,
	} {
		require.Contains(t, page, fmt.Sprintf("\nsdp2p_relay_%s %d\n", name, want))
	}
	require.NotContains(t, page, callee.id.Remote().String())
	code, _ = get(r.Health())
	require.Equal(t, 200, code)
	r.Leave(t.Context())
	code, _ = get(r.Health())
	require.Equal(t, 503, code)
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Ledger: NewMemoryLedger(Monthly)})
	require.ErrorContains(t, err, "identity")
	_, err = New(Config{Identity: identity.New()})
	require.ErrorContains(t, err, "ledger")
	r := newRelay(t, nil)
	_, err = New(Config{Identity: identity.New(), Ledger: r.ledger, Listen: r.Addrs()})
	require.ErrorContains(t, err, "listening")
	cfg, err := Config{Identity: identity.New(), Ledger: r.ledger}.check()
	require.NoError(t, err)
	require.Equal(t, uint16(DefaultPort), cfg.Listen[0].Port())
	require.Equal(t, 32<<10, cfg.Limits.Buffer)
	require.Equal(t, cfg.Identity.Remote(), cfg.Entry.Relay)
}
