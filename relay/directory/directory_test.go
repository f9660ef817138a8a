package directory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/relay"
)

// A web is a server that answers as a test wants.
type web struct {
	mu    sync.Mutex
	asked []time.Time
	tags  []string // the If-None-Match of each request
	say   func(*http.Request) (*http.Response, error)
}

func (w *web) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, time.Now())
	w.tags = append(w.tags, r.Header.Get("If-None-Match"))
	response, err := w.say(r)
	if response != nil {
		response.Request = r
	}
	return response, err
}

func (w *web) set(say func(*http.Request) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say = say
}

func (w *web) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.asked)
}

func answer(code int, body []byte, header ...string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		for i := 0; i < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: code, Status: fmt.Sprint(code), Header: h, Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
}

var errAway = errors.New("away")

func away(*http.Request) (*http.Response, error) { return nil, errAway }

// An operator signs lists.
type operator struct{ identity.Identity }

// list returns a list with a number of relays, issued now.
func (o operator) list(t testing.TB, number uint64, relays int) []byte {
	t.Helper()
	l := List{Number: number, Issued: time.Now(), Expiry: time.Now().Add(MaxLife)}
	for i := range relays {
		l.Servers = append(l.Servers, relay.Server{Identity: identity.New().Remote(), Addrs: []netip.AddrPort{netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 7374)}})
	}
	b, err := l.Sign(o.Identity)
	require.NoError(t, err)
	return b
}

// newClient returns a client that is not registered, and a function that counts
// the lists that it has set.
func newClient(t testing.TB, w *web, o operator, alter ...func(*Config)) (*Client, func() int) {
	t.Helper()
	cfg := Config{URL: "https://relays.example.org/list", Signers: []identity.RemoteIdentity{o.Remote()}, Relays: relay.New(relay.Config{Listener: quic.New(quic.Config{})}), HTTP: &http.Client{Transport: w}}
	for _, f := range alter {
		f(&cfg)
	}
	c := New(cfg)
	require.NoError(t, c.err)
	return c, func() int { return len(cfg.Relays.States()) }
}

var quiet = slog.New(slog.DiscardHandler)

// A bad list is refused for its fault, and the relays, like the file, stay the
// same.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := operator{identity.New()}, &web{}
		path := filepath.Join(t.TempDir(), "list")
		c, relays := newClient(t, w, o, func(c *Config) { c.File = path })
		good := o.list(t, 7, 2)
		w.set(answer(200, good))
		require.NoError(t, c.ask(t.Context(), quiet))
		require.Equal(t, 2, relays())
		flipped := bytes.Clone(o.list(t, 8, 3))
		flipped[60] ^= 1
		old := o.list(t, 9, 3)
		time.Sleep(MaxLife + Tolerance - time.Since(time.Now().Truncate(time.Minute)))
		for name, x := range map[string]struct {
			say  func(*http.Request) (*http.Response, error)
			want error
			text string
		}{
			"older":           {answer(200, o.list(t, 6, 3)), ErrOlder, "number 6, not above 7"},
			"the same number": {answer(200, o.list(t, 7, 3)), ErrOlder, ""},
			"expired":         {answer(200, old), ErrExpired, "by this clock"},
			"what is in use":  {answer(200, good), ErrExpired, ""},
			"foreign":         {answer(200, operator{identity.New()}.list(t, 8, 3)), ErrSigner, ""},
			"flipped":         {answer(200, flipped), ErrSignature, ""},
			"cut":             {answer(200, o.list(t, 8, 3)[:150]), ErrSignature, ""},
			"nothing":         {answer(200, nil), ErrMalformed, "too few"},
			"a page":          {answer(200, []byte(strings.Repeat("<html>", 100))), ErrMalformed, "version 60"},
			"too long":        {answer(200, make([]byte, 10*MaxSize)), ErrMalformed, "more than"},
			"not found":       {answer(404, o.list(t, 8, 3)), nil, "404"},
			"not modified":    {answer(304, nil), ErrExpired, ""},
			"to http":         {toHTTP(o.list(t, 8, 3)), nil, "a redirect to http:"},
			"round and round": {answer(302, nil, "Location", "/again"), nil, "a redirect to https:"},
			"away":            {away, errAway, ""},
		} {
			w.set(x.say)
			err := c.ask(t.Context(), quiet)
			require.Error(t, err, name)
			if x.want != nil {
				require.ErrorIs(t, err, x.want, name)
			}
			require.ErrorContains(t, err, x.text, name)
			require.Equal(t, err, c.State().Err)
			require.Equal(t, uint64(7), c.State().List.Number)
			require.Equal(t, 2, relays(), name)
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, good, kept)
		}
		w.set(answer(200, o.list(t, 8, 3)))
		require.NoError(t, c.ask(t.Context(), quiet))
		require.Equal(t, 3, relays())
		require.NoError(t, c.State().Err)
	})
}

// toHTTP redirects to http, where the list is available.
func toHTTP(list []byte) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "https" {
			return answer(302, nil, "Location", "http://relays.example.org/list")(r)
		}
		return answer(200, list)(r)
	}
}

// zeros is a body without an end.
type zeros struct{ read int }

func (z *zeros) Read(b []byte) (int, error) {
	if z.read += len(b); z.read > 2*MaxSize {
		return 0, errors.New("read on and on")
	}
	clear(b)
	return len(b), nil
}

func (*zeros) Close() error { return nil }

// If a body does not end, no more is read of it than the size of the largest
// list.
func TestOversized(t *testing.T) {
	o, w := operator{identity.New()}, &web{}
	c, _ := newClient(t, w, o)
	w.set(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: &zeros{}}, nil
	})
	require.ErrorIs(t, c.ask(t.Context(), quiet), ErrMalformed)
}

// A server that never finishes its answer is given up.
func TestEndless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := operator{identity.New()}, &web{}
		c, _ := newClient(t, w, o)
		w.set(func(r *http.Request) (*http.Response, error) {
			read, write := io.Pipe()
			context.AfterFunc(r.Context(), func() { write.CloseWithError(context.Cause(r.Context())) })
			go write.Write([]byte{1, 2, 3})
			return &http.Response{StatusCode: 200, Body: read}, nil
		})
		began := time.Now()
		require.ErrorIs(t, c.ask(t.Context(), quiet), context.DeadlineExceeded)
		require.Equal(t, fetchIn, time.Since(began))
	})
}

// At its next start, a node has its relays before it has asked the server,
// however long it was off, and does not accept an older list then; a file that
// was altered is not used.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := operator{identity.New()}, &web{}
		path := filepath.Join(t.TempDir(), "list")
		keep := func(c *Config) { c.File = path }
		c, _ := newClient(t, w, o, keep)
		older := o.list(t, 4, 1)
		w.set(answer(200, o.list(t, 5, 3)))
		require.NoError(t, c.ask(t.Context(), quiet))

		time.Sleep(10 * MaxLife)
		c, relays := newClient(t, w, o, keep)
		c.load(quiet)
		require.Equal(t, 3, relays())
		require.ErrorIs(t, c.State().List.Fresh(time.Now()), ErrExpired)
		require.Zero(t, c.State().Asked)
		w.set(answer(200, older))
		require.Error(t, c.ask(t.Context(), quiet))
		w.set(answer(200, o.list(t, 4, 1)))
		require.ErrorIs(t, c.ask(t.Context(), quiet), ErrOlder)
		require.Equal(t, 3, relays())

		whole, err := os.ReadFile(path)
		require.NoError(t, err)
		for name, b := range map[string][]byte{"altered": append(bytes.Clone(whole[:80]), append([]byte{whole[80] ^ 1}, whole[81:]...)...), "cut": whole[:100], "empty": {}, "long": append(whole, make([]byte, MaxSize)...)} {
			require.NoError(t, os.WriteFile(path, b, 0o600))
			c, relays := newClient(t, w, o, keep)
			c.load(quiet)
			require.Zero(t, relays(), name)
			require.NoError(t, c.ask(t.Context(), quiet), name) // there is no list to compare with
			require.Equal(t, 1, relays(), name)
		}
		require.NoError(t, os.Remove(path))
		c, relays = newClient(t, w, o, keep)
		c.load(quiet)
		require.Zero(t, relays())
	})
}

// follow asks at the right times: once an hour or more often if it gets
// answers, sooner if it does not, and when the network has changed, but not
// every time.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, w := operator{identity.New()}, &web{}
		c, relays := newClient(t, w, o)
		w.set(away)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.follow(ctx, quiet)
		}()
		time.Sleep(time.Minute)
		failed := w.count()
		require.GreaterOrEqual(t, failed, 3)
		require.LessOrEqual(t, failed, 6)
		time.Sleep(10 * time.Hour)
		require.LessOrEqual(t, w.count()-failed, 10*12+6, "one request every 5 to 10 minutes")
		before := w.count()
		for range 60_000 {
			c.NetworkChanged()
			time.Sleep(time.Millisecond)
		}
		require.LessOrEqual(t, w.count()-before, 13, "constant changes of the network must not lead to constant requests")
		require.GreaterOrEqual(t, w.count()-before, 10)

		list := o.list(t, 1, 2)
		w.set(func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("If-None-Match") == `"tag"` {
				return answer(304, nil)(r)
			}
			return answer(200, list, "ETag", `"tag"`)(r)
		})
		c.NetworkChanged()
		time.Sleep(pokePause)
		synctest.Wait()
		require.Equal(t, 2, relays())
		before = w.count()
		for range 1000 {
			c.NetworkChanged()
			time.Sleep(36 * time.Second)
		}
		require.InDelta(t, 10/0.75, float64(w.count()-before), 4, "one request every 45 minutes or so, for 10 hours")
		w.mu.Lock()
		for _, tag := range w.tags[before:] {
			require.Equal(t, `"tag"`, tag)
		}
		w.mu.Unlock()
		// If a cache keeps answering "not modified", the list still expires.
		time.Sleep(MaxLife)
		require.ErrorIs(t, c.State().Err, ErrExpired)
		require.Equal(t, 2, relays())
		cancel()
		<-done
	})
}

func TestConfig(t *testing.T) {
	relays := relay.New(relay.Config{Listener: quic.New(quic.Config{})})
	signers := []identity.RemoteIdentity{identity.New().Remote()}
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Signers: signers, Relays: relays}, "not https"},
		{Config{URL: "http://x/", Signers: signers, Relays: relays}, "not https"},
		{Config{URL: "https:///x", Signers: signers, Relays: relays}, "not https"},
		{Config{URL: "https://x\x00/", Signers: signers, Relays: relays}, "invalid"},
		{Config{URL: "https://x/", Relays: relays}, "Signers"},
		{Config{URL: "https://x/", Signers: signers}, "Relays"},
	} {
		require.ErrorContains(t, New(c.cfg).Run(t.Context(), nil), c.want)
	}
	require.Equal(t, shortest, New(Config{Every: 1}).cfg.Every)
}

// A node with a relay client gets its relays from a web server.
func TestNode(t *testing.T) {
	o := operator{identity.New()}
	list := o.list(t, 1, 3)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(rw, r, "/list", http.StatusFound)
			return
		}
		rw.Header().Set("Content-Type", "application/octet-stream")
		rw.Write(list)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // one handshake must fail
	server.StartTLS()
	defer server.Close()
	listener := quic.New(quic.Config{})
	relays := relay.New(relay.Config{Listener: listener})
	c := New(Config{URL: server.URL + "/", Signers: []identity.RemoteIdentity{o.Remote()}, Relays: relays, HTTP: server.Client()})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	node, err := p2p.Start(ctx, p2p.Config{App: "test", Hooks: []p2p.Hook{listener, relays, c}, Logger: quiet})
	require.NoError(t, err)
	defer node.Shutdown(context.Background())
	require.Eventually(t, func() bool { return len(relays.States()) == 3 }, time.Minute, time.Millisecond)
	require.Eventually(t, func() bool { return !c.State().Asked.IsZero() }, time.Minute, time.Millisecond)

	// If the certificate's authority is not trusted, there is no list.
	other := New(Config{URL: server.URL + "/list", Signers: []identity.RemoteIdentity{o.Remote()}, Relays: relays})
	require.ErrorContains(t, other.ask(ctx, quiet), "certificate")
}
