package library_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/tunnel"
)

// A front is a listener of what a route of a library gets.
type front struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (f *front) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.over:
		return nil, net.ErrClosed
	}
}

func (f *front) Close() error {
	f.once.Do(func() { close(f.over) })
	return nil
}

func (f *front) Addr() net.Addr { return &net.UnixAddr{} }

// serve hands a tunnel over to the server, until that is done with it.
func (f *front) serve(ctx context.Context, c *tunnel.Conn) error {
	select {
	case f.conns <- c:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-c.Done()
	return nil
}

// An http.Client that wants 40 things at once, or one after the other without
// keeping a connection, gets 40, and nothing in the client knows of limits.
func TestHTTP(t *testing.T) {
	t.Parallel()
	a, b := newDevice(), newDevice()
	a.startQUIC(t)
	addr := b.startQUIC(t)
	running := newCharter(t, a)
	running.join(b, library.RoleMember)
	for _, d := range []*device{a, b} {
		d.load(t, running.record())
	}
	meets(t, a.P2P, b.id.Remote(), addr)
	f := &front{conns: make(chan net.Conn), over: make(chan struct{})}
	b.lib.Handle("http", f.serve)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "picture ", r.URL.Path)
	})}
	go server.Serve(f)
	t.Cleanup(func() { server.Close() })

	for _, atOnce := range []int{40, 1} {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return a.lib.Open(ctx, b.own(), "http")
			},
		}}
		var all sync.WaitGroup
		places := make(chan struct{}, atOnce)
		for i := range 40 {
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				path := fmt.Sprint("/", i)
				r, err := client.Get("http://b" + path)
				if !assert.NoError(t, err) {
					return
				}
				defer r.Body.Close()
				text, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				assert.Equal(t, "picture "+path, string(text))
			})
		}
		all.Wait()
	}
}
