package quic

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
	"github.com/stretchr/testify/require"
)

// A circuit whose relay accepts no more data can be closed, and the goroutine
// that writes its packets ends.
func TestCloseWhileWriting(t *testing.T) {
	t.Parallel()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	require.NoError(t, err)
	server := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}, NextProtos: []string{"x"}}
	listener, err := quicgo.ListenAddr("127.0.0.1:0", server, nil)
	require.NoError(t, err)
	defer listener.Close()
	c, err := quicgo.DialAddr(t.Context(), listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"x"}}, nil)
	require.NoError(t, err)
	defer c.CloseWithError(0, "")
	stream, err := c.OpenStream()
	require.NoError(t, err)
	s := &side{stream: stream}
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(make([]byte, 100<<20)) // the other side does not read
		wrote <- err
	}()
	require.Eventually(t, func() bool { return s.writing.Load() == 1 && c.ConnectionStats().BytesSent > 100<<10 }, time.Minute, time.Millisecond)
	_ = s.Close()
	select {
	case err := <-wrote:
		require.Error(t, err)
	case <-time.After(time.Minute):
		t.Fatal("the writer did not end")
	}
}
