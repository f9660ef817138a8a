package pairing

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

type decoder interface {
	message
	DecodeFrom(*proto.Decoder) error
}

const key0 = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29" // of a seed of zeros

func key(t testing.TB) identity.RemoteIdentity {
	id, err := identity.FromSeed(make([]byte, 32))
	require.NoError(t, err)
	return id.Remote()
}

func welcomed(t testing.TB) *welcome {
	return &welcome{library.Record{
		ID: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), Name: "Photos", Founder: key(t), Secret: library.SecretOf([32]byte{1, 2, 3}),
		Statements: roster.Statements{stated(t)},
	}, library.RoleAdmin}
}

// stated returns a statement with fixed content, which is not signed.
func stated(t testing.TB) roster.Statement {
	return roster.Statement{
		Kind: roster.KindEndorse, Library: uuid.MustParse("00112233-4455-6677-8899-aabbccddeeff"), Signer: key(t),
		Counter: 7, Time: 0x0102030405, Body: []byte("abc"),
	}
}

var statedHex = "04" + "00112233445566778899aabbccddeeff" + key0 + "07000000" + strings.Repeat("00", 32) + "0504030201000000" +
	"0300616263" + strings.Repeat("00", 64)

func TestMessages(t *testing.T) {
	for name, test := range map[string]struct {
		message decoder
		empty   func() decoder
		hex     string
	}{
		"hello":        {&hello{name: "Bob"}, func() decoder { return new(hello) }, "02" + "0300426f62"},
		"nameless":     {&hello{}, func() decoder { return new(hello) }, "02" + "0000"},
		"reply":        {&reply{name: "Alice"}, func() decoder { return new(reply) }, "02" + "00" + "0500416c696365"},
		"reply, used":  {&reply{status: statusUsed}, func() decoder { return new(reply) }, "02" + "01" + "0000"},
		"reply, no":    {&reply{status: statusDeclined}, func() decoder { return new(reply) }, "02" + "02" + "0000"},
		"reply, none":  {&reply{status: statusNoAnswer}, func() decoder { return new(reply) }, "02" + "03" + "0000"},
		"reply, fails": {&reply{status: statusFailed}, func() decoder { return new(reply) }, "02" + "04" + "0000"},
		"welcome": {welcomed(t), func() decoder { return new(welcome) }, "00" + "00112233445566778899aabbccddeeff" + "060050686f746f73" +
			key0 + "02" + "010203" + strings.Repeat("00", 29) + statedHex + "00"},
		"first":     {&first{stated(t)}, func() decoder { return new(first) }, "00" + statedHex},
		"admission": {&admission{roster.Statements{stated(t), stated(t)}}, func() decoder { return new(admission) }, "00" + statedHex + statedHex + "00"},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := hex.DecodeString(test.hex)
			require.NoError(t, err)
			b, err := test.message.AppendBinary([]byte("x"))
			require.NoError(t, err)
			require.Equal(t, append([]byte("x"), want...), b)
			r := bytes.NewReader(append(want[:len(want):len(want)], "more"...))
			for _, stream := range []io.Reader{r, iotest.OneByteReader(bytes.NewReader(want))} {
				m := test.empty()
				require.NoError(t, m.DecodeFrom(proto.NewDecoder(stream)))
				require.Equal(t, test.message, m)
			}
			require.Equal(t, len("more"), r.Len())
			for i := range want {
				err := test.empty().DecodeFrom(proto.NewDecoder(bytes.NewReader(want[:i])))
				require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%d bytes: %v", i, err)
			}
		})
	}
}

func TestMessagesRefused(t *testing.T) {
	long := "0001" + strings.Repeat("41", 256)
	for text, m := range map[string]decoder{
		"01" + "0000":                          new(hello), // version
		"03" + "0000":                          new(hello),
		"02" + long:                            new(hello),
		"02" + "0100ff":                        new(hello),
		"01" + "00" + "0000":                   new(reply), // version
		"02" + "05" + "0000":                   new(reply),
		"02" + "00" + long:                     new(reply),
		"05":                                   new(welcome),
		"05" + statedHex:                       new(first),
		"05" + "00":                            new(admission),
		"00" + strings.Repeat("00", 16) + long: new(welcome),
		"00" + strings.Repeat("00", 18) + strings.Repeat("00", 32): new(welcome), // no founder
		"00" + strings.Repeat("00", 18) + key0 + "03":              new(welcome), // role
		"00" + "01" + strings.Repeat("00", 100):                    new(admission),
	} {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		err = m.DecodeFrom(proto.NewDecoder(bytes.NewReader(append(b, make([]byte, 200)...))))
		require.Error(t, err, text)
		require.False(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%s: %v", text, err)
	}
	for s, want := range map[status]error{
		statusOK: nil, statusUsed: ErrUsed, statusDeclined: ErrPeerDeclined, statusNoAnswer: ErrNoAnswer, statusFailed: ErrPeerFailed,
	} {
		require.Equal(t, want, s.err())
		if want == nil {
			continue
		}
		err := new(welcome).DecodeFrom(proto.NewDecoder(bytes.NewReader([]byte{byte(s)})))
		require.ErrorIs(t, err, want, "nothing may follow")
		require.ErrorAs(t, err, new(told))
	}
	for err, want := range map[error]status{
		nil: statusOK, ErrDeclined: statusDeclined, ErrCanceled: statusDeclined, ErrNoAnswer: statusNoAnswer, io.EOF: statusFailed, ErrExpired: statusFailed,
	} {
		require.Equal(t, want, statusOf(err))
	}
	for _, m := range []decoder{&hello{name: strings.Repeat("x", 256)}, &reply{name: "\xff"}, &welcome{Record: library.Record{Name: strings.Repeat("x", 256)}, role: library.RoleMember}, &welcome{}} {
		_, err := m.AppendBinary(nil)
		require.Error(t, err)
	}
}

// again requires that a message that was accepted is encoded to the same bytes.
func again(t *testing.T, b []byte, m decoder) {
	r := bytes.NewReader(b)
	if m.DecodeFrom(proto.NewDecoder(r)) != nil {
		return
	}
	got, err := m.AppendBinary(nil)
	require.NoError(t, err)
	require.Equal(t, b[:len(b)-r.Len()], got)
}

func fuzz(f *testing.F, seeds []message, empty func() decoder) {
	for _, m := range seeds {
		b, err := m.AppendBinary(nil)
		require.NoError(f, err)
		f.Add(b)
		f.Add(b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, b []byte) { again(t, b, empty()) })
}

func FuzzHello(f *testing.F) {
	fuzz(f, []message{&hello{name: "Bob"}}, func() decoder { return new(hello) })
}

func FuzzReply(f *testing.F) {
	fuzz(f, []message{&reply{name: "Bob"}, &reply{status: statusUsed}}, func() decoder { return new(reply) })
}

func FuzzWelcome(f *testing.F) {
	fuzz(f, []message{welcomed(f)}, func() decoder { return new(welcome) })
}

func FuzzFirst(f *testing.F) {
	fuzz(f, []message{&first{stated(f)}}, func() decoder { return new(first) })
}

func FuzzAdmission(f *testing.F) {
	fuzz(f, []message{&admission{roster.Statements{stated(f)}}}, func() decoder { return new(admission) })
}

func TestDigits(t *testing.T) {
	require.Regexp(t, "^[0-9]{6}$", digits([]byte("secret"), nil, pairingCode))
	seen := map[string]bool{}
	for i := range 256 {
		seen[digits([]byte{byte(i)}, nil, pairingCode)] = true
	}
	require.Greater(t, len(seen), 250)
	require.NotEqual(t, digits([]byte("secret"), nil, pairingCode), digits([]byte("secret"), nil, compareCode))
	require.NotEqual(t, digits([]byte("secret"), nil, pairingCode), digits([]byte("secret"), []byte("salt"), pairingCode))

	// Everything on which the two ends agree counts, and so do their roles.
	a, b := identity.New().Remote(), identity.New().Remote()
	c := comparison{a, b, [32]byte{1}}
	x, y := newNonce(), newNonce()
	for _, o := range []comparison{{b, a, c.binding}, {a, a, c.binding}, {b, b, c.binding}, {a, b, [32]byte{2}}} {
		require.NotEqual(t, c.code(x, y), o.code(x, y))
		require.NotEqual(t, c.commitment(x), o.commitment(x))
	}
	require.NotEqual(t, c.code(x, y), c.code(y, x))
	require.NotEqual(t, c.code(x, y), c.code(x, x))
	require.NotEqual(t, c.code(x, y), c.code(y, y))
	require.NotEqual(t, c.commitment(x), c.commitment(y))
}
