package tunnel

import (
	"context"
	"crypto/tls"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flynn/noise"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/tunnel"
)

func TestRecords(t *testing.T) {
	r, err := newRecords(t.Context())
	require.NoError(t, err)
	defer r.close()
	for range 3 {
		require.NoError(t, r.seal()) // this record is lost
	}
	require.Zero(t, r.sealed.Len())
	require.NoError(t, r.sealBare())
	for name, open := range map[string]func(int) (time.Duration, error){"bare": r.openBare, "streamed": r.openStreamed} {
		clear(r.read)
		took, err := open(2*batch + 1)
		require.NoError(t, err, name)
		require.Positive(t, took, name)
		require.Equal(t, r.plain, r.read, name)
		require.Zero(t, r.sealed.Len(), name)
	}
}

func TestOpenRecords(t *testing.T) {
	r, err := newRecords(t.Context())
	require.NoError(t, err)
	defer r.close()
	for _, n := range []int{1, batch, 2*batch + 1} {
		clear(r.read)
		took, err := r.open(n)
		require.NoError(t, err)
		require.Positive(t, took)
		require.Equal(t, r.plain, r.read)
		require.Zero(t, r.sealed.Len())
	}
	require.NoError(t, r.seal()) // this record is missing
	_, err = r.open(1)
	require.ErrorIs(t, err, tunnel.ErrRecordAuth)
}

func TestHandshakes(t *testing.T) {
	contenders, err := handshakes(t.Context())
	require.NoError(t, err)
	require.Len(t, contenders, limit+1)
	for _, c := range contenders {
		took, err := c.Run(3)
		require.NoError(t, err, c.Name)
		require.Positive(t, took, c.Name)
	}
}

// A side that meets another one has credentials that were never used in a
// handshake.
func TestMeet(t *testing.T) {
	m, err := newMembers()
	require.NoError(t, err)
	before := m.opener
	require.NoError(t, m.handshake(t.Context()))
	require.Same(t, before, m.opener)
	_, err = m.meet(t.Context(), 1)
	require.NoError(t, err)
	require.NotSame(t, before, m.opener)
}

// A side of the comparison does not accept strangers.
func TestHandshakesRefuse(t *testing.T) {
	m, err := newMembers()
	require.NoError(t, err)
	m.initiator = identity.New()
	m.use(m.strangers())
	require.ErrorIs(t, m.handshake(t.Context()), tunnel.ErrHandshake)

	keys := make([]noise.DHKey, 3)
	for i := range keys {
		keys[i], err = noise.DH25519.GenerateKeypair(nil)
		require.NoError(t, err)
	}
	initiator, responder := noiseConfigs(keys[0], keys[1])
	require.NoError(t, noiseHandshake(initiator, responder, keys[0].Public))
	require.ErrorIs(t, noiseHandshake(initiator, responder, keys[2].Public), io.EOF)
	responder.PresharedKey = []byte(strings.Repeat("x", 32))
	require.Error(t, noiseHandshake(initiator, responder, keys[0].Public))

	certificates := make([]tls.Certificate, 3)
	for i := range certificates {
		certificates[i], err = newCertificate()
		require.NoError(t, err)
	}
	a, b, c := certificates[0], certificates[1], certificates[2]
	require.NoError(t, tlsHandshake(t.Context(), tlsConfig(a, b), tlsConfig(b, a)))
	require.ErrorIs(t, tlsHandshake(t.Context(), tlsConfig(a, c), tlsConfig(b, a)), errPeer)
	require.ErrorIs(t, tlsHandshake(t.Context(), tlsConfig(a, b), tlsConfig(b, c)), errPeer)
}

func TestStreams(t *testing.T) {
	s, err := newStreams(t.Context())
	require.NoError(t, err)
	defer s.close()
	require.IsType(t, &p2p.Stream{}, s.bare.conn)
	require.IsType(t, &ciphered{}, s.cipher.conn)
	require.IsType(t, &tunnel.Conn{}, s.tunnel.conn)
	ctx, cancel := context.WithCancel(t.Context())
	for _, k := range []*sink{s.bare, s.cipher, s.tunnel} {
		for range 2 {
			took, err := k.contender(t.Context(), "").Run(3)
			require.NoError(t, err)
			require.Positive(t, took)
		}
	}
	cancel()
	for _, k := range []*sink{s.bare, s.cipher, s.tunnel} {
		_, err := k.contender(ctx, "").Run(1 << 20)
		require.Error(t, err)
	}
}

func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newMemory()
		n, err := a.Write([]byte("something"))
		require.NoError(t, err)
		require.Equal(t, 9, n)
		got := make([]byte, 4)
		for _, want := range []string{"some", "thin", "g"} {
			n, err := b.Read(got)
			require.NoError(t, err)
			require.Equal(t, want, string(got[:n]))
		}
		began := time.Now()
		require.NoError(t, b.SetDeadline(began.Add(time.Minute)))
		_, err = b.Read(got)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(began))
		require.NoError(t, b.SetDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Hour)
			a.Close()
		}()
		_, err = b.Read(got)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, time.Minute+time.Hour, time.Since(began))
		_, err = b.Write(got)
		require.Error(t, err)
	})
}

func TestFigures(t *testing.T) {
	var table report.Table
	addTimes(&table, report.Figure{What: "it", Peer: "p", Ours: report.Sample{recordData}, Theirs: report.Sample{recordData / 2}, Ratio: recordRatio})
	require.Equal(t, [][]string{
		{"it", "p", "16384 ns", "32768 ns", "2.00", "ratio ≤ 1.11", "no"},
		{"… as a speed", "p", "2000 MB/s", "1000 MB/s", "0.50", "–", "–"},
	}, table.Rows)
}
