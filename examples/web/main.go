// Web shows a web server that only members of a library can reach. Alice serves
// a page; on Bob's computer, a browser shows it from a local port that forwards
// each connection through a tunnel to Alice.
//
//	go run ./examples/web          # open the page whose address it prints
//	go run ./examples/web --demo   # it fetches the page itself, and ends
//
// Both are nodes of this program, which find each other on the loopback
// interface as devices do on a network.
package main

import (
	"context"
	"flag"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

const route = "web"

// serve serves a page to the members of a library. The returned function stops
// it.
func serve(l *library.Library) (stop func(context.Context) error) {
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ConnContext:       library.ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := "somebody"
			if caller, ok := library.MemberOf(r.Context()); ok {
				m, _ := l.Roster().Member(caller.Instance)
				name = m.Name
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprintf(w, "<p>Hello, %s. This is Alice.</p>\n", html.EscapeString(name))
		}),
	}
	go server.Serve(l.Listen(route))
	return server.Shutdown // before the node's, so that running requests are answered
}

// A window is a local port at which browsers see the server of a member.
type window struct {
	http.Server
	tunnels *http.Transport
	at      string // its address
}

// open opens a window on loopback, for this computer only.
func open(l *library.Library, member identity.RemoteIdentity) (*window, error) {
	local, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &window{at: local.Addr().String()}
	w.tunnels = &http.Transport{DialContext: l.DialContext(route), IdleConnTimeout: time.Minute}
	to := &url.URL{Scheme: "http", Host: member.Host()}
	w.ReadHeaderTimeout = 10 * time.Second
	w.Handler = guard(w.at, &httputil.ReverseProxy{
		Transport: w.tunnels,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	})
	go w.Serve(local)
	return w, nil
}

// close closes a window with its tunnels.
func (w *window) close() {
	w.Close()
	w.tunnels.CloseIdleConnections()
}

// guard keeps other pages out. A browser lets a page talk to the host that it
// came from; the owner of that name can make it lead here (DNS rebinding), but
// the Host header still has the name. Requests from pages of other origins that
// change something are refused.
func guard(at string, h http.Handler) http.Handler {
	_, port, _ := net.SplitHostPort(at)
	hosts := []string{at, net.JoinHostPort("localhost", port)}
	h = http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(hosts, r.Host) {
			http.Error(w, "this is "+at, http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// start starts a node that keeps libraries.
func start(ctx context.Context, name string, key identity.Identity) (*p2p.P2P, *library.Libraries) {
	libraries := library.New(library.Config{})
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, libraries) // the tunnel authenticates
	node, err := p2p.Start(ctx, p2p.Config{
		App: "web", Name: name, Identity: key, Handler: &mux,
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: mdns.Loopback()}), libraries},
	})
	check(err)
	return node, libraries
}

func main() {
	demo := flag.Bool("demo", false, "look at the page and end")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()

	alice, hers := start(ctx, "Alice", identity.New())
	defer alice.Shutdown(context.Background())
	key, instance := identity.New(), identity.New()
	bob, his := start(ctx, "Bob", key)
	defer bob.Shutdown(context.Background())

	// Between devices that share nothing yet, package pairing does this.
	at, err := hers.Found("Home", library.RecoveryKey{})
	check(err)
	record := at.Record()
	first, err := record.First(key, instance)
	check(err)
	_, err = at.Admit(first, library.RoleMember, "Bob", library.RecoveryKey{})
	check(err)
	from, err := his.Add(at.Record(), instance)
	check(err)

	stop := serve(at)
	defer stop(context.Background())
	w, err := open(from, at.Instance())
	check(err)
	defer w.close()
	for peer := range bob.Available(ctx) {
		if peer.Identity() == alice.Identity() {
			break
		}
	}
	fmt.Printf("Alice is at http://%s/\n", w.at)
	if !*demo {
		<-ctx.Done()
		return
	}
	page, err := http.Get("http://" + w.at + "/")
	check(err)
	defer page.Body.Close()
	_, err = io.Copy(os.Stdout, page.Body)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
