package tags

import (
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/sdp2p/p2p/identity"
)

// The tags of a TXT record.
const (
	perString = 41 // tags in each string
	strings3  = 3  // strings with tags

	// PerInstance is the number of tags of every instance, including padding.
	PerInstance = strings3 * perString

	// MaxInstances is the most instances that a node announces.
	MaxInstances = 8
	// MaxContacts is the most contacts whose tags fit into these instances.
	MaxContacts = MaxInstances * PerInstance
)

// version is the version of the layout.
const version = "1"

// Errors of [Layout] and [Parse].
var (
	ErrTooMany = fmt.Errorf("tags: more than %d contacts", MaxContacts)
	ErrLayout  = errors.New("tags: not the announcement of a node that is visible only to contacts")
)

// Layout returns the strings of the TXT records of the 1, 2, 4 or 8 instances
// that announce tags with a key: the tags in random order, and random padding
// that nobody can distinguish from them. It must not be called twice for a key,
// since two layouts of the same tags reveal which are padding. It fails with
// [ErrTooMany] for more than [MaxContacts] tags.
func Layout(key identity.RemoteIdentity, all []Tag) ([][]string, error) {
	var seed [32]byte
	crand.Read(seed[:]) // does not fail
	return layout(key, all, rand.NewChaCha8(seed))
}

// layout is Layout with a source of randomness.
func layout(key identity.RemoteIdentity, all []Tag, random *rand.ChaCha8) ([][]string, error) {
	if len(all) > MaxContacts {
		return nil, fmt.Errorf("%w: %d", ErrTooMany, len(all))
	}
	n := 1
	for n*PerInstance < len(all) {
		n *= 2
	}
	padded := make([]Tag, n*PerInstance)
	for i := copy(padded, all); i < len(padded); i++ {
		random.Read(padded[i][:]) // does not fail
	}
	rand.New(random).Shuffle(len(padded), func(i, j int) { padded[i], padded[j] = padded[j], padded[i] })
	instances := make([][]string, n)
	for i := range instances {
		txt := []string{"v=" + version, "m=c", "k=" + key.String()}
		for s := range strings3 {
			var b strings.Builder
			fmt.Fprintf(&b, "t%d=", s)
			for _, t := range padded[:perString] {
				b.Write(t[:])
			}
			padded = padded[perString:]
			txt = append(txt, b.String())
		}
		instances[i] = txt
	}
	return instances, nil
}

// Parse returns the ephemeral key and up to [PerInstance] tags from the strings
// of a TXT record. The first of several strings with one name counts (RFC 6763
// §6.4), and unknown ones are ignored. Errors wrap [ErrLayout].
func Parse(txt []string) (key identity.RemoteIdentity, all []Tag, err error) {
	fields := map[string]string{}
	for _, s := range txt {
		name, value, _ := strings.Cut(s, "=")
		name = strings.ToLower(name) // RFC 6763 §6.4
		if _, again := fields[name]; !again {
			fields[name] = value
		}
	}
	if fields["v"] != version || fields["m"] != "c" {
		return key, nil, fmt.Errorf("%w: version %.8q, mode %.8q", ErrLayout, fields["v"], fields["m"])
	}
	key, err = identity.Parse(fields["k"])
	if err != nil {
		return key, nil, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	for s := range strings3 {
		packed := fields[fmt.Sprintf("t%d", s)]
		if len(packed)%Size != 0 || len(packed) > perString*Size {
			return identity.RemoteIdentity{}, nil, fmt.Errorf("%w: t%d of %d bytes", ErrLayout, s, len(packed))
		}
		for ; packed != ""; packed = packed[Size:] {
			all = append(all, Tag([]byte(packed[:Size])))
		}
	}
	return key, all, nil
}
