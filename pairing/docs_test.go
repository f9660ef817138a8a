package pairing

import (
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
)

// The ticket in docs/protocol.md has the content that its description there
// says.
func TestDocumentedTicket(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```ticket\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, block)
	key, err := identity.FromSeed(make([]byte, identity.SeedSize))
	require.NoError(t, err)
	want := Ticket{
		Node: key.Remote(), Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.7:7373")},
		Expiry: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		App:    "photos", Library: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"),
	}
	var secret [secretSize]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	want.secret = hidden.Of(secret)
	require.Equal(t, want.Text(), strings.Join(strings.Fields(string(block[1])), ""))
	got, err := ParseTicket(string(block[1]))
	require.NoError(t, err)
	require.Equal(t, want.secret, got.secret)
	require.True(t, want.Expiry.Equal(got.Expiry))
}
