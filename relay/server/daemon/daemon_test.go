package daemon

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/token"
)

func registered() (*Options, *flag.FlagSet) {
	o := &Options{}
	flags := flag.NewFlagSet("relay", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	o.Register(flags)
	return o, flags
}

// The configuration file in deploy contains every option, with its default.
func TestConfigFile(t *testing.T) {
	b, err := os.ReadFile("../../../deploy/relay.conf")
	require.NoError(t, err)
	_, flags := registered()
	require.NoError(t, Load(flags, bytes.NewReader(b)), "every line is commented out")
	flags.Visit(func(f *flag.Flag) { t.Errorf("%s is set", f.Name) })
	lines := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#([a-z-]+) = (.*)$`).FindAllStringSubmatch(string(b), -1) {
		lines[m[1]] = m[2]
	}
	flags.VisitAll(func(f *flag.Flag) {
		value, ok := lines[f.Name]
		require.True(t, ok, "%s is missing", f.Name)
		delete(lines, f.Name)
		if f.DefValue != "" {
			require.Equal(t, f.DefValue, value, f.Name)
		}
	})
	require.Empty(t, lines, "no such options")
	uncommented := regexp.MustCompile(`(?m)^#([a-z-]+ = )`).ReplaceAll(b, []byte("$1"))
	_, flags = registered()
	require.NoError(t, Load(flags, bytes.NewReader(uncommented)))
}

func TestLoad(t *testing.T) {
	o, flags := registered()
	require.NoError(t, flags.Parse([]string{"--rate", "1MB", "--strangers=7"}))
	require.NoError(t, Load(flags, strings.NewReader("rate = 9MB # not this\n\n quota=3GB\r\nstrangers = 8\nlisten = 127.0.0.1:1\nlisten = [::1]:2\n")))
	require.EqualValues(t, 1e6, o.rate)
	require.EqualValues(t, 3e9, o.quota)
	require.Equal(t, 7, o.cfg.Limits.Strangers)
	require.Len(t, o.cfg.Listen, 2)
	for text, want := range map[string]string{
		"\nrate": "line 2: not NAME = VALUE", "speed = 1": `line 1: there is no option "speed"`, "rate = fast": "line 1: rate:", "config = x": `no option "config"`,
		"issuer = x": "issuer", "node = x": "not NODE ACCOUNT RIGHTS", "listen = 1": "listen",
	} {
		_, flags := registered()
		require.ErrorContains(t, Load(flags, strings.NewReader(text)), want)
	}
}

func TestNode(t *testing.T) {
	o, flags := registered()
	id := identity.New().Remote()
	const account = "00112233-4455-6677-8899-aabbccddeeff"
	require.NoError(t, flags.Set("node", id.String()+" "+account+" connect"))
	require.Equal(t, token.Connect, o.nodes[id].Rights)
	require.Equal(t, account, o.nodes[id].Account.String())
	for _, bad := range []string{"", "x " + account + " connect", id.String() + " x connect", id.String() + " " + account + " all"} {
		require.Error(t, flags.Set("node", bad), bad)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "1B": 1, "4MB": 4e6, "50 GB": 5e10, "3kB": 3000, "2TB": 2e12, "-1": -1} {
		n, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, n, text)
		s := size(n)
		again, err := ParseSize(s.String())
		require.NoError(t, err)
		require.Equal(t, n, again)
	}
	for _, bad := range []string{"", "0", "-2", "x", "MB", "1PB", "1.5GB", "99999999999TB", "1e3"} {
		_, err := ParseSize(bad)
		require.Error(t, err, bad)
	}
}

func TestRevokedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked")
	id := identity.New().Remote()
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "# lost\n%v 7\n\n", id), 0o600))
	r, err := readRevoked(path, log)
	require.NoError(t, err)
	require.True(t, r.has(id, 7))
	require.False(t, r.has(id, 8))
	require.False(t, r.has(identity.New().Remote(), 7))
	again := func() { r.looked = time.Time{} }
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, "%v 7\n%v 8 # also\n", id, id), 0o600))
	require.False(t, r.has(id, 8), "the file is read again only after a while")
	again()
	require.True(t, r.has(id, 8))
	for _, bad := range []string{"x 1\n", fmt.Sprintf("%v\n", id), fmt.Sprintf("%v 4294967296\n", id)} {
		require.NoError(t, os.WriteFile(path, []byte(bad), 0o600))
		again()
		require.True(t, r.has(id, 8), "a bad file must not replace the last good one")
		_, err := readRevoked(path, log)
		require.Error(t, err, bad)
	}
	_, err = readRevoked(path+"x", log)
	require.ErrorIs(t, err, os.ErrNotExist)
	r, err = readRevoked("", log)
	require.NoError(t, err)
	require.False(t, r.has(id, 7))
}

// A relay runs, reports its state, and ends when it is told to.
func TestRun(t *testing.T) {
	o, flags := registered()
	state := filepath.Join(t.TempDir(), "new")
	require.NoError(t, flags.Parse([]string{"--state", state, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- o.Run(ctx, in)
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	pages := ""
	for pages == "" && lines.Scan() {
		if m := regexp.MustCompile(`the pages serve.* addr=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			pages = "http://" + m[1]
		}
	}
	go io.Copy(io.Discard, out)
	for path, want := range map[string]string{"/healthz": "ok\n", "/metrics": "\nsdp2p_relay_ledger_up 1\n"} {
		response, err := http.Get(pages + path)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		response.Body.Close()
		require.Contains(t, string(body), want)
	}
	cancel()
	require.NoError(t, <-ended)
	for _, name := range []string{"relay.pem", LedgerFile, "journal"} {
		require.FileExists(t, filepath.Join(state, name))
	}
	require.NoError(t, flags.Set("period", "week"))
	require.ErrorContains(t, o.Run(t.Context(), io.Discard), "week")
	require.NoError(t, flags.Set("period", "day"))
	require.NoError(t, flags.Set("http", "256.0.0.1:1"))
	require.Error(t, o.Run(t.Context(), io.Discard))
}
