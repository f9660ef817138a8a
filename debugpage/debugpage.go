// Package debugpage serves a live page about a node, for its developer: the
// devices around it and the paths to them, peers with their candidates and the
// outcome of each, streams, throughput and round-trip times, the latest events,
// hooks, relays and libraries.
//
//	go http.ListenAndServe("127.0.0.1:7380", debugpage.Handler(node))
//
// It shows the result of [p2p.P2P.State], which names devices and their
// addresses: it is for the developer's own computer, or behind the app's own
// authentication. It changes nothing, and does nothing while no page is open.
//
// # What it serves
//
//	/        the page
//	/state   the state as JSON, once
//	/events  the state and then its changes, as server-sent events
//
// All addresses in the page are relative, so that it may also be served below a
// path that ends in a slash, with [http.StripPrefix]. Scripts and styles are
// part of the program, and the browser is told to load nothing from elsewhere.
//
// # Access
//
// By default, only requests that come over loopback (or a Unix socket) and name
// a loopback host, such as localhost, 127.0.0.1 or [::1], are answered. A web
// page whose own name resolves to 127.0.0.1 (DNS rebinding) names itself, and
// is refused, as are requests that other web pages make the browser send, and
// requests that a proxy on this computer forwards. [AllowHosts] allows more.
//
// Requests for /events last until the browser leaves or the node has shut down;
// an [http.Server] waits for them in its own Shutdown, so shut the node down
// first.
package debugpage

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
	"time"

	"github.com/sdp2p/p2p"
)

//go:embed assets
var embedded embed.FS

// assets are the files of the page by their paths, with their types.
var assets = map[string]string{
	"":           "text/html; charset=utf-8",
	"page.css":   "text/css; charset=utf-8",
	"icon.svg":   "image/svg+xml",
	"dom.js":     "text/javascript; charset=utf-8",
	"model.js":   "text/javascript; charset=utf-8",
	"page.js":    "text/javascript; charset=utf-8",
	"panels.js":  "text/javascript; charset=utf-8",
	"peers.js":   "text/javascript; charset=utf-8",
	"picture.js": "text/javascript; charset=utf-8",
	"uplot.js":   "text/javascript; charset=utf-8",
	"uplot.css":  "text/css; charset=utf-8",
}

// An Option changes a default of [Handler].
type Option func(*handler)

// AllowHosts serves the page also to requests that name one of these hosts,
// from any address. A host is written as in the address bar; without a port, it
// stands for any port. An empty one is ignored. It is for a page behind
// authentication, which the package does not provide.
func AllowHosts(hosts ...string) Option {
	return func(h *handler) { h.hosts = append(h.hosts, hosts...) }
}

// WithLibraries makes the page show the libraries that the node and its peers
// claim to have. See [p2p.WithLibraries].
func WithLibraries() Option {
	return func(h *handler) { h.details = []p2p.Detail{p2p.WithLibraries} }
}

// Handler returns a handler that serves the page of a node. It may be used
// before the node's shutdown and after it. At most 8 pages are live at a time.
func Handler(node *p2p.P2P, options ...Option) http.Handler {
	h := &handler{node: node, viewers: make(chan struct{}, maxViewers)}
	for _, o := range options {
		o(h)
	}
	return h
}

type handler struct {
	node    *p2p.P2P
	hosts   []string
	details []p2p.Detail
	viewers chan struct{} // one element for each request for /events
}

// These headers make the browser load nothing from elsewhere, send no referrer,
// refuse to embed the page, and store nothing.
var headers = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"Cache-Control":                "no-store",
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range headers {
		w.Header().Set(name, value)
	}
	path := r.URL.Path
	if path != "" && path[0] == '/' {
		path = path[1:]
	}
	switch refused := h.refuses(r); {
	case refused != "":
		http.Error(w, refused, http.StatusForbidden)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this page only shows", http.StatusMethodNotAllowed)
	case path == "state":
		h.state(w)
	case path == "events":
		h.events(w, r)
	case assets[path] != "":
		h.asset(w, path)
	default:
		http.NotFound(w, r)
	}
}

// asset serves a file of the page.
func (h *handler) asset(w http.ResponseWriter, path string) {
	w.Header().Set("Content-Type", assets[path])
	if path == "" {
		path = "index.html"
	}
	data, err := fs.ReadFile(embedded, "assets/"+path)
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	_, _ = w.Write(data)
}

// state serves the state once.
func (h *handler) state(w http.ResponseWriter) {
	data, err := json.Marshal(h.node.State(h.details...))
	if err != nil { // a hook's report has something that JSON does not
		http.Error(w, "the state does not marshal: "+err.Error(), http.StatusInternalServerError)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTime))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n'))
}
