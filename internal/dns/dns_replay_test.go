package dns_test

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/dns"
)

// The packets were recorded from a node of the first implementation.
func TestReplay(t *testing.T) {
	b, err := os.ReadFile("../../testdata/rust_peer.json")
	require.NoError(t, err)
	var recorded map[string]any
	require.NoError(t, json.Unmarshal(b, &recorded))
	read := func(name string) *dns.Message {
		b, err := hex.DecodeString(recorded[name].(string))
		require.NoError(t, err)
		m, err := dns.Unpack(b)
		require.NoError(t, err, name)
		return m
	}
	const service, instance = "_sd._udp.local.", `TLWr9q15+/WrvMr8wmnYXNJlHtS4hbWGnyQa7fCluik._sd._udp.local.`

	m := read("mdns_announcement_ipv4")
	require.True(t, m.Response)
	require.Empty(t, m.Question)
	require.Len(t, m.Answer, 4)
	require.Equal(t, instance, m.Answer[0].(*dns.PTR).Ptr)
	require.Equal(t, service, m.Answer[0].Head().Name)
	srv := m.Answer[1].(*dns.SRV)
	require.EqualValues(t, 7373, srv.Port)
	require.EqualValues(t, 120, srv.TTL)
	require.Equal(t, instance, srv.Target, "its host has the instance's name")
	txt := m.Answer[2].(*dns.TXT)
	require.EqualValues(t, 4500, txt.TTL)
	require.Equal(t, []string{
		"name=Crab", "version=0.4.2", "os=Linux",
		"6ba7b810-9dad-11d1-80b4-00c04fd430c8=O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik", "device_model=Other",
	}, txt.Txt)
	require.Equal(t, "10.77.0.1", m.Answer[3].(*dns.A).A.String())

	m = read("mdns_query_known_answer_in_additional")
	require.False(t, m.Response)
	require.Equal(t, []dns.Question{{Name: service, Type: dns.TypePTR, Class: dns.ClassINET}}, m.Question)
	require.Empty(t, m.Answer)
	require.Len(t, m.Additional, 1)
	require.Equal(t, instance, m.Additional[0].(*dns.PTR).Ptr)

	require.Equal(t, &dns.Message{}, read("mdns_query_empty"))
}
