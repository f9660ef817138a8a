package pairing

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
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

// fixedTicket returns a ticket with fixed content.
func fixedTicket(t testing.TB) Ticket {
	id, err := identity.FromSeed(make([]byte, 32))
	require.NoError(t, err)
	ticket := Ticket{
		Node: id.Remote(), Expiry: time.Unix(0x01020304*60, 0),
		Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7373"), netip.MustParseAddrPort("[2001:db8::1]:65535")},
	}
	var secret [secretSize]byte
	for i := range secret {
		secret[i] = byte(i)
	}
	ticket.secret = hidden.Of(secret)
	return ticket
}

// These are the bytes according to the type's comment and the protocol, in
// little-endian order.
const (
	fixedHex = "02" + "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29" +
		"000102030405060708090a0b0c0d0e0f" + "04030201" + "02" +
		"04" + "c0000201" + "cd1c" + "06" + "20010db8000000000000000000000001" + "ffff"
)

func TestTicketFormat(t *testing.T) {
	ticket := fixedTicket(t)
	body, err := hex.DecodeString(fixedHex)
	require.NoError(t, err)
	sum := sha256.Sum256(body)
	want := append(body, sum[:4]...)
	b, err := ticket.AppendBinary([]byte("before"))
	require.NoError(t, err)
	require.Equal(t, append([]byte("before"), want...), b)
	text := "sdp2p1:" + strings.TrimRight(base32.StdEncoding.EncodeToString(want), "=")
	require.Equal(t, text, ticket.Text())

	got, err := ParseTicket(text)
	require.NoError(t, err)
	require.Equal(t, ticket, got)
	for name, other := range map[string]string{
		"lower case":   strings.ToLower(text),
		"upper case":   strings.ToUpper(text),
		"space around": "\n\t " + text + " \r\n",
		"wrapped":      text[:20] + "\r\n  " + text[20:90] + "\n" + text[90:],
	} {
		got, err := ParseTicket(other)
		require.NoError(t, err, name)
		require.Equal(t, ticket, got, name)
	}
	require.NotContains(t, fmt.Sprint(slog.AnyValue(ticket).Resolve()), text[70:90])
}

// sealed makes a ticket's text from its bytes.
func sealed(body []byte) string {
	sum := sha256.Sum256(body)
	return prefix + encoding.EncodeToString(append(body[:len(body):len(body)], sum[:sumSize]...))
}

func TestTicketAltered(t *testing.T) {
	text := fixedTicket(t).Text()
	refused := func(text string) {
		t.Helper()
		got, err := ParseTicket(text)
		require.ErrorIs(t, err, ErrTicket, text)
		require.Zero(t, got)
	}
	for i := range text {
		refused(text[:i])
		refused(text[:i] + text[i+1:])
		refused(text[:i] + "=" + text[i:])
		for _, c := range "A7B2Z" {
			if altered := text[:i] + string(c) + text[i+1:]; !strings.EqualFold(altered, text) {
				refused(altered)
			}
		}
	}
	refused("")
	refused(prefix)
	refused(text + "A")
	refused(text + "=")
	refused(prefix + text)
	refused("sdp2p2:" + text[len(prefix):])
	refused(prefix + strings.Repeat("A", 1<<20))

	// The unused bits of the last character must be zero.
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", text[len(text)-1])
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" {
		if i != last {
			refused(text[:len(text)-1] + string(c))
		}
	}
}

// Faults that the checksum does not find are still detected.
func TestTicketInvalid(t *testing.T) {
	body, err := hex.DecodeString(fixedHex)
	require.NoError(t, err)
	_, err = ParseTicket(sealed(body))
	require.NoError(t, err)
	with := func(at int, b ...byte) []byte {
		altered := append([]byte(nil), body...)
		copy(altered[at:], b)
		return altered
	}
	for name, bad := range map[string][]byte{
		"version 0":      with(0, 0),
		"version 3":      with(0, 3),
		"no key":         with(1, make([]byte, 32)...),
		"not canonical":  with(1, []byte(strings.Repeat("\xff", 32))...),
		"count 3":        with(53, 3),
		"count 1":        with(53, 1),
		"count 5":        append(with(53, 5), body[54:]...),
		"family 0":       with(54, 0),
		"family 5":       with(54, 5),
		"family 6 for 4": with(54, 6),
		"4in6":           with(62, append(make([]byte, 10), 0xff, 0xff, 192, 0, 2, 1)...),
		"a byte more":    append(body[:len(body):len(body)], 0),
		"half a field":   append(body[:len(body):len(body)], 1, 2, 'a'),
		"no UTF-8":       append(body[:len(body):len(body)], 1, 1, 0xff),
		"a short UUID":   append(body[:len(body):len(body)], 2, 1, 0),
		"a long port":    append(body[:len(body):len(body)], 3, 3, 0, 0, 0),
		"a relay":        append(body[:len(body):len(body)], 4, 1, 0),
		"no such key":    append(append(body[:len(body):len(body)], 5, 32), make([]byte, 32)...),
		"old, and more":  append(with(0, 1), 1, 1, 'a'),
		"empty":          {},
	} {
		_, err := ParseTicket(sealed(bad))
		require.ErrorIs(t, err, ErrTicket, name)
	}
	for i := range body {
		_, err := ParseTicket(sealed(body[:i]))
		require.ErrorIs(t, err, ErrTicket, "%d bytes", i)
	}
}

// Optional fields are preserved, unknown ones are skipped, and a version 1
// ticket has none.
func TestTicketFields(t *testing.T) {
	full := fixedTicket(t)
	full.App, full.Library, full.Lane, full.Ephemeral = "photos", uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), 7373, full.Node
	full.Relays = []TicketRelay{{full.Node, full.Addrs[0]}, {full.Node, full.Addrs[1]}}
	got, err := ParseTicket(full.Text())
	require.NoError(t, err)
	require.Equal(t, full, got)
	b, err := full.AppendBinary(nil)
	require.NoError(t, err)
	body := b[:len(b)-sumSize]
	fields := hex.EncodeToString(body[len(fixedHex)/2:])
	key := fixedHex[2:66]
	require.Equal(t, "0106"+hex.EncodeToString([]byte("photos"))+"0210"+"00112233445566778899aabbccddeeff"+"0302"+"cd1c"+
		"0427"+key+"04"+"c0000201"+"cd1c"+"0433"+key+"06"+"20010db8000000000000000000000001"+"ffff"+"0520"+key, fields)

	got, err = ParseTicket(sealed(append(body[:len(body):len(body)], 200, 3, 'n', 'e', 'w')))
	require.NoError(t, err)
	require.Equal(t, full, got)

	old, err := hex.DecodeString("01" + fixedHex[2:])
	require.NoError(t, err)
	got, err = ParseTicket(sealed(old))
	require.NoError(t, err)
	require.Equal(t, fixedTicket(t), got)
	require.True(t, strings.HasPrefix(got.Text(), "sdp2p1:AI"), "written as version 2")

	for _, alter := range []func(*Ticket){
		func(t *Ticket) { t.App = strings.Repeat("x", 256) },
		func(t *Ticket) { t.Relays = append(t.Relays, t.Relays[0]) },
		func(t *Ticket) { t.Relays = []TicketRelay{{Node: t.Node}} },
	} {
		bad := full
		bad.Relays = full.Relays[:2:2]
		alter(&bad)
		require.Empty(t, bad.Text())
	}
}

func TestTicketByHand(t *testing.T) {
	good := fixedTicket(t)
	many := make([]netip.AddrPort, MaxAddrs+1)
	for i := range many {
		many[i] = good.Addrs[0]
	}
	for name, alter := range map[string]func(*Ticket){
		"zero":           func(t *Ticket) { *t = Ticket{} },
		"no node":        func(t *Ticket) { t.Node = identity.RemoteIdentity{} },
		"before 1970":    func(t *Ticket) { t.Expiry = time.Unix(-60, 0) },
		"no expiry":      func(t *Ticket) { t.Expiry = time.Time{} },
		"too late":       func(t *Ticket) { t.Expiry = time.Unix((1<<32)*60, 0) },
		"many addresses": func(t *Ticket) { t.Addrs = many },
		"4in6":           func(t *Ticket) { t.Addrs = []netip.AddrPort{netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")} },
		"zone":           func(t *Ticket) { t.Addrs = []netip.AddrPort{netip.MustParseAddrPort("[fe80::1%eth0]:1")} },
		"no address":     func(t *Ticket) { t.Addrs = make([]netip.AddrPort, 1) },
	} {
		ticket := good
		alter(&ticket)
		_, err := ticket.AppendBinary(nil)
		require.ErrorIs(t, err, ErrTicket, name)
		require.Empty(t, ticket.Text(), name)
	}
	good.Addrs = many[:MaxAddrs]
	got, err := ParseTicket(good.Text())
	require.NoError(t, err)
	require.Equal(t, good, got)
	good.Addrs = nil
	got, err = ParseTicket(good.Text())
	require.NoError(t, err)
	require.Equal(t, good, got)
}

func TestNewTicket(t *testing.T) {
	node := fixedTicket(t).Node
	now := time.Unix(1_000_000_020, 7)
	require.Zero(t, time.Unix(1_000_000_020, 0).Unix()%60)
	addrs := make([]netip.AddrPort, MaxAddrs+1)
	for i := range addrs {
		addrs[i] = netip.MustParseAddrPort(fmt.Sprintf("192.0.2.1:%d", i+1))
	}
	a, b := newTicket(node, addrs, now), newTicket(node, addrs, now)
	require.NotEqual(t, a.secret, b.secret)
	require.NotEqual(t, a.psk(purpose), b.psk(purpose))
	require.NotEqual(t, a.psk(purpose), a.psk(inviting))
	require.Equal(t, addrs[:MaxAddrs], a.Addrs)
	require.Equal(t, now.Unix()+60, a.Expiry.Unix(), "rounded up")
	addrs[0] = addrs[1]
	require.NotEqual(t, addrs[0], a.Addrs[0], "the caller's slice is not kept")
	require.Equal(t, int64(1_000_000_020), newTicket(node, nil, time.Unix(1_000_000_020, 0)).Expiry.Unix())

	b = a
	b.Node = identity.New().Remote()
	require.NotEqual(t, a.psk(purpose), b.psk(purpose), "the key depends on the node, too")
}

func FuzzParseTicket(f *testing.F) {
	good := fixedTicket(f)
	f.Add(good.Text())
	f.Add(strings.ToLower(good.Text()))
	good.Relays = []TicketRelay{{good.Node, good.Addrs[0]}, {good.Node, good.Addrs[1]}}
	f.Add(good.Text())
	good.Addrs = nil
	f.Add(good.Text())
	f.Add(sealed(binary.BigEndian.AppendUint64(nil, 1)))
	f.Add("sdp2p1:")
	f.Fuzz(func(t *testing.T, text string) {
		ticket, err := ParseTicket(text)
		if err != nil {
			require.ErrorIs(t, err, ErrTicket)
			return
		}
		require.NotEmpty(t, ticket.Text()) // the same text, except for version 1 and unknown fields
		again, err := ParseTicket(ticket.Text())
		require.NoError(t, err)
		require.Equal(t, ticket, again)
	})
}

// FuzzTicketBytes fuzzes tickets whose checksum is right.
func FuzzTicketBytes(f *testing.F) {
	body, err := hex.DecodeString(fixedHex)
	require.NoError(f, err)
	f.Add(body)
	f.Add(body[:54])
	relayed := fixedTicket(f)
	relayed.App, relayed.Relays = "photos", []TicketRelay{{relayed.Node, relayed.Addrs[1]}}
	b, err := relayed.AppendBinary(nil)
	require.NoError(f, err)
	f.Add(b[:len(b)-sumSize])
	f.Fuzz(func(t *testing.T, body []byte) {
		ticket, err := ParseTicket(sealed(body))
		if err != nil {
			require.ErrorIs(t, err, ErrTicket)
			return
		}
		again, err := ParseTicket(ticket.Text())
		require.NoError(t, err)
		require.Equal(t, ticket, again)
	})
}

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
