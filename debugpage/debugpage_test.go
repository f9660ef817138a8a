package debugpage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/debugpage"
	"github.com/sdp2p/p2p/p2ptest"
)

// serve serves the page of a node on loopback until the test ends.
func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// ask sends a request over loopback.
func ask(t *testing.T, method, url string, change func(*http.Request)) (status int, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	if change != nil {
		change(r)
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(data)
}

// named makes a request name a host.
func named(host string) func(*http.Request) { return func(r *http.Request) { r.Host = host } }

// TestServed checks what is served, and with which headers.
func TestServed(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test", Name: "Laptop"})
	at := serve(t, debugpage.Handler(node)).URL
	for path, kind := range map[string]string{"/": "text/html", "/uplot.js": "text/javascript", "/uplot.css": "text/css", "/state": "application/json"} {
		status, header, body := ask(t, "GET", at+path, nil)
		require.Equal(t, http.StatusOK, status, path)
		require.Contains(t, header.Get("Content-Type"), kind)
		require.NotEmpty(t, body)
		csp := header.Get("Content-Security-Policy")
		require.Contains(t, csp, "default-src 'none'")
		require.NotRegexp(t, `unsafe|http|\*`, csp)
		require.Equal(t, "no-store", header.Get("Cache-Control"))
	}
	_, _, body := ask(t, "GET", at+"/state", nil)
	var s p2p.State
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.Equal(t, node.Identity(), s.Identity)
	require.Equal(t, "Laptop", s.Metadata["name"])

	status, header, _ := ask(t, "HEAD", at+"/events", nil) // unlike GET, HEAD ends
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "text/event-stream", header.Get("Content-Type"))
	status, header, _ = ask(t, "POST", at+"/state", nil)
	require.Equal(t, http.StatusMethodNotAllowed, status)
	require.Equal(t, "GET, HEAD", header.Get("Allow"))
	for _, path := range []string{"/assets/uplot.js", "/uplot.LICENSE", "/index.html", "/../debugpage.go", "/events/"} {
		status, _, _ := ask(t, "GET", at+path, nil)
		require.Equal(t, http.StatusNotFound, status, path)
	}
}

// A request that names another host is refused, whatever address the host has,
// and so is a request that a browser makes for another page.
func TestHosts(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test"})
	at := serve(t, debugpage.Handler(node)).URL
	for host, want := range map[string]int{
		"localhost": 200, "LocalHost:7380": 200, "127.0.0.1:80": 200, "127.1.2.3": 200, "[::1]:7380": 200, "[::1]": 200, "[::ffff:127.0.0.1]:1": 200,
		"evil.example": 403, "evil.example:7380": 403, "localhost.evil.example": 403, "127.0.0.1.evil.example": 403, "192.168.1.7:7380": 403,
		"0.0.0.0:7380": 403, "[::]:7380": 403, "localhost.": 403, "1": 403, "2130706433": 403,
	} {
		for _, path := range []string{"/", "/state", "/events", "/uplot.js"} {
			if want == 200 && path == "/events" {
				continue // the answer would not end
			}
			status, _, body := ask(t, "GET", at+path, named(host))
			require.Equal(t, want, status, "%s %s", host, path)
			require.Equal(t, want == 403, strings.Contains(body, "AllowHosts"))
		}
	}
	for site, want := range map[string]int{"same-origin": 200, "none": 200, "cross-site": 403, "same-site": 403} {
		status, _, _ := ask(t, "GET", at+"/state", func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) })
		require.Equal(t, want, status, site)
	}
	status, _, _ := ask(t, "GET", at+"/", func(r *http.Request) { // the user followed a link
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		r.Header.Set("Sec-Fetch-Mode", "navigate")
	})
	require.Equal(t, 200, status)
}

// A request from another computer is refused even if it names localhost, unless
// the app has allowed the host that the request names.
func TestElsewhere(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test"})
	status := func(h http.Handler, from, host string) int {
		r := httptest.NewRequest("GET", "/state", nil)
		r.RemoteAddr, r.Host = from, host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	own := debugpage.Handler(node)
	require.Equal(t, 200, status(own, "127.0.0.1:5", "localhost"))
	require.Equal(t, 200, status(own, "[::1]:5", "localhost"))
	require.Equal(t, 403, status(own, "192.0.2.1:5", "localhost"))
	require.Equal(t, 403, status(own, "", "localhost"))
	more := debugpage.Handler(node, debugpage.AllowHosts("debug.example", "other.example:8443"))
	require.Equal(t, 200, status(more, "192.0.2.1:5", "Debug.example:443"))
	require.Equal(t, 200, status(more, "192.0.2.1:5", "other.example:8443"))
	require.Equal(t, 403, status(more, "192.0.2.1:5", "other.example:8444"))
	require.Equal(t, 403, status(more, "192.0.2.1:5", "localhost"))
	require.Equal(t, 200, status(more, "127.0.0.1:5", "localhost"))
}

// Over a Unix socket, the page answers everybody whom the system lets in.
func TestUnix(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test"})
	path := filepath.Join(t.TempDir(), "page")
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	server := &http.Server{Handler: debugpage.Handler(node)}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	answer, err := client.Get("http://localhost/state")
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, 200, answer.StatusCode)
}

// A watcher reads events.
type watcher struct {
	answer *http.Response
	lines  *bufio.Reader
}

func watch(t *testing.T, ctx context.Context, at string) *watcher {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", at+"/events", nil)
	require.NoError(t, err)
	answer, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	return &watcher{answer, bufio.NewReader(answer.Body)}
}

// next returns the next event and its data.
func (w *watcher) next(t *testing.T) (event, data string) {
	t.Helper()
	for {
		line, err := w.lines.ReadString('\n')
		require.NoError(t, err)
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "event: "):
			event = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		case line == "":
			return event, data
		}
	}
}

// The first event is the state. Then come changes, such as a peer that appears
// and disappears, and the last event comes when the node ends. A watcher that
// comes after the node's shutdown gets the state and the end.
func TestEvents(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node := network.Start(t, p2p.Config{App: "test", Name: "Laptop"})
	at := serve(t, debugpage.Handler(node)).URL
	w := watch(t, ctx, at)
	require.Equal(t, "text/event-stream", w.answer.Header.Get("Content-Type"))
	event, data := w.next(t)
	require.Equal(t, "state", event)
	require.Contains(t, data, `"Laptop"`)

	phone := network.Start(t, p2p.Config{App: "test", Name: "Phone"})
	until := func(what string) {
		for {
			event, data := w.next(t)
			require.Equal(t, "change", event)
			require.NotContains(t, data, `"Laptop"`, "parts that have not changed must not be sent again")
			if strings.Contains(data, what) {
				return
			}
		}
	}
	until(`"peers":[{"identity":"` + phone.Identity().String())
	require.NoError(t, phone.Shutdown(ctx))
	until(`"gone":["` + phone.Identity().String())

	require.NoError(t, node.Shutdown(ctx))
	for event = ""; event != "end"; {
		event, _ = w.next(t)
	}
	_, err := w.lines.ReadByte()
	require.ErrorIs(t, err, io.EOF)

	late := watch(t, ctx, at)
	event, _ = late.next(t)
	require.Equal(t, "state", event)
	for event = ""; event != "end"; {
		event, _ = late.next(t)
	}
}

// Only a limited number of pages is live at a time; once a page is left,
// another one can be live.
func TestViewers(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node := network.Start(t, p2p.Config{App: "test"})
	at := serve(t, debugpage.Handler(node)).URL
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	for range 8 {
		w := watch(t, ctx, at)
		event, _ := w.next(t)
		require.Equal(t, "state", event)
	}
	status, header, _ := ask(t, "GET", at+"/events", nil)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotEmpty(t, header.Get("Retry-After"))
	leave()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		return watch(t, ctx, at).answer.StatusCode == http.StatusOK
	}, time.Minute, 10*time.Millisecond)
}

// A proxy on the same computer that names localhost does not open the page to
// others. Only a proxy whose host the app has allowed does.
func TestForwarded(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test"})
	at := serve(t, debugpage.Handler(node, debugpage.AllowHosts("debug.example"))).URL
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP"} {
		forwarded := func(host string) func(*http.Request) {
			return func(r *http.Request) {
				r.Header.Set(name, "192.0.2.1")
				r.Host = host
			}
		}
		status, _, body := ask(t, "GET", at+"/state", forwarded("localhost:7380"))
		require.Equal(t, 403, status, name)
		require.Contains(t, body, "proxy")
		status, _, _ = ask(t, "GET", at+"/state", forwarded("debug.example"))
		require.Equal(t, 200, status, name)
	}
}

// An empty host in AllowHosts, which a missing setting may cause, allows no
// request.
func TestNoHost(t *testing.T) {
	node := p2ptest.NewNetwork(p2ptest.Config{}).Start(t, p2p.Config{App: "test"})
	h := debugpage.Handler(node, debugpage.AllowHosts(""))
	for _, host := range []string{"", ":", ":7380", "[]", "[]:7380"} {
		r := httptest.NewRequest("GET", "/state", nil)
		r.RemoteAddr, r.Host = "192.0.2.1:5", host
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, 403, w.Code, host)
	}
}
