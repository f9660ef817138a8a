package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
	"github.com/sdp2p/p2p/mdns/scan"
)

const (
	programEnv = "RUN_SDP2P"
	libraryID  = "D66E0000-0000-0000-0000-00000000000a"
	// hostile is a name that clears the screen, sets a title with 8-bit
	// controls, reverses the direction of text, breaks the line and the table,
	// and has invisible characters.
	hostile = "\x1b[2J\u009b31m\u202egnp.\u2066\r\n\tx\x00\x7f\u200b\v\U000e0041"
)

// TestMain lets the test binary act as the program, for the tests that run it
// on several hosts.
func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// sdp2p runs a command line that scans nothing.
func sdp2p(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	return scanning(ctx, scanNothing, args...)
}

// scanNothing is a scanner for commands that need none.
func scanNothing(context.Context, string, scan.Config) ([]scan.Node, error) {
	return nil, errors.New("tests send nothing")
}

// scanning runs a command line with the scanner s.
func scanning(ctx context.Context, s scanner, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = newProgram(s).run(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// scanned runs a scan for "test" that is interrupted when it has found these
// nodes.
func scanned(t *testing.T, args []string, found ...scan.Node) (stdout, stderr string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	s := func(ctx context.Context, app string, cfg scan.Config) ([]scan.Node, error) {
		if app != "test" || cfg.Interface != "radio" || cfg.Time != time.Hour {
			return nil, fmt.Errorf("scanned for %q with %+v", app, cfg)
		}
		interrupt()
		<-ctx.Done()
		return found, nil
	}
	status, stdout, stderr := scanning(ctx, s, append([]string{"scan", "--app", "test", "--interface", "radio", "--time", "1h"}, args...)...)
	require.Equal(t, exitDone, status, stderr)
	return stdout, stderr
}

func strangers(t *testing.T) []scan.Node {
	now := time.Now().In(time.FixedZone("somewhere", 3600))
	zoe, err := identity.Parse("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
	require.NoError(t, err)
	return []scan.Node{
		{Identity: zoe, Heard: now, Metadata: map[string]string{"name": "Zoë's 日本"}, Addrs: []netip.AddrPort{
			netip.MustParseAddrPort("10.0.0.1:7373"), netip.MustParseAddrPort("[fe80::1%eth0]:7373"),
		}},
		{Identity: identity.New().Remote(), Heard: now.Add(-1200 * time.Millisecond), Metadata: map[string]string{
			"name": hostile + strings.Repeat("long", 40), libraryID: hostile, "key": hostile + " <&>",
		}, Addrs: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1")}},
		{Identity: identity.New().Remote(), Heard: now, Metadata: map[string]string{}},
	}
}

func requirePlain(t *testing.T, out string) {
	t.Helper()
	require.True(t, utf8.ValidString(out))
	for _, r := range out {
		require.True(t, r == '\n' || unicode.IsPrint(r), "%q in %q", r, out)
	}
}

func TestTable(t *testing.T) {
	stdout, stderr := scanned(t, nil, strangers(t)...)
	require.Empty(t, stderr)
	requirePlain(t, stdout)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^NAME +IDENTITY +ADDRESSES +LIBRARIES +AGE$`, lines[0])
	require.Contains(t, stdout, "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik  10.0.0.1:7373 [fe80::1%eth0]:7373  0 ")
	require.Regexp(t, `(?m)^Zoë's 日本  +O2onv`, stdout)
	require.Regexp(t, `(?m)^�\[2J�31m�gnp\.����x�����longlong…  [^ ]{43}  \[2001:db8::1\]:1 +1 +1\.[2-9]s$`, stdout)
	require.Regexp(t, `(?m)^- +[^ ]{43} +0 +[0-9]+m?s$`, stdout)
	for _, line := range lines[1:] { // the columns are aligned, counted in runes
		i := utf8.RuneCountInString(lines[0][:strings.Index(lines[0], "IDENTITY")])
		_, err := identity.Parse(string([]rune(line)[i : i+identity.TextSize]))
		require.NoError(t, err, line)
	}

	stdout, stderr = scanned(t, nil)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `No node of the app "test" answered`)
}

// The output of --json is as the help describes, harmless for a terminal, and
// complete.
func TestJSON(t *testing.T) {
	stdout, stderr := scanned(t, []string{"-json"})
	require.Equal(t, "[]\n", stdout)
	require.Empty(t, stderr)

	answers := strangers(t)
	stdout, stderr = scanned(t, []string{"-json"}, answers...)
	require.Empty(t, stderr)
	requirePlain(t, stdout)
	var shape []map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &shape))
	require.Len(t, shape, 3)
	documented := regexp.MustCompile(`(?m)^  (\w+)  `).FindAllStringSubmatch(scanHelp, -1)
	for _, n := range shape {
		require.Len(t, n, len(documented))
		for _, key := range documented {
			require.NotNil(t, n[key[1]], key[1])
		}
	}

	var nodes []node
	require.NoError(t, json.Unmarshal([]byte(stdout), &nodes))
	for i, n := range nodes {
		require.Equal(t, answers[i].Identity, n.Identity, "the order must be that of the scan")
		require.Equal(t, n.Identity.Fingerprint(), n.Fingerprint)
	}
	zoe, bad, bare := nodes[0], nodes[1], nodes[2]
	require.Equal(t, "Zoë's 日本", zoe.Name)
	require.Equal(t, "[10.0.0.1:7373 [fe80::1%eth0]:7373]", fmt.Sprint(zoe.Addresses))
	require.True(t, zoe.Heard.Equal(answers[0].Heard))
	require.Equal(t, time.UTC, zoe.Heard.Location())
	require.Equal(t, hostile+strings.Repeat("long", 40), bad.Name)
	require.Equal(t, map[string]string{libraryID: hostile}, bad.Libraries)
	require.Equal(t, map[string]string{"name": bad.Name, libraryID: hostile, "key": hostile + " <&>"}, bad.Metadata)
	require.Equal(t, node{Identity: bare.Identity, Fingerprint: bare.Fingerprint, Heard: bare.Heard,
		Addresses: []netip.AddrPort{}, Libraries: map[string]string{}, Metadata: map[string]string{}}, bare)
}

func TestUsage(t *testing.T) {
	status, stdout, stderr := sdp2p(t.Context())
	require.Equal(t, exitUsage, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "sdp2p scan [--app sd]")

	for _, help := range []string{"help", "-h", "-help", "--help"} {
		status, stdout, stderr = sdp2p(t.Context(), help)
		require.Equal(t, exitDone, status)
		require.Empty(t, stderr)
		for _, c := range newProgram(scanNothing) {
			require.Contains(t, stdout, "sdp2p "+c.name+" "+c.synopsis)
		}
		require.Contains(t, stdout, exitStatus)
	}
	for _, args := range [][]string{{"help", "scan"}, {"scan", "-h"}, {"scan", "--help"}, {"scan", "--json", "-help"}} {
		status, stdout, stderr = sdp2p(t.Context(), args...)
		require.Equal(t, exitDone, status)
		require.Empty(t, stderr)
		for _, part := range []string{"usage: sdp2p scan ", "-interface name", "-time", scanHelp, exitStatus} {
			require.Contains(t, stdout, part)
		}
	}
	for says, args := range map[string][]string{
		`no command "scam"`:        {"scam"},
		`no command "ids"`:         {"help", "ids"},
		"not defined: -bogus":      {"scan", "--bogus"},
		`"sd" is one argument too`: {"scan", "sd", "--json"},
		`--app "a--b": 1 to 12`:    {"scan", "--app", "a--b"},
		`--app "": 1 to 12`:        {"scan", "--app="},
		"--time -1s":               {"scan", "--time", "-1s"},
		`invalid value "2"`:        {"scan", "--time", "2"},
	} {
		status, stdout, stderr = sdp2p(t.Context(), args...)
		require.Equal(t, exitUsage, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
		require.Contains(t, stderr, "sdp2p")
	}
}

func TestFailures(t *testing.T) {
	status, stdout, stderr := scanning(t.Context(), scan.Scan, "scan", "--interface", "no such interface")
	require.Equal(t, exitFailed, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `sdp2p scan: mdns: interface "no such interface": `)
	require.Contains(t, stderr, " "+exampletest.Loopback(t), "the error must list the interfaces")

	refused := func(context.Context, string, scan.Config) ([]scan.Node, error) { return nil, syscall.EPERM }
	status, stdout, stderr = scanning(t.Context(), refused, "scan", "--json")
	require.Equal(t, exitFailed, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, syscall.EPERM.Error())

	partly := func(_ context.Context, _ string, cfg scan.Config) ([]scan.Node, error) {
		cfg.Warn(syscall.EPERM)
		return strangers(t), nil
	}
	status, stdout, stderr = scanning(t.Context(), partly, "scan")
	require.Equal(t, exitDone, status)
	require.Contains(t, stdout, "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
	require.Contains(t, stderr, "incomplete: "+syscall.EPERM.Error())

	for _, args := range [][]string{nil, {"--json"}} { // the disk is full
		full, w := io.Pipe()
		require.NoError(t, full.CloseWithError(syscall.ENOSPC))
		var errs bytes.Buffer
		require.Equal(t, exitFailed, newProgram(partly).run(t.Context(), append([]string{"scan"}, args...), w, &errs))
		require.Contains(t, errs.String(), syscall.ENOSPC.Error())
	}
}
