package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
)

// A oneKey is a OneAsymmetricKey (RFC 5958 §2): PKCS #8 in its second version,
// which also holds the public key.
type oneKey struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	Private    []byte
	Attributes asn1.RawValue  `asn1:"optional,tag:0"`
	Public     asn1.BitString `asn1:"optional,tag:1"`
}

var oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112} // RFC 8410 §3

// marshalKey returns a key as a OneAsymmetricKey.
func marshalKey(private ed25519.PrivateKey) ([]byte, error) {
	seed, err := asn1.Marshal(private.Seed())
	if err != nil {
		return nil, err
	}
	public := private[SeedSize:]
	return asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Private   []byte
		Public    asn1.BitString `asn1:"tag:1"`
	}{1, pkix.AlgorithmIdentifier{Algorithm: oidEd25519}, seed, asn1.BitString{Bytes: public, BitLength: 8 * len(public)}})
}

// parseKey parses a key of either version. It fails if the key contains a
// public key that does not match the private one.
func parseKey(der []byte) (ed25519.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("an %T instead of an Ed25519 key", parsed)
	}
	var k oneKey
	rest, err := asn1.Unmarshal(der, &k)
	switch {
	case err != nil:
		return nil, err
	case len(rest) != 0:
		return nil, errors.New("something follows the key in the PEM block")
	case k.Version > 0 && !bytes.Equal(k.Public.Bytes, private[SeedSize:]):
		return nil, errors.New("it was altered: its public key is not that of its private key; restore it from a backup")
	}
	return private, nil
}
