package conns

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-yamux/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/nettest"
)

// An accepted and a dialed connection are net.Conns in every respect.
func TestConn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
			near, far, err := w.pipe()
			if err != nil {
				return nil, nil, nil, err
			}
			return near, far, func() { near.Close(); far.Close() }, nil
		})
	})
}

// Either side may end its direction while the other one still talks.
func TestHalfClose(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, swap := range []bool{false, true} {
			a, b, err := w.pipe()
			require.NoError(t, err)
			if swap {
				a, b = b, a
			}
			_, err = io.WriteString(a, "question")
			require.NoError(t, err)
			require.NoError(t, a.(interface{ CloseWrite() error }).CloseWrite())
			got, err := io.ReadAll(b)
			require.NoError(t, err)
			require.Equal(t, "question", string(got))
			_, err = io.WriteString(b, "answer")
			require.NoError(t, err)
			require.NoError(t, b.(interface{ CloseWrite() error }).CloseWrite())
			got, err = io.ReadAll(a)
			require.NoError(t, err)
			require.Equal(t, "answer", string(got))
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		}
	})
}

// accept serves each connection until the listener is closed.
func (w *world) accept(t *testing.T, serve func(c net.Conn)) {
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := w.listener.Accept()
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				return
			}
			serving.Go(func() { serve(c) })
		}
	})
	t.Cleanup(func() {
		w.listener.Close()
		serving.Wait()
	})
}

// An SSH server must have the host key that is on record for the peer's
// address.
func TestSSH(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, private, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		key, err := ssh.NewSignerFromKey(private)
		require.NoError(t, err)
		server := &ssh.ServerConfig{NoClientAuth: true}
		server.AddHostKey(key)
		w.accept(t, func(c net.Conn) { serveSSH(t, c, server) })

		file := filepath.Join(t.TempDir(), "known_hosts")
		require.NoError(t, os.WriteFile(file, []byte(knownhosts.Line([]string{w.host}, key.PublicKey())+"\n"), 0o600))
		known, err := knownhosts.New(file)
		require.NoError(t, err)
		c, err := w.dial(t.Context(), "tcp", w.host+":22")
		require.NoError(t, err)
		conn, channels, requests, err := ssh.NewClientConn(c, w.host+":22", &ssh.ClientConfig{User: "me", HostKeyCallback: known})
		require.NoError(t, err)
		client := ssh.NewClient(conn, channels, requests)
		defer client.Close()
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				s, err := client.NewSession()
				if !assert.NoError(t, err) {
					return
				}
				defer s.Close()
				out, err := s.Output(fmt.Sprint("echo ", i))
				assert.NoError(t, err)
				assert.Equal(t, fmt.Sprint("echo ", i), string(out))
			})
		}
		all.Wait()
	})
}

// serveSSH answers each command with its text.
func serveSSH(t *testing.T, c net.Conn, config *ssh.ServerConfig) {
	conn, channels, requests, err := ssh.NewServerConn(c, config)
	if !assert.NoError(t, err) {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(requests)
	for n := range channels {
		channel, requests, err := n.Accept()
		if !assert.NoError(t, err) {
			return
		}
		go func() {
			for r := range requests {
				r.Reply(r.Type == "exec", nil)
				if r.Type == "exec" {
					channel.Write(r.Payload[4:])
					channel.SendRequest("exit-status", false, make([]byte, 4))
					channel.Close()
				}
			}
		}()
	}
}

func TestYamux(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		config := yamux.DefaultConfig()
		config.LogOutput = io.Discard
		w.accept(t, func(c net.Conn) {
			mux, err := yamux.Server(c, config, nil)
			if !assert.NoError(t, err) {
				return
			}
			defer mux.Close()
			for {
				s, err := mux.AcceptStream()
				if err != nil {
					return
				}
				go func() {
					defer s.Close()
					io.Copy(s, s)
				}()
			}
		})
		c, err := w.dial(t.Context(), "tcp", w.host)
		require.NoError(t, err)
		mux, err := yamux.Client(c, config, nil)
		require.NoError(t, err)
		defer mux.Close()
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				s, err := mux.OpenStream(t.Context())
				if !assert.NoError(t, err) {
					return
				}
				defer s.Close()
				text := fmt.Sprint("text ", i)
				_, err = io.WriteString(s, text)
				assert.NoError(t, err)
				assert.NoError(t, s.CloseWrite())
				got, err := io.ReadAll(s)
				assert.NoError(t, err)
				assert.Equal(t, text, string(got))
			})
		}
		all.Wait()
	})
}

// certificate returns a certificate for a host, and a pool that trusts it.
func certificate(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
