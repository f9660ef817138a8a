package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/text"
)

// The report for a bug tells what was found, but nobody's name.
func TestReportFile(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state.json")
	require.NoError(t, os.WriteFile(state, []byte(`{
		"app": "sd", "identity": "w4", "metadata": {"name": "Oscars Laptop"},
		"hooks": [{"name": "quic"}, {"name": "libraries", "report": {"details": {"libraries": [{"name": "Photos", "instance": "x"}]}}}],
		"peers": [{"identity": "x7", "name": "Oscars Phone", "metadata": {"name": "Oscars Phone"}, "connections": [{"rtt_ns": 7}]}]
	}`), 0o600))
	r := &report{
		Verdict: warn, Checks: []check{{Topic: "peer", Subject: "oscars-phone.local", Verdict: warn, Value: `it is "Oscars Phone"`, Advice: "wait"}},
		Heard: []source{{Interface: "eth0", Family: "IPv4", Source: netip.MustParseAddr("192.0.2.7"), Packets: 3}},
		Peer: &peerReport{Asked: "oscars-phone.local", Reached: true, Candidates: []candidate{
			{Address: netip.MustParseAddrPort("192.0.2.1:7373"), Reached: true, Milliseconds: 1.5, Name: "Oscars Phone"},
		}},
	}
	f := &reportFile{path: filepath.Join(dir, "report.txt"), state: state}
	require.NoError(t, f.write(&doctor{app: "sd", port: 7373}, r, []string{"oscars-phone.local"}))
	b, err := os.ReadFile(f.path)
	require.NoError(t, err)
	text := string(b)
	for _, has := range []string{"→ wait", `"(name)"`, "eth0 IPv4 192.0.2.7: 3 packets", "192.0.2.1:7373: reached true after 1.5 ms", `"rtt_ns": 7`, `"name": "quic"`, "system "} {
		require.Contains(t, text, has)
	}
	for _, name := range []string{"Oscar", "oscars", "Photos"} {
		require.NotContains(t, text, name)
	}
	require.Error(t, f.write(&doctor{}, r, nil), "an existing file must not be overwritten")
	require.NoError(t, (&reportFile{}).write(&doctor{}, r, nil))
}

// Names are left out of the report also where they have another form, contain
// one another, or are part of an error's text.
func TestReportNames(t *testing.T) {
	long := "Oscars Laptop " + strings.Repeat("with a long name ", 3) + hostile
	host, err := os.Hostname()
	require.NoError(t, err)
	r := &report{
		Checks: []check{{Topic: "peer", Value: fmt.Sprintf("%s, and %q, %s of Oscar", printable(long), text.Mask(long), host)}},
		Peer:   &peerReport{Asked: "192.0.2.1", Candidates: []candidate{{Name: long}, {Name: "Oscar"}, {Name: host + " of Oscar"}}},
	}
	state := filepath.Join(t.TempDir(), "state.json")
	require.NoError(t, os.WriteFile(state, []byte(`{
		"identity": "w4", "metadata": {"name": "Oscars Laptop"}, "hooks": [{"name": "quic", "cause": "of Oscars Laptop and Oscar"}],
		"peers": [{"identity": "x7", "name": "Oscar", "unreachable": "lookup oscar.local: no such host", "candidates": [
			{"error": "dial: lookup oscar-phone.local on 192.0.2.1:53: no such host"}]}]
	}`), 0o600))
	text, err := (&reportFile{state: state}).text(&doctor{app: "sd"}, r, nil)
	require.NoError(t, err)
	for _, name := range []string{"Oscar", "oscar", "long name", " of (name)\n"} {
		require.NotContains(t, text, name)
	}
	for _, has := range []string{"lookup (name): no such host", "lookup (name) on 192.0.2.1:53: no such host", `"name": "quic"`} {
		require.Contains(t, text, has)
	}
}
