package main

import (
	"encoding/csv"
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/relay/server"
	"github.com/sdp2p/p2p/relay/token"
)

const accountText = "00112233-4455-6677-8899-aabbccddeeff"

func TestRelayToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.pem")
	issuer, err := identity.Create(file)
	require.NoError(t, err)
	node, relay := identity.New().Remote(), identity.New().Remote()
	status, stdout, stderr := sdp2p(t.Context(), "relay", "token", "--issuer", file, "--node", node.String(), "--account", accountText)
	require.Zero(t, status, stderr)
	made, err := token.Parse(stdout)
	require.NoError(t, err)
	rules := token.Rules{Relay: relay, Trusted: func(id identity.RemoteIdentity) bool { return id == issuer.Remote() }}
	require.Equal(t, token.OK, rules.Verify(made, node, time.Now()))
	require.Equal(t, token.Reserve|token.Connect, made.Rights)
	require.Equal(t, accountText, made.Account.String())
	require.Equal(t, 24*time.Hour, made.Expiry.Sub(made.NotBefore))
	require.Zero(t, made.Rate)

	status, stdout, stderr = sdp2p(t.Context(), "relay", "token", "--issuer", file, "--node", node.String(), "--account", accountText,
		"--rights", "connect", "--for", "1h", "--relay", relay.String(), "--rate", "2MB", "--quota", "-1", "--serial", "77")
	require.Zero(t, status, stderr)
	made, err = token.Parse(stdout)
	require.NoError(t, err)
	require.Equal(t, token.OK, rules.Verify(made, node, time.Now()))
	require.Equal(t, []any{token.Connect, relay, uint64(2e6), uint64(1<<63 - 1), uint32(77)}, []any{made.Rights, made.Relay, made.Rate, made.Quota, made.Serial})

	good := []string{"relay", "token", "--issuer", file, "--node", node.String(), "--account", accountText}
	for _, c := range []struct {
		args []string
		want int
	}{
		{good[:4], exitUsage}, {good[:6], exitUsage}, {append(good[:8:8], "x"), exitUsage}, {append(good[:8:8], "--rights", "all"), exitUsage},
		{append(good[:8:8], "--for", "25h"), exitFailed}, {append(good[:8:8], "--for", "0s"), exitFailed}, {append(good[:8:8], "--serial", "4294967296"), exitUsage},
		{append(good[:8:8], "--node", "x"), exitUsage}, {append(good[:8:8], "--issuer", file+"x"), exitFailed}, {append(good[:8:8], "--rate", "0"), exitUsage},
	} {
		status, stdout, _ := sdp2p(t.Context(), c.args...)
		require.Equal(t, c.want, status, c.args)
		require.Empty(t, stdout)
	}
}

func TestRelayUsage(t *testing.T) {
	state := t.TempDir()
	l, err := server.OpenLedger(filepath.Join(state, "ledger"), server.Monthly)
	require.NoError(t, err)
	issuer := identity.New().Remote()
	for i, n := range []int64{3_000_000, 5} {
		g, err := l.Take(t.Context(), token.Account{Issuer: issuer, Number: uuid.UUID{byte(i + 1)}}, n, -1)
		require.NoError(t, err)
		if i == 0 {
			require.NoError(t, l.Give(t.Context(), g, 1_000_000))
		}
	}
	period := server.Monthly.Period(time.Now()).String()
	show := func(args ...string) string {
		status, stdout, stderr := sdp2p(t.Context(), append([]string{"relay", "usage", "--state", state}, args...)...)
		require.Zero(t, status, stderr)
		return stdout
	}
	first, second := uuid.UUID{1}.String(), uuid.UUID{2}.String()
	lines := strings.Split(show(), "\n")
	require.Equal(t, []string{"PERIOD", "ISSUER", "ACCOUNT", "BYTES", "HELD"}, strings.Fields(lines[0]))
	require.Equal(t, []string{period, issuer.String(), first, "2000000", "0"}, strings.Fields(lines[1]))
	require.Equal(t, []string{period, issuer.String(), second, "5", "5"}, strings.Fields(lines[2]))

	rows, err := csv.NewReader(strings.NewReader(show("--format", "csv"))).ReadAll()
	require.NoError(t, err)
	require.Equal(t, [][]string{usageColumns, {period, issuer.String(), first, "2000000", "0"}, {period, issuer.String(), second, "5", "5"}}, rows)
	var all []usage
	require.NoError(t, json.Unmarshal([]byte(show("--format=json", "--period", period[:7])), &all))
	require.Len(t, all, 2)
	require.Equal(t, "2000000", strconv.FormatInt(all[0].Bytes, 10))
	require.Equal(t, "[]\n", show("--format=json", "--period", "1999"))
	require.NoError(t, l.Close())

	for _, args := range [][]string{{"relay", "usage", "--state", state, "--format", "xml"}, {"relay", "usage", "x"}, {"relay", "bill"}} {
		status, _, _ := sdp2p(t.Context(), args...)
		require.Equal(t, exitUsage, status, args)
	}
	status, _, _ := sdp2p(t.Context(), "relay", "usage", "--state", state+"x")
	require.Equal(t, exitFailed, status)
	status, _, stderr := sdp2p(t.Context(), "relay", "--config", state+"/absent")
	require.Equal(t, exitFailed, status, stderr)
}
