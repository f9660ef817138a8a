package conns

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

const requests = 40

// A ward serves requests that run until they are released.
type ward struct {
	*web
	running sync.WaitGroup
	leave   chan struct{}

	mu   sync.Mutex
	errs []error // errors of handlers that write their answers
}

// admit begins 40 requests, and returns once all of them run. If polite is
// true, they end when their contexts do.
func (w *world) admit(t *testing.T, version int, polite bool) (in *ward, answers func() (texts []string, errs []error)) {
	in = &ward{leave: make(chan struct{})}
	in.running.Add(requests)
	in.web = w.serve(t, protocols(version), http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		in.running.Done()
		if polite {
			<-r.Context().Done()
		} else {
			<-in.leave
		}
		_, err := io.WriteString(out, "answer")
		if err == nil {
			err = http.NewResponseController(out).Flush()
		}
		if err != nil {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.errs = append(in.errs, err)
		}
	}))
	var all sync.WaitGroup
	var mu sync.Mutex
	var texts []string
	var errs []error
	for range requests {
		all.Go(func() {
			text, err := in.get(context.Background(), "/")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			} else {
				texts = append(texts, text)
			}
		})
	}
	in.running.Wait()
	return in, func() ([]string, []error) {
		all.Wait()
		return texts, errs
	}
}

// tells checks that errors say more than that something was closed.
func tells(t *testing.T, errs []error) {
	t.Helper()
	for _, err := range errs {
		if !errors.Is(err, p2p.ErrShuttingDown) && !errors.Is(err, p2p.ErrConnectionLost) {
			assert.NotContains(t, err.Error(), "use of closed network connection")
		}
	}
}

func (in *ward) tell(t *testing.T) {
	t.Helper()
	in.mu.Lock()
	defer in.mu.Unlock()
	tells(t, in.errs)
	in.web.mu.Lock()
	defer in.web.mu.Unlock()
	for line := range strings.Lines(in.logged.String()) {
		assert.NotContains(t, line, "use of closed network connection")
	}
}

// A server that is shut down before its node still answers all requests that
// run.
func TestServerShutdown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in, answers := w.admit(t, 1, false)
		closed := make(chan error, 1)
		go func() { closed <- in.server.Shutdown(context.Background()) }()
		require.ErrorIs(t, <-in.served, http.ErrServerClosed)
		close(in.leave)
		texts, errs := answers()
		require.Empty(t, errs)
		require.Len(t, texts, requests)
		require.NoError(t, <-closed)
		in.client.CloseIdleConnections()
		require.NoError(t, w.server.Shutdown(context.Background()))
		in.tell(t)
	})
}

// If a node is shut down under its server, the contexts of the running requests
// end, their answers still arrive, and Serve returns.
func TestNodeShutdown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in, answers := w.admit(t, 1, true)
		require.NoError(t, w.server.Shutdown(context.Background()))
		texts, errs := answers()
		if w.session {
			for _, err := range errs { // a session ends at once
				assert.True(t, errors.Is(err, p2p.ErrConnectionLost) || errors.Is(err, p2p.ErrShuttingDown), "%v", err)
			}
		} else {
			require.Empty(t, errs)
			require.Len(t, texts, requests)
			err := <-in.served
			require.ErrorIs(t, err, p2p.ErrClosed)
		}
		in.tell(t)
	})
}

// A server that does not end in time is cut off, and both sides are told why:
// over HTTP/1.1 by the node.
func TestNodeShutdownInTime(t *testing.T) {
	each(t, func(t *testing.T, w *world) { w.cutOff(t, 1) })
}

// Over HTTP/2, the server itself closes a connection from which it cannot read.
func TestNodeShutdownHTTP2(t *testing.T) {
	each(t, func(t *testing.T, w *world) { w.cutOff(t, 2) })
}

func (w *world) cutOff(t *testing.T, version int) {
	in, answers := w.admit(t, version, false)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, w.server.Shutdown(ctx))
	texts, errs := answers()
	require.Empty(t, texts)
	require.Len(t, errs, requests)
	tells(t, errs)
	close(in.leave)
	in.server.Shutdown(t.Context())
	in.tell(t)
}

// A client whose node is shut down is told so as well.
func TestClientShutdown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		in, answers := w.admit(t, 1, true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		require.NoError(t, w.client.Shutdown(ctx))
		_, errs := answers()
		require.Len(t, errs, requests)
		for _, err := range errs {
			assert.True(t, errors.Is(err, p2p.ErrShuttingDown) || errors.Is(err, p2p.ErrConnectionLost), "%v", err)
		}
		in.server.Shutdown(t.Context())
		in.tell(t)
	})
}
