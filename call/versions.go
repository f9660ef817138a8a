package call

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/proto"
)

const (
	maxKnown  = 1024      // number of peers whose versions are remembered
	knownTime = time.Hour // how long
	keyPrefix = "call/"   // of the metadata's key
)

// A Versioned is one call in several versions: see [Versions].
type Versioned struct {
	key    string   // of the metadata
	routes []string // the newest first
	labels []string // their versions

	mu    sync.Mutex
	known map[identity.RemoteIdentity]known
}

// known is the version that a peer has spoken.
type known struct {
	route int
	until time.Time
}

// Versions names the versions of a call that this device speaks, the newest
// first: routes like "search/3", with the same part before the last '/'. It
// panics if they are not such routes.
func Versions(routes ...string) *Versioned {
	v := &Versioned{known: map[identity.RemoteIdentity]known{}}
	for _, route := range routes {
		i := strings.LastIndexByte(route, '/')
		if i < 1 || proto.Route(route).Validate() != nil {
			panic(fmt.Sprintf("call: route %q has no version", route))
		}
		name, version := route[:i], route[i+1:]
		if n, err := strconv.ParseUint(version, 10, 16); err != nil || strconv.FormatUint(n, 10) != version {
			panic(fmt.Sprintf("call: route %q has no version", route))
		}
		if v.key != "" && v.key != keyPrefix+name {
			panic(fmt.Sprintf("call: %q is no version of %q", route, v.key[len(keyPrefix):]))
		}
		v.key = "call/" + name
		v.routes, v.labels = append(v.routes, route), append(v.labels, version)
	}
	if err := proto.Metadata(v.Metadata()).Validate(); err != nil || len(routes) == 0 {
		panic(fmt.Sprintf("call: versions %q: %v", routes, err))
	}
	return v
}

// Metadata returns an entry for p2p.Config.Metadata that tells peers which
// versions this node speaks, such as call/search with the value "3 2".
// Discovery shows it to the whole network.
func (v *Versioned) Metadata() map[string]string {
	return map[string]string{v.key: strings.Join(v.labels, " ")}
}

// Try calls do with the newest route that the peer, or [Member], is known to
// speak, or else with the newest of all. While do's error wraps
// [p2p.ErrNoRoute], it calls do with the next route. It returns the last error.
//
// The routes of a peer are known from its metadata, once it has sent that over
// a connection, and otherwise from its answers in the last hour, so that a
// fallback costs a round trip only once. For members of a library only the
// answers are used.
func (v *Versioned) Try(peer interface {
	Identity() identity.RemoteIdentity
}, do func(route string) error) error {
	id := peer.Identity()
	first, told := v.told(peer)
	if !told {
		first = v.remembered(id)
	}
	if first < 0 {
		return fmt.Errorf("call: no version of %q in common: %w", v.key[len(keyPrefix):], p2p.ErrNoRoute)
	}
	var err error
	for i := range v.routes {
		at := (first + i) % len(v.routes) // older ones, then newer ones
		err = do(v.routes[at])
		if errors.Is(err, p2p.ErrNoRoute) {
			continue
		}
		if e := (*Error)(nil); !told && (err == nil || errors.As(err, &e)) {
			v.remember(id, at)
		}
		return err
	}
	v.forget(id)
	return err
}

// told returns the index of the newest route that a peer's metadata names, or
// -1 if the metadata names only others. It returns false if the metadata names
// none.
func (v *Versioned) told(peer any) (first int, told bool) {
	p, ok := peer.(interface {
		Entry(key string) (string, bool)
	})
	if !ok {
		return 0, false
	}
	value, verified := p.Entry(v.key)
	if !verified || value == "" {
		return 0, false
	}
	for i, label := range v.labels {
		for l := range strings.SplitSeq(value, " ") {
			if l == label {
				return i, true
			}
		}
	}
	return -1, true
}

func (v *Versioned) remembered(id identity.RemoteIdentity) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.known[id]
	if !ok || !time.Now().Before(k.until) {
		delete(v.known, id)
		return 0
	}
	return k.route
}

func (v *Versioned) remember(id identity.RemoteIdentity, route int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.known[id]
	if ok && k.route == route {
		return // a newer version is tried again after knownTime
	}
	if !ok && len(v.known) >= maxKnown {
		for other := range v.known {
			delete(v.known, other)
			break
		}
	}
	v.known[id] = known{route, time.Now().Add(knownTime)}
}

func (v *Versioned) forget(id identity.RemoteIdentity) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, id)
}
