package conns

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/websocket"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
)

// A web is an HTTP server, and a client of it.
type web struct {
	*world
	server *http.Server
	client *http.Client
	served chan error // the result of Serve

	mu     sync.Mutex
	logged bytes.Buffer // by the server
}

func (w *web) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.Write(b)
}

func (w *world) serve(t *testing.T, protocols *http.Protocols, h http.Handler) *web {
	web := &web{world: w, served: make(chan error, 1)}
	web.server = &http.Server{
		Handler: h, ConnContext: library.ConnContext, Protocols: protocols, ErrorLog: log.New(web, "", 0),
	}
	web.client = &http.Client{Transport: &http.Transport{DialContext: w.dial, Protocols: protocols}}
	go func() { web.served <- web.server.Serve(w.listener) }()
	t.Cleanup(func() {
		web.client.CloseIdleConnections()
		web.server.Close()
	})
	return web
}

// protocols returns HTTP/1.1 or HTTP/2 without TLS.
func protocols(version int) *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(version == 1)
	p.SetUnencryptedHTTP2(version == 2)
	return p
}

func (w *web) get(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.host+path, nil)
	if err != nil {
		return "", err
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return string(text), err
}

// 40 simultaneous requests are answered, in either version; the server knows
// the caller, and each gets its own answer.
func TestHTTP(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, version := range []int{1, 2} {
			web := w.serve(t, protocols(version), http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
				from, err := identity.ParseAddr(r.RemoteAddr)
				assert.NoError(t, err)
				assert.Equal(t, w.caller, from)
				assert.Equal(t, version, r.ProtoMajor)
				assert.Equal(t, w.host, r.Host)
				fmt.Fprint(out, r.URL.Path, " for ", w.who(r))
			}))
			// A first one, so that those of HTTP/2 share its connection: Shutdown would
			// wait for ever for another that was dialed in vain and is accepted late.
			_, err := web.get(t.Context(), "/")
			require.NoError(t, err)
			var all sync.WaitGroup
			for i := range 40 {
				all.Go(func() {
					path := fmt.Sprint("/", i)
					text, err := web.get(t.Context(), path)
					assert.NoError(t, err)
					assert.Equal(t, path+" for "+w.caller.Host(), text)
				})
			}
			all.Wait()
			web.client.CloseIdleConnections()
			require.NoError(t, web.server.Shutdown(t.Context()))
			require.ErrorIs(t, <-web.served, http.ErrServerClosed)
			require.Empty(t, web.logged.String())
			w.listener = w.relisten()
		}
	})
}

// A peer's host name is valid for TLS, and the server knows the caller within
// TLS.
func TestTLS(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		cert, pool := certificate(t, w.host)
		w.listener = tls.NewListener(w.listener, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}})
		web := w.serve(t, nil, http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) { fmt.Fprint(out, w.who(r)) }))
		web.client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
		r, err := web.client.Get("https://" + w.host + "/")
		require.NoError(t, err)
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, w.caller.Host(), string(text))
	})
}

func TestWebsocket(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.serve(t, nil, websocket.Handler(func(c *websocket.Conn) {
			fmt.Fprint(c, w.who(c.Request()))
			io.Copy(c, c)
		}))
		config, err := websocket.NewConfig("ws://"+w.host+"/", "http://"+w.host+"/")
		require.NoError(t, err)
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				under, err := w.dial(t.Context(), "tcp", w.host)
				if !assert.NoError(t, err) {
					return
				}
				c, err := websocket.NewClient(config, under)
				if !assert.NoError(t, err) {
					return
				}
				defer c.Close()
				var text string
				assert.NoError(t, websocket.Message.Receive(c, &text))
				assert.Equal(t, w.caller.Host(), text)
				for j := range 10 {
					assert.NoError(t, websocket.Message.Send(c, fmt.Sprint(i, j)))
					assert.NoError(t, websocket.Message.Receive(c, &text))
					assert.Equal(t, fmt.Sprint(i, j), text)
				}
			})
		}
		all.Wait()
	})
}
