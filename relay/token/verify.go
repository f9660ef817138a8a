package token

import (
	"crypto/ed25519"
	"fmt"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A Status is a relay's answer to a token, one byte on the wire. All but [OK]
// are errors.
type Status uint8

// The statuses.
const (
	OK             Status = iota
	Malformed             // not a token
	UnknownIssuer         // the relay does not know the issuer
	BadSignature          // not signed by the issuer
	Expired               // or not yet valid, by the relay's clock
	AnotherNode           // it is another node's
	AnotherRelay          // it is for another relay
	Revoked               // the issuer has revoked it
	QuotaExhausted        // the account has used up its quota
)

var statusTexts = [...]string{
	"ok", "malformed", "unknown issuer", "not signed by its issuer", "expired, or not yet valid",
	"another node's", "for another relay", "revoked", "the quota is used up",
}

// String describes the status.
func (s Status) String() string {
	if int(s) < len(statusTexts) {
		return statusTexts[s]
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Error describes the status.
func (s Status) Error() string { return "relay token: " + s.String() }

// Cause names the status in a word or two.
func (s Status) Cause() string {
	if s == QuotaExhausted {
		return "relay: quota used up"
	}
	return "relay: token refused"
}

// Err returns nil for [OK], else s.
func (s Status) Err() error {
	if s == OK {
		return nil
	}
	return s
}

// Rules are those by which a relay accepts tokens.
type Rules struct {
	// Relay is the relay's own key.
	Relay identity.RemoteIdentity
	// Trusted reports whether the relay accepts an issuer's tokens. It is asked
	// before the signature is checked.
	Trusted func(issuer identity.RemoteIdentity) bool
	// Revoked reports whether an issuer has revoked a token. If it is nil, none
	// is.
	Revoked func(issuer identity.RemoteIdentity, serial uint32) bool
}

// Verify checks a token shown by a node whose key the connection has proved.
// Both bounds of the token's time are extended by [Tolerance]. The caller has
// to check the rights and the quota.
func (r Rules) Verify(t Token, node identity.RemoteIdentity, now time.Time) Status {
	signature := t.signature.Get()
	switch {
	case t.check() != nil:
		return Malformed
	case r.Trusted == nil || !r.Trusted(t.Issuer):
		return UnknownIssuer
	case !ed25519.Verify(t.Issuer.PublicKey(), t.appendSigned([]byte(domain)), signature[:]):
		return BadSignature
	case t.Node != node:
		return AnotherNode
	case !t.Relay.IsZero() && t.Relay != r.Relay:
		return AnotherRelay
	case now.Before(t.NotBefore.Add(-Tolerance)) || !now.Before(t.Ends()):
		return Expired
	case r.Revoked != nil && r.Revoked(t.Issuer, t.Serial):
		return Revoked
	}
	return OK
}

// Ends returns when a relay stops accepting the token: its expiry plus
// [Tolerance].
func (t Token) Ends() time.Time { return t.Expiry.Add(Tolerance) }
