package library

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/library/roster"
)

// Limits that no configuration changes.
const (
	// MaxMembers is the number of members that a library may have.
	MaxMembers = 4096
	// MaxBlocked is the number of instances that may be blocked.
	MaxBlocked = 4096
	// FormerTime is how long a former secret is accepted after this device
	// replaced it.
	FormerTime = 7 * 24 * time.Hour
	// MaxFormer is the number of former secrets of a library that are accepted;
	// if there are more, the oldest are dropped.
	MaxFormer = 16
	// SecretTime is the minimum time for which a device keeps a secret, except
	// for one change after a removal.
	SecretTime = 24 * time.Hour
)

// ErrInvalid is wrapped by the errors of [Record.Validate].
var ErrInvalid = errors.New("library: not a valid record")

// A Member is an instance of a library, and the node that it lives on.
type Member = roster.Member

// A Role is the role of a member.
type Role = roster.Role

// The roles.
const (
	RoleMember = roster.RoleMember // takes part
	RoleAdmin  = roster.RoleAdmin  // also adds and removes members
)

// A Record is the part of a library that a device stores, in a [Store] or by
// [Config.Changed], in the form of [Record.Encode]. Since it contains secrets,
// it does not marshal otherwise. The key of this device's instance is stored
// separately.
//
// The members follow from the statements, which [Record.Validate] verifies: a
// list of members is never edited.
type Record struct {
	ID         uuid.UUID                 `json:"id"`
	Name       string                    `json:"name,omitempty"` // on this device
	Founder    identity.RemoteIdentity   `json:"founder"`        // the key that made the library
	Statements roster.Statements         `json:"statements"`     // predecessors first
	Blocked    []identity.RemoteIdentity `json:"blocked,omitempty"`

	// Asking is a statement of this device that waits for a second signature.
	// KeepSecret is whether a removal leaves the secret as it is.
	Asking     *roster.Statement `json:"asking,omitempty"`
	KeepSecret bool              `json:"keepSecret,omitempty"`

	Secret   Secret    `json:"secret,omitzero"`   // zero: none
	Number   uint64    `json:"number,omitempty"`  // of the secret; for one that no longer counts, the highest that still counted then
	Rotate   bool      `json:"rotate,omitempty"`  // whether this device is to replace the secret as soon as it may
	Replaced time.Time `json:"replaced,omitzero"` // when this device took the secret
	Again    time.Time `json:"again,omitzero"`    // when it took another one before SecretTime was over
	Lost     bool      `json:"lost,omitempty"`    // whether a member was removed since
	Former   []Former  `json:"former,omitempty"`  // secrets, the oldest first
}

// A Former is a former secret, still accepted from members that do not have the
// new one.
type Former struct {
	Secret Secret    `json:"secret,omitzero"`
	Until  time.Time `json:"until"`
}

// A Secret is 32 random bytes that all members of a library know. It prints as
// a placeholder, and can be compared with ==. The zero Secret means that there
// is none.
type Secret struct{ v hidden.Value[[32]byte] }

// NewSecret makes a secret.
func NewSecret() Secret {
	var b [32]byte
	rand.Read(b[:])
	return SecretOf(b)
}

// SecretOf returns the secret with these 32 bytes; if all are zero, there is
// none.
func SecretOf(b [32]byte) Secret { return Secret{hidden.Of(b)} }

// Bytes returns the secret itself.
func (s Secret) Bytes() [32]byte { return s.v.Get() }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// Format prints a placeholder for every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// String returns a placeholder.
func (s Secret) String() string {
	if s.IsZero() {
		return "no secret"
	}
	return "a secret"
}

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText fails with [identity.ErrSecret], unless s is zero.
func (s Secret) MarshalText() ([]byte, error) {
	if s.IsZero() {
		return nil, nil
	}
	return nil, identity.ErrSecret
}

// A plainSecret is a secret that marshals.
type plainSecret struct{ Secret }

func (s plainSecret) MarshalText() ([]byte, error) {
	b := s.Bytes()
	return base64.RawStdEncoding.AppendEncode(nil, b[:]), nil
}

func (s *plainSecret) UnmarshalText(b []byte) error {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(string(b))
	if err != nil || len(raw) != 32 {
		return errors.New("not a secret") // the text itself stays out of the error
	}
	s.Secret = SecretOf([32]byte(raw))
	return nil
}

// A recordFile is the form of a record in a file. Its fields replace those of
// the record with the same names.
type recordFile struct {
	Record
	Secret plainSecret   `json:"secret,omitzero"`
	Former []plainFormer `json:"former,omitempty"`
}

type plainFormer struct {
	Secret plainSecret `json:"secret,omitzero"`
	Until  time.Time   `json:"until"`
}

// Encode returns the record and its secrets as JSON, for a file that nobody
// else can read. [DecodeRecord] reads it.
func (r Record) Encode() ([]byte, error) {
	f := recordFile{Record: r, Secret: plainSecret{r.Secret}}
	for _, o := range r.Former {
		f.Former = append(f.Former, plainFormer{plainSecret{o.Secret}, o.Until})
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("library: %w", err)
	}
	return b, nil
}

// DecodeRecord reads the output of [Record.Encode]. It does not verify the
// statements: [Record.Validate] does.
func DecodeRecord(b []byte) (Record, error) {
	var f recordFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Record{}, fmt.Errorf("%w: it is damaged, or no record", ErrInvalid) // the contents stay out of the error
	}
	r := f.Record
	r.Secret, r.Former = f.Secret.Secret, nil
	for _, o := range f.Former {
		r.Former = append(r.Former, Former{o.Secret.Secret, o.Until})
	}
	return r, nil
}

// LogValue returns the library's UUID and name.
func (r Record) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("library", r.ID), slog.String("name", r.Name))
}

// Clone returns a copy that shares no mutable data.
func (r Record) Clone() Record {
	r.Statements = slices.Clone(r.Statements)
	r.Blocked = slices.Clone(r.Blocked)
	r.Former = slices.Clone(r.Former)
	if r.Asking != nil {
		asking := *r.Asking
		r.Asking = &asking
	}
	return r
}

// Validate returns an error that wraps [ErrInvalid] if the record is not valid.
func (r *Record) Validate() error {
	_, err := r.roster()
	return err
}

// roster verifies the statements and returns them as a roster.
func (r *Record) roster() (*roster.Roster, error) {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: library %v: %w", ErrInvalid, r.ID, fmt.Errorf(format, args...))
	}
	switch {
	case r.ID == uuid.Nil:
		return nil, invalid("the UUID is zero")
	case r.Founder.IsZero():
		return nil, invalid("there is no founder")
	case len(r.Former) > MaxFormer:
		return nil, invalid("%d former secrets, of %d", len(r.Former), MaxFormer)
	case len(r.Blocked) > MaxBlocked:
		return nil, invalid("%d blocked instances, of %d", len(r.Blocked), MaxBlocked)
	}
	all := roster.New(r.ID, r.Founder)
	if _, err := all.Add(r.Statements...); err != nil {
		return nil, invalid("%w", err)
	}
	if n := len(all.View().Members); n > MaxMembers {
		return nil, invalid("%d members, of %d", n, MaxMembers)
	}
	return all, nil
}

// blocked reports whether this device has blocked an instance.
func (r *Record) blocked(instance identity.RemoteIdentity) bool {
	return slices.Contains(r.Blocked, instance)
}

// tidy drops former secrets that have expired.
func (r *Record) tidy() {
	r.Former = slices.DeleteFunc(r.Former, func(f Former) bool {
		return f.Secret == r.Secret || !time.Now().Before(f.Until)
	})
	if r.Former = r.Former[max(0, len(r.Former)-MaxFormer):]; len(r.Former) == 0 {
		r.Former = nil
	}
}
