package library

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// Limits that no configuration changes.
const (
	// MaxMembers is how many members a library may have, its own instance not counted.
	MaxMembers = 1024
	// FormerTime is for how long a former secret is accepted.
	FormerTime = 7 * 24 * time.Hour
	// MaxFormer is how many former secrets of a library are accepted; of more, the oldest are dropped.
	MaxFormer = 3
	// MaxRemoved is how many removed instances a library remembers; of more, the oldest are forgotten.
	MaxRemoved = 4096
)

// ErrInvalid is wrapped by what [Record.Validate] returns.
var ErrInvalid = errors.New("library: not a valid record")

// A Record is what an app keeps of a library. It marshals to JSON; since that includes the secret, it belongs into a file
// that nobody else can read. The key of the own instance is kept apart, in a key file ([identity.LoadOrCreate]).
type Record struct {
	ID      uuid.UUID `json:"id"`
	Name    string    `json:"name,omitempty"`
	Since   int64     `json:"since,omitempty"` // when the own instance became a member, as of [Member]
	Members []Member  `json:"members"`         // without the own instance

	// Removed are instances that were members: others, who still list them, cannot bring them back.
	Removed []identity.RemoteIdentity `json:"removed,omitempty"`
	// Untold are the instances of members that may not know all members yet. They are told as they come by.
	Untold []identity.RemoteIdentity `json:"untold,omitempty"`

	Secret Secret   `json:"secret,omitzero"`  // zero: none
	Number uint64   `json:"number,omitempty"` // of the secret: that of the one before plus 1
	Former []Former `json:"former,omitempty"` // secrets, the oldest first
}

// A Member is an instance of a library, and the node that it lives on.
type Member struct {
	Instance identity.RemoteIdentity `json:"instance"`
	Node     identity.RemoteIdentity `json:"node"`
	Name     string                  `json:"name,omitempty"` // for people, at most 255 bytes are passed on

	// Since is when it became a member, in seconds since 1970; 0: unknown. Of two instances on one node the later counts.
	Since int64 `json:"since,omitempty"`
}

// A Former secret is still accepted from the members that may not have the new one.
type Former struct {
	Secret  Secret                    `json:"secret,omitzero"`
	Until   time.Time                 `json:"until"`
	Members []identity.RemoteIdentity `json:"members"` // their instances
}

// A Secret is 32 random bytes that all members of a library know. It prints as a placeholder.
type Secret [32]byte

// NewSecret makes a secret.
func NewSecret() (s Secret) {
	rand.Read(s[:])
	return s
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// Format prints a placeholder, whatever the verb is.
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

// MarshalText returns the secret in unpadded base64: for a file that nobody else can read.
func (s Secret) MarshalText() ([]byte, error) {
	return base64.RawStdEncoding.AppendEncode(nil, s[:]), nil
}

// UnmarshalText reads what MarshalText wrote.
func (s *Secret) UnmarshalText(b []byte) error {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(string(b))
	if err != nil || len(raw) != len(s) {
		return errors.New("library: not a secret") // without what it is
	}
	*s = Secret(raw)
	return nil
}

// Clone returns a copy that shares nothing with r.
func (r Record) Clone() Record {
	r.Members = slices.Clone(r.Members)
	r.Removed = slices.Clone(r.Removed)
	r.Untold = slices.Clone(r.Untold)
	r.Former = slices.Clone(r.Former)
	for i := range r.Former {
		r.Former[i].Members = slices.Clone(r.Former[i].Members)
	}
	return r
}

// Member returns the member with an instance.
func (r *Record) Member(instance identity.RemoteIdentity) (Member, bool) {
	i := slices.IndexFunc(r.Members, func(m Member) bool { return m.Instance == instance })
	if i < 0 {
		return Member{}, false
	}
	return r.Members[i], true
}

// Validate says what is wrong with a record that is to be added with an own instance on an own node, in an error that wraps
// [ErrInvalid].
func (r *Record) Validate(instance, node identity.RemoteIdentity) error {
	_, err := r.index(instance, node)
	return err
}

// index validates the record and returns its members by the Montgomery forms of their instances' keys.
func (r *Record) index(instance, node identity.RemoteIdentity) (map[[32]byte]Member, error) {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: library %v: %s", ErrInvalid, r.ID, fmt.Sprintf(format, args...))
	}
	if r.ID == uuid.Nil {
		return nil, invalid("the UUID is zero")
	}
	if len(r.Members) > MaxMembers {
		return nil, invalid("%d members, of %d", len(r.Members), MaxMembers)
	}
	if len(r.Former) > MaxFormer {
		return nil, invalid("%d former secrets, of %d", len(r.Former), MaxFormer)
	}
	own, err := instance.X25519()
	if err != nil {
		return nil, invalid("the own instance: %v", err)
	}
	index := make(map[[32]byte]Member, len(r.Members))
	nodes := map[identity.RemoteIdentity]identity.RemoteIdentity{}
	for _, m := range r.Members {
		u, err := m.Instance.X25519()
		switch {
		case err != nil:
			return nil, invalid("member %q: %v", m.Name, err)
		case m.Node.IsZero():
			return nil, invalid("member %v has no node", m.Instance)
		case u.Equal(own):
			return nil, invalid("member %v is the own instance; it does not belong into the list", m.Instance)
		case m.Node == node:
			return nil, invalid("member %v lives on this node, which has an instance", m.Instance)
		}
		key := [32]byte(u.Bytes())
		if other, twice := index[key]; twice {
			return nil, invalid("members %v and %v are the same to the tunnel", other.Instance, m.Instance)
		}
		if other, twice := nodes[m.Node]; twice {
			return nil, invalid("members %v and %v live on one node", other, m.Instance)
		}
		index[key], nodes[m.Node] = m, m.Instance
	}
	return index, nil
}

// accepts reports whether a member may use the former secret.
func (f *Former) accepts(instance identity.RemoteIdentity) bool {
	return time.Now().Before(f.Until) && slices.Contains(f.Members, instance)
}

// pending reports whether a member may not have the present secret yet.
func (r *Record) pending(instance identity.RemoteIdentity) bool {
	return slices.ContainsFunc(r.Former, func(f Former) bool { return f.accepts(instance) })
}

// tidy drops former secrets that nobody may use any more, and what does not concern members.
func (r *Record) tidy() {
	if r.Untold = r.among(r.Untold); len(r.Untold) == 0 {
		r.Untold = nil
	}
	for i := range r.Former {
		r.Former[i].Members = r.among(r.Former[i].Members)
	}
	r.Former = slices.DeleteFunc(r.Former, func(f Former) bool {
		return len(f.Members) == 0 || f.Secret == r.Secret || !time.Now().Before(f.Until)
	})
	if len(r.Former) == 0 {
		r.Former = nil
	}
}

// among deletes from a list the instances that are not members.
func (r *Record) among(instances []identity.RemoteIdentity) []identity.RemoteIdentity {
	if len(instances) == 0 {
		return nil
	}
	members := make(map[identity.RemoteIdentity]bool, len(r.Members))
	for _, m := range r.Members {
		members[m.Instance] = true
	}
	return slices.DeleteFunc(instances, func(instance identity.RemoteIdentity) bool { return !members[instance] })
}
