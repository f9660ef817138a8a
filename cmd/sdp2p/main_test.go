package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
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
	"github.com/sdp2p/p2p/mdns"
)

const (
	programEnv = "RUN_SDP2P"
	library    = "D66E0000-0000-0000-0000-00000000000a"
	// hostile clears the screen, sets a title in 8-bit controls, turns the direction, breaks the line and the table, is invisible.
	hostile = "\x1b[2J\u009b31m\u202egnp.\u2066\r\n\tx\x00\x7f\u200b\v\U000e0041"
)

// TestMain lets the test binary be the program, for the tests that run it among hosts. Those in this process ask nobody.
func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	mdns.RegisterScanner(func(context.Context, string, *net.Interface, time.Duration) ([]mdns.Answer, error) {
		return nil, errors.New("tests send nothing")
	})
	os.Exit(m.Run())
}

// sdp2p runs a command line.
func sdp2p(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	return status, out.String(), errs.String()
}

// loopback returns the name of an interface that every host has, for scans that ask nobody.
func loopback(t *testing.T) string {
	all, err := net.Interfaces()
	require.NoError(t, err)
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			return i.Name
		}
	}
	t.Skip("no loopback interface")
	return ""
}

// scanned runs a scan for "test" that hears these answers, asks again, and is interrupted then.
func scanned(t *testing.T, args []string, answers ...mdns.Answer) (stdout, stderr string) {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	asked := false
	mdns.RegisterScanner(func(ctx context.Context, service string, _ *net.Interface, _ time.Duration) ([]mdns.Answer, error) {
		if service != "_test._udp" {
			return nil, fmt.Errorf("asked for %q", service)
		}
		if !asked {
			asked = true
			return answers, nil
		}
		interrupt()
		return nil, ctx.Err()
	})
	status, stdout, stderr := sdp2p(ctx, append([]string{"scan", "--app", "test", "--interface", loopback(t), "--time", "1h"}, args...)...)
	require.Equal(t, exitDone, status, stderr)
	return stdout, stderr
}

func strangers() []mdns.Answer {
	now := time.Now().In(time.FixedZone("somewhere", 3600))
	return []mdns.Answer{
		{Instance: "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik", Heard: now, TXT: []string{"name=Zoë's 日本"}, Addrs: []netip.AddrPort{
			netip.MustParseAddrPort("[fe80::1%eth0]:7373"), netip.MustParseAddrPort("10.0.0.1:7373"),
		}},
		{Instance: identity.New().Remote().String(), Heard: now.Add(-1200 * time.Millisecond), TXT: []string{
			"name=" + hostile + strings.Repeat("long", 40), library + "=" + hostile, "key=" + hostile + " <&>", "sdp2p=2",
		}, Addrs: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::1]:1")}},
		{Instance: identity.New().Remote().String(), Heard: now},
		{Instance: hostile, Heard: now},
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
	stdout, stderr := scanned(t, nil, strangers()...)
	require.Empty(t, stderr)
	requirePlain(t, stdout)
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	require.Len(t, lines, 4)
	require.Regexp(t, `^NAME +IDENTITY +ADDRESSES +LIBRARIES +AGE$`, lines[0])
	require.Contains(t, stdout, "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik  10.0.0.1:7373 [fe80::1%eth0]:7373  0 ")
	require.Regexp(t, `(?m)^Zoë's 日本  +O2onv`, stdout)
	require.Regexp(t, `(?m)^�\[2J�31m�gnp\.����x�����longlong…  [^ ]{43}  \[2001:db8::1\]:1 +1 +1\.[2-9]s$`, stdout)
	require.Regexp(t, `(?m)^- +[^ ]{43} +0 +[0-9]+m?s$`, stdout)
	for _, line := range lines[1:] { // aligned, in runes
		i := utf8.RuneCountInString(lines[0][:strings.Index(lines[0], "IDENTITY")])
		_, err := identity.Parse(string([]rune(line)[i : i+identity.TextSize]))
		require.NoError(t, err, line)
	}

	stdout, stderr = scanned(t, nil)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `No node of the app "test" answered`)
}

// What --json prints is what the help says, is safe to look at, and loses nothing.
func TestJSON(t *testing.T) {
	stdout, stderr := scanned(t, []string{"-json"})
	require.Equal(t, "[]\n", stdout)
	require.Empty(t, stderr)

	answers := strangers()
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
	found := map[string]node{}
	for i, n := range nodes {
		found[n.Identity.String()] = n
		require.Equal(t, n.Identity.Fingerprint(), n.Fingerprint)
		require.True(t, i == 0 || nodes[i-1].Identity.String() < n.Identity.String())
	}
	zoe, bad, silent := found[answers[0].Instance], found[answers[1].Instance], found[answers[2].Instance]
	require.Equal(t, "Zoë's 日本", zoe.Name)
	require.Equal(t, "[10.0.0.1:7373 [fe80::1%eth0]:7373]", fmt.Sprint(zoe.Addresses))
	require.True(t, zoe.Heard.Equal(answers[0].Heard))
	require.Equal(t, time.UTC, zoe.Heard.Location())
	require.Equal(t, hostile+strings.Repeat("long", 40), bad.Name)
	require.Equal(t, map[string]string{library: hostile}, bad.Libraries)
	require.Equal(t, map[string]string{"name": bad.Name, library: hostile, "key": hostile + " <&>"}, bad.Metadata)
	require.Equal(t, node{Identity: silent.Identity, Fingerprint: silent.Fingerprint, Heard: silent.Heard,
		Addresses: []netip.AddrPort{}, Libraries: map[string]string{}, Metadata: map[string]string{}}, silent)
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
		for _, c := range commands {
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
	status, stdout, stderr := sdp2p(t.Context(), "scan", "--interface", "no such interface")
	require.Equal(t, exitFailed, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, `sdp2p scan: mdns: interface "no such interface": `)
	require.Contains(t, stderr, " "+loopback(t), "the choice")

	mdns.RegisterScanner(func(context.Context, string, *net.Interface, time.Duration) ([]mdns.Answer, error) {
		return nil, syscall.EPERM
	})
	status, stdout, stderr = sdp2p(t.Context(), "scan", "--json", "--interface", loopback(t))
	require.Equal(t, exitFailed, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, syscall.EPERM.Error())

	worked := false
	mdns.RegisterScanner(func(_ context.Context, _ string, _ *net.Interface, wait time.Duration) ([]mdns.Answer, error) {
		require.LessOrEqual(t, wait, time.Second)
		if worked {
			return nil, syscall.EPERM
		}
		worked = true
		return strangers(), nil
	})
	status, stdout, stderr = sdp2p(t.Context(), "scan", "--interface", loopback(t), "--time", "100ms")
	require.Equal(t, exitDone, status)
	require.Contains(t, stdout, "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
	require.Contains(t, stderr, "not all was scanned")

	for _, args := range [][]string{nil, {"--json"}} { // the disk is full
		worked = false
		full, w := io.Pipe()
		require.NoError(t, full.CloseWithError(syscall.ENOSPC))
		var errs bytes.Buffer
		require.Equal(t, exitFailed, run(t.Context(), append([]string{"scan", "-interface", loopback(t), "-time=100ms"}, args...), w, &errs))
		require.Contains(t, errs.String(), syscall.ENOSPC.Error())
	}
}
