package library_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/sdp2p/p2p/library"
)

// An http.Client that makes 40 requests at once, or one after another without
// keeping a connection, gets 40 answers, although the client does not know of
// any limits.
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
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "picture ", r.URL.Path)
	})}
	go server.Serve(b.lib.Listen("http"))
	t.Cleanup(func() { server.Close() })

	for _, atOnce := range []int{40, 1} {
		client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DisableKeepAlives: true, DialContext: a.lib.DialContext("http"),
		}}
		var all sync.WaitGroup
		places := make(chan struct{}, atOnce)
		for i := range 40 {
			places <- struct{}{}
			all.Go(func() {
				defer func() { <-places }()
				path := fmt.Sprint("/", i)
				r, err := client.Get("http://" + b.own().Host() + path)
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
