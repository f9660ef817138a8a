// Package certificate provides the contents of the certificates of packages
// quic and tcp, apart from the key.
package certificate

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"
)

// NotBefore and NotAfter are the validity of all certificates. They are those
// of rcgen, and so of rust-libp2p. Since the key is the identity and time
// proves nothing, no clock should make a certificate invalid.
var (
	NotBefore = time.Date(1975, 1, 1, 0, 0, 0, 0, time.UTC)
	NotAfter  = time.Date(4096, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Template returns a template with everything but the key. Each certificate
// needs its own template, since go-libp2p modifies it.
func Template() (*x509.Certificate, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 62)
	serial, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	subject, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial,
		NotBefore:    NotBefore,
		NotAfter:     NotAfter,
		Subject:      pkix.Name{SerialNumber: subject.String()}, // an issuer must have a name (RFC 5280 §4.1.2.4)
	}, nil
}
