package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/exampletest"
)

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// examined runs the doctor on loopback and returns its output.
func examined(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return sdp2p(t.Context(), append([]string{"doctor", "--app", "test", "--interface", exampletest.Loopback(t), "--time", "1s"}, args...)...)
}

// decoded decodes the output of --json, and checks that it has the form that
// the help describes.
func decoded(t *testing.T, stdout string) *report {
	t.Helper()
	requirePlain(t, stdout)
	var r report
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	var shape map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &shape))
	_, keys, _ := strings.Cut(doctorHelp, "--json")
	documented := regexp.MustCompile(`(?m)^  (\w+)  `).FindAllStringSubmatch(keys, -1)
	require.Len(t, shape, len(documented))
	for _, key := range documented {
		require.Contains(t, shape, key[1])
	}
	return &r
}

// about returns the checks of a topic.
func (r *report) about(topic string) (checks []check) {
	for _, c := range r.Checks {
		if c.Topic == topic {
			checks = append(checks, c)
		}
	}
	return checks
}

// On a host where all is well, the node is reached.
func TestDoctor(t *testing.T) {
	node, port := startNode(t, "test", hostile)
	free := strconv.Itoa(int(freePort(t)))
	addr := netip.AddrPortFrom(localhost, port).String()
	// Long enough for a busy machine.
	status, stdout, stderr := examined(t, "--port", free, "--json", "--time", "4s", addr)
	require.Equal(t, exitDone, status, "%s%s", stdout, stderr)
	require.Empty(t, stderr)
	r := decoded(t, stdout)
	require.NotEqual(t, fail, r.Verdict)
	for _, topic := range []string{"interfaces", "multicast", "port", "socket", "clock", "peer"} {
		require.NotEmpty(t, r.about(topic), topic)
		require.Contains(t, doctorHelp, "\n  "+topic+" ")
	}
	require.Equal(t, free+" IPv4", r.about("port")[0].Subject)
	require.Equal(t, "free", r.about("port")[0].Value)
	require.Contains(t, r.about("port")[1].Value, "reached from 127.0.0.")
	require.NotNil(t, r.Heard)
	require.Equal(t, addr, r.Peer.Asked)
	require.True(t, r.Peer.Reached)
	require.Equal(t, node.Identity(), r.Peer.Candidates[0].Identity)
	require.Equal(t, hostile, r.Peer.Candidates[0].Name)

	status, stdout, stderr = examined(t, "--port", free)
	require.Equal(t, exitDone, status, "%s%s", stdout, stderr)
	requirePlain(t, stdout)
	require.Regexp(t, `(?m)^ok +interfaces  lo[0-9]* +[0-9a-f.:/]+, .*used$`, stdout)
	require.Regexp(t, `\n\n[0-9]+ ok, [0-9]+ warn, 0 fail\n$`, stdout)
	require.NotContains(t, stdout, "  peer  ")
}

// When a port is in use, a node on it is as it should be, and any other program
// on it is reported.
func TestPortInUse(t *testing.T) {
	node, port := startNode(t, "test", "app")
	status, stdout, _ := examined(t, "--port", strconv.Itoa(int(port)), "--json")
	require.Equal(t, exitDone, status, stdout)
	for _, c := range decoded(t, stdout).about("port") {
		require.Equal(t, fine, c.Verdict)
		require.Equal(t, "in use by the node app, "+node.Identity().String(), c.Value)
	}

	other, err := net.ListenUDP("udp4", &net.UDPAddr{})
	require.NoError(t, err)
	defer other.Close()
	taken := strconv.Itoa(other.LocalAddr().(*net.UDPAddr).Port)
	status, stdout, stderr := examined(t, "--port", taken, "--json")
	require.Equal(t, exitFailed, status)
	require.Regexp(t, `^sdp2p doctor: of [0-9]+ checks, 1 failed; `, stderr)
	r := decoded(t, stdout)
	require.Equal(t, fail, r.Verdict)
	require.Nil(t, r.Peer)
	c := r.about("port")[0]
	require.Equal(t, check{"port", taken + " IPv4", fail, codePortTaken, "in use, but not by a node that can be reached", c.Advice}, c)
	require.Contains(t, c.Advice, "quic.Config.Port")
	require.Contains(t, c.Advice, taken)
}

// The doctor notices a datagram that does not arrive. If the host has another
// address, the sender's address is another one.
func TestArrives(t *testing.T) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(localhost, 0)))
	require.NoError(t, err)
	defer conn.Close()
	d := &doctor{port: conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()}
	a := d.arrive(conn, localhost, []netip.Addr{localhost})
	require.True(t, a.arrived)
	require.Equal(t, localhost, a.from)
	require.Positive(t, a.took)
	second := netip.AddrFrom4([4]byte{127, 0, 0, 2})
	a = d.arrive(conn, localhost, []netip.Addr{localhost, netip.MustParseAddr("203.0.113.1"), second})
	require.True(t, a.arrived)
	// Most systems have the address 127.0.0.2.
	require.Contains(t, []netip.Addr{localhost, second}, a.from)

	d.port = freePort(t) // now the datagrams go elsewhere, and somebody else's arrives
	_, err = conn.WriteTo([]byte("stray"), conn.LocalAddr())
	require.NoError(t, err)
	require.Equal(t, arrival{from: localhost, to: localhost, socket: true}, d.arrive(conn, localhost, []netip.Addr{localhost}))
	a = d.arrive(conn, netip.MustParseAddr("203.0.113.1"), nil)
	require.False(t, a.socket)
}

func TestPeerNotReached(t *testing.T) {
	addr := netip.AddrPortFrom(localhost, freePort(t)).String()
	status, stdout, stderr := examined(t, "--port", strconv.Itoa(int(freePort(t))), addr)
	require.Equal(t, exitFailed, status)
	require.Contains(t, stderr, "1 failed")
	require.Regexp(t, `(?m)^fail  peer +`+regexp.QuoteMeta(addr)+` +refused: .*\n {6,}→ Start the app there`, stdout)
}

func TestDoctorUsage(t *testing.T) {
	for says, args := range map[string][]string{
		`"b" is one argument too`:       {"a", "b"},
		`--app "a--b": 1 to 12`:         {"--app", "a--b"},
		"--time 0s":                     {"--time", "0s"},
		"--port 0: 1 to 65535":          {"--port", "0"},
		"--port 65536: 1 to 65535":      {"--port", "65536"},
		`"a b": not a host name`:        {"a b"},
		"or the 43 characters of an id": {"http://laptop"},
		"has the length of an identity": {strings.Repeat("A", identity.TextSize)},
	} {
		status, stdout, stderr := examined(t, args...)
		require.Equal(t, exitUsage, status, args)
		require.Empty(t, stdout)
		require.Contains(t, stderr, says)
	}
	full, w := io.Pipe()
	require.NoError(t, full.CloseWithError(syscall.ENOSPC))
	var errs bytes.Buffer
	args := []string{"doctor", "--interface", exampletest.Loopback(t), "--time=10ms", "--port", strconv.Itoa(int(freePort(t)))}
	require.Equal(t, exitFailed, newProgram(scanNothing).run(t.Context(), args, w, &errs))
	require.Contains(t, errs.String(), syscall.ENOSPC.Error())
}

// The JSON that scripts rely on, and the table that people see, have not
// changed.
func TestReport(t *testing.T) {
	id, err := identity.Parse("O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik")
	require.NoError(t, err)
	r := &report{
		Verdict: fail,
		Checks: []check{
			{"interfaces", "wifi", fine, codeOK, "192.168.1.7/24, used", ""},
			{"multicast", "wifi IPv4", warn, codeUnheard, "own query back after 1ms; nothing from others", "If there are other devices: …"},
			{"peer", "192.168.1.9:7373", fail, codeForeign, "reset by " + hostile, "Restart it."},
			{"peer", "", fine, codeOK, "x", ""},
		},
		Heard: []source{{"wifi", "IPv4", netip.MustParseAddr("192.168.1.1"), 3}},
		Peer: &peerReport{Asked: "laptop", Reached: true, Candidates: []candidate{
			{netip.MustParseAddrPort("192.168.1.8:7373"), true, 12.345, id, id.Fingerprint(), "Zoë's " + hostile},
			{Address: netip.MustParseAddrPort("[2001:db8::1]:7373"), Milliseconds: 3000},
		}},
		Outside: &outReport{NAT: coneNAT, Path: "relay", Relays: []relayReport{
			{netip.MustParseAddrPort("192.0.2.1:7374"), id, true, netip.MustParseAddrPort("198.51.100.1:7373"), 12.5}, {Identity: id},
		}},
	}
	var asJSON, table bytes.Buffer
	require.NoError(t, writeJSON(&asJSON, r))
	require.NoError(t, r.write(&table))
	for name, got := range map[string]string{"doctor.json": asJSON.String(), "doctor.txt": table.String()} {
		requirePlain(t, got)
		want, err := os.ReadFile("testdata/" + name)
		require.NoError(t, err, "%s", got)
		require.Equal(t, string(want), got, name)
	}
	back := decoded(t, asJSON.String())
	require.Equal(t, r, back)
	// The help documents all keys.
	for _, of := range []any{check{}, source{}, peerReport{}, candidate{}, outReport{}, relayReport{}} {
		for i := range reflect.TypeOf(of).NumField() {
			require.Contains(t, doctorHelp, reflect.TypeOf(of).Field(i).Tag.Get("json"))
		}
	}
}
