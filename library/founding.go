package library

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library/roster"
	"github.com/sdp2p/p2p/proto"
)

// ErrRecoveryKey is returned for a text that is not a recovery key, or was
// altered.
var ErrRecoveryKey = errors.New("library: not a recovery key, or one with a mistake in it; copy it again")

// A RecoveryKey is the founding key of a library if that is kept on no device:
// the user prints it, or stores it in a password manager. With it any device
// can make and remove admins, even when all other admins are lost. It prints as
// a placeholder; only [RecoveryKey.Text] shows it.
type RecoveryKey struct{ key identity.Identity }

// NewRecoveryKey makes a random recovery key, for [Libraries.Found].
func NewRecoveryKey() RecoveryKey { return RecoveryKey{identity.New()} }

const (
	recoveryPrefix = "sdp2pk1:"
	recoverySum    = 4 // bytes
)

var recoveryText = base32.StdEncoding.WithPadding(base32.NoPadding)

// ParseRecoveryKey reads the text form. White space, hyphens and case do not
// matter. It fails with [ErrRecoveryKey].
func ParseRecoveryKey(text string) (RecoveryKey, error) {
	text = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n-", r) {
			return -1
		}
		return r
	}, strings.ToLower(text))
	text, ok := strings.CutPrefix(text, recoveryPrefix)
	if !ok {
		return RecoveryKey{}, ErrRecoveryKey
	}
	b, err := recoveryText.DecodeString(strings.ToUpper(text))
	if err != nil || len(b) != identity.SeedSize+recoverySum {
		return RecoveryKey{}, ErrRecoveryKey
	}
	seed, sum := b[:identity.SeedSize], b[identity.SeedSize:]
	if want := sha256.Sum256(seed); string(want[:recoverySum]) != string(sum) {
		return RecoveryKey{}, ErrRecoveryKey
	}
	key, err := identity.FromSeed(seed)
	if err != nil {
		return RecoveryKey{}, ErrRecoveryKey
	}
	return RecoveryKey{key}, nil
}

// Text returns the text form: "sdp2pk1:" and the key with a checksum in base32
// (RFC 4648 §6). It is the secret itself.
func (k RecoveryKey) Text() string {
	seed := k.key.PrivateKey().Seed()
	sum := sha256.Sum256(seed)
	return recoveryPrefix + strings.ToLower(recoveryText.EncodeToString(append(seed, sum[:recoverySum]...)))
}

// IsZero reports whether k is the zero RecoveryKey, which is no key.
func (k RecoveryKey) IsZero() bool { return k.key.IsZero() }

// Founder returns the public key, which the records of its libraries name.
func (k RecoveryKey) Founder() identity.RemoteIdentity { return k.key.Remote() }

// Format prints a placeholder for every verb.
func (k RecoveryKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, "a recovery key") }

// LogValue returns a placeholder.
func (k RecoveryKey) LogValue() slog.Value { return slog.StringValue("a recovery key") }

// MarshalText fails with [identity.ErrSecret].
func (k RecoveryKey) MarshalText() ([]byte, error) { return nil, identity.ErrSecret }

// Found makes a new library, of which this device's instance is the first
// admin, and adds it. The founder is key or, if key is zero, this device's
// instance; then the loss of this device cannot be made good. It fails with
// [ErrNotRunning], and as [Libraries.Add] does.
func (h *Libraries) Found(name string, key RecoveryKey) (*Library, error) {
	node, label := h.own()
	if node.IsZero() {
		return nil, ErrNotRunning
	}
	instance := identity.New()
	r := Record{ID: uuid.New(), Name: name, Founder: instance.Remote(), Secret: NewSecret(), Number: 1, Replaced: time.Now()}
	founder := instance
	if !key.IsZero() {
		founder = key.key
		r.Founder = key.Founder()
	}
	all := roster.New(r.ID, r.Founder)
	now := r.Replaced
	move := roster.SignMove(node, r.Founder, r.ID, instance.Remote(), 1)
	var err error
	say := func(by identity.Identity, body roster.Body) {
		if err == nil {
			_, err = all.Sign(by, body, now)
		}
	}
	if !key.IsZero() {
		say(founder, roster.Move{})
		say(founder, roster.Add{Instance: instance.Remote(), Role: RoleAdmin, Name: label})
		say(instance, move)
	} else {
		say(instance, move) // it is an admin without being added
	}
	say(instance, roster.Secret{Number: 1, Hash: roster.HashSecret(r.Secret.Bytes())})
	if err != nil {
		return nil, err
	}
	r.Statements = all.All()
	return h.Add(r, instance)
}

// First returns the first statement of an instance that is to join the library
// of a record. It says that the instance lives on a node.
func (r *Record) First(node, instance identity.Identity) (roster.Statement, error) {
	own := instance.Remote()
	s, err := roster.New(r.ID, r.Founder).Draft(own, roster.SignMove(node, r.Founder, r.ID, own, 1), time.Now())
	if err == nil {
		err = s.Sign(instance, r.Founder)
	}
	return s, err
}

// own returns the identity of the node and its name; zero while the hook does
// not run.
func (h *Libraries) own() (node identity.Identity, name string) {
	h.mu.Lock()
	scope := h.scope
	h.mu.Unlock()
	if scope == nil {
		return node, ""
	}
	return scope.Identity(), proto.CutString(scope.Node().Metadata()["name"], roster.MaxName)
}
