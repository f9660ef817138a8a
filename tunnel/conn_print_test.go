package tunnel

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConnPrints: printing a tunnel shows neither the data that passed nor its
// keys, although its buffers and ciphers hold them.
func TestConnPrints(t *testing.T) {
	w := newWorld(t)
	p, q := net.Pipe()
	a, b := w.open(t, p, q)
	defer a.Abort(io.EOF)
	go io.WriteString(a, "said in the tunnel, and only there")
	_, err := io.ReadFull(b, make([]byte, 4)) // the rest stays in the buffer
	require.NoError(t, err)
	key := b.in.state.UnsafeKey()
	decimal := func(b []byte) string { return strings.Trim(fmt.Sprint(b), "[]") }
	traces := []string{"only there", decimal([]byte("only there")), fmt.Sprintf("%x", "only there"), decimal(key[:8]), fmt.Sprintf("%x", key[:8])}
	shows := func(printed string) {
		t.Helper()
		for _, trace := range traces {
			require.False(t, strings.Contains(printed, trace), "%.100s", printed)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q", "%c"} {
		shows(fmt.Sprintf(verb, b))
		shows(fmt.Sprintf(verb, struct{ C *Conn }{b}))
		shows(fmt.Sprintf(verb, []*Conn{b}))
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "conn", b)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "conn", b)
	shows(log.String())
	require.Contains(t, log.String(), b.String())
}
