package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// TestMain lets the test binary act as the program, for the test that runs it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestWeb(t *testing.T) {
	exampletest.Loopback(t)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "--demo")
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^Alice is at http://127\.0\.0\.1:\d+/
<p>Hello, Bob\. This is Alice\.</p>
$`, string(out))
}

func TestGuard(t *testing.T) {
	h := guard("127.0.0.1:8000", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		method, host, origin string
		want                 int
	}{
		{"GET", "127.0.0.1:8000", "", http.StatusOK},
		{"GET", "localhost:8000", "", http.StatusOK},
		{"POST", "127.0.0.1:8000", "http://127.0.0.1:8000", http.StatusOK},
		// This name resolves to 127.0.0.1.
		{"GET", "evil.example:8000", "", http.StatusMisdirectedRequest},
		{"GET", "evil.example", "", http.StatusMisdirectedRequest},
		{"GET", "127.0.0.1", "", http.StatusMisdirectedRequest},
		{"GET", "127.0.0.1:8001", "", http.StatusMisdirectedRequest},
		{"GET", "", "", http.StatusMisdirectedRequest},
		{"POST", "127.0.0.1:8000", "http://evil.example", http.StatusForbidden},
		{"POST", "127.0.0.1:8000", "http://localhost:8001", http.StatusForbidden},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		require.Equal(t, c.want, w.Code, "%+v", c)
	}
}
