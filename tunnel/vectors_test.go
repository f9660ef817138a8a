package tunnel

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// hexBytes is a string of bytes in JSON.
type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) (err error) {
	*h, err = hex.DecodeString(string(b))
	return err
}

// A vector is one handshake with fixed keys, and records of the tunnel that
// resulted.
type vector struct {
	InitiatorNodeSeed         hexBytes `json:"initiator_node_seed"`
	InitiatorInstanceSeed     hexBytes `json:"initiator_instance_seed"`
	InitiatorEphemeralPrivate hexBytes `json:"initiator_ephemeral_private"`
	ResponderNodeSeed         hexBytes `json:"responder_node_seed"`
	ResponderInstanceSeed     hexBytes `json:"responder_instance_seed"`
	ResponderEphemeralPrivate hexBytes `json:"responder_ephemeral_private"`
	Library                   hexBytes `json:"library"`
	PSK                       hexBytes `json:"psk"`
	ChannelBinding            hexBytes `json:"channel_binding"`
	Prologue                  hexBytes `json:"prologue"`
	M1                        hexBytes `json:"m1_on_wire"`
	M2                        hexBytes `json:"m2_on_wire"`
	HandshakeHash             hexBytes `json:"handshake_hash"`
	Confirm                   hexBytes `json:"confirm_record"`
	I2RHello                  hexBytes `json:"i2r_data_hello"`
	R2IHello                  hexBytes `json:"r2i_data_hello"`
	I2RClose                  hexBytes `json:"i2r_close"`
	R2IClose                  hexBytes `json:"r2i_close"`
	I2RCloseAfterRekey        hexBytes `json:"i2r_close_as_record_32768"`
	I2RKeyAfterRekey          hexBytes `json:"i2r_key_after_one_rekey"`
}

func vectors(t testing.TB) (all []vector) {
	b, err := os.ReadFile("../testdata/tunnel.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &all))
	require.Len(t, all, 3)
	return all
}

func key(t testing.TB, seed []byte) identity.Identity {
	id, err := identity.FromSeed(seed)
	require.NoError(t, err)
	return id
}

// A tap records the data that is written to a stream.
type tap struct {
	net.Conn
	written bytes.Buffer
}

func (p *tap) Write(b []byte) (int, error) {
	p.written.Write(b)
	return p.Conn.Write(b)
}

// Both sides, with the keys of a vector, write exactly the bytes of the vector.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		iNode, rNode := key(t, v.InitiatorNodeSeed).Remote(), key(t, v.ResponderNodeSeed).Remote()
		i := NewCredential(uuid.UUID(v.Library), key(t, v.InitiatorInstanceSeed), [32]byte(v.PSK))
		r := NewCredential(uuid.UUID(v.Library), key(t, v.ResponderInstanceSeed), [32]byte(v.PSK))
		require.Equal(t, []byte(v.Prologue), prologue(iNode, rNode, i, [32]byte(v.ChannelBinding)))

		a, b := net.Pipe()
		ends := [2]*tap{{Conn: a}, {Conn: b}}
		is := Session{Stream: ends[0], Local: iNode, Remote: rNode, Binding: [32]byte(v.ChannelBinding)}
		rs := Session{Stream: ends[1], Local: rNode, Remote: iNode, Binding: [32]byte(v.ChannelBinding)}
		dir := &directory{credentials: []*Credential{r}}
		dir.add(t, i.library, Member{i.instance.Remote(), iNode})
		accepted := make(chan *Conn)
		go func() {
			h := &acceptance{r: NewResponder(dir, Limits{}), s: rs, begun: time.Now(), random: bytes.NewReader(v.ResponderEphemeralPrivate)}
			c, err := h.run(context.Background())
			if err != nil {
				t.Error(err)
			}
			accepted <- c
		}()
		ic, err := initiate(t.Context(), is, i, Member{r.instance.Remote(), rNode}, bytes.NewReader(v.InitiatorEphemeralPrivate))
		require.NoError(t, err)
		wrote := make(chan error)
		write := func(c *Conn) {
			_, err := c.Write([]byte("hello"))
			wrote <- err
		}
		go write(ic)
		rc := <-accepted
		got := make([]byte, 5)
		_, err = rc.Read(got)
		require.NoError(t, err)
		require.NoError(t, <-wrote) // Close would interrupt it
		require.Equal(t, "hello", string(got))
		go write(rc)
		_, err = ic.Read(got)
		require.NoError(t, err)
		require.NoError(t, <-wrote)
		require.Equal(t, "hello", string(got))

		for _, c := range []*Conn{ic, rc} {
			h := c.HandshakeHash()
			require.Equal(t, []byte(v.HandshakeHash), h[:])
		}
		ic.Close()
		n, err := rc.Read(got)
		require.Zero(t, n)
		require.Equal(t, io.EOF, err)
		<-ic.Done()
		_ = rc.CloseWrite() // nothing reads it, but the tap records it
		require.Equal(t, bytes.Join([][]byte{v.M1, v.Confirm, v.I2RHello, v.I2RClose}, nil), ends[0].written.Bytes())
		require.Equal(t, bytes.Join([][]byte{v.M2, v.R2IHello, v.R2IClose}, nil), ends[1].written.Bytes())

		// Record 32768 of the initiator uses the next key.
		out := ic.out
		out.n = rekeyAfter
		require.Equal(t, []byte(v.I2RCloseAfterRekey), out.seal(nil, typeClose, nil))
		k := out.state.UnsafeKey()
		require.Equal(t, []byte(v.I2RKeyAfterRekey), k[:])
	}
}

// docs/protocol.md shows the first vector byte by byte.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	require.NoError(t, err)
	_, block, ok := strings.Cut(string(text), "With the keys of the first vector")
	require.True(t, ok)
	block = strings.Split(block, "```")[1]
	block = regexp.MustCompile(`"[^"]*".*|(?m)^(M1|M2|confirm|data|end) |\s`).ReplaceAllString(block, "")
	v := vectors(t)[0]
	want := bytes.Join([][]byte{v.M1, v.M2, v.Confirm, v.I2RHello, v.I2RClose}, nil)
	require.Equal(t, hex.EncodeToString(want), strings.ToLower(block))
}
