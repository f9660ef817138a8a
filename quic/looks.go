package quic

import (
	"errors"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A peer may say that it is where it is not, and so may anybody who announces it.
// The node looks for it there by a handshake, of which a host that does not answer
// gets two packets at once, and two again after 200, 600 and 1,400 ms. So many of
// them may be on their way, or were in vain, for the sake of one peer and in all:
// one peer costs no host more than 2 KB/s, over half a minute. What is answered
// costs nothing.
const (
	lookBurst     = 16 // four addresses, as a peer has on another network
	lookPace      = 1  // a second
	lookBurstAll  = 128
	lookPaceAll   = 20
	seekTime      = 550 * time.Millisecond // before the third flight, where the peer is near
	flightPackets = 2                      // an Initial that exchanges ML-KEM keys is longer than a packet
	flightFirst   = 200 * time.Millisecond // until the flight is sent again; doubles
	maxLookers    = 1024
)

// errTooOften says that an address was not looked at, since others were in vain.
var errTooOften = errors.New("quic: the peer has been looked for elsewhere too often")

// looks are the packets at addresses that nobody has been seen at.
type looks struct {
	mu  sync.Mutex
	all pace
	of  map[identity.RemoteIdentity]pace
}

// begin takes what it costs to look for a peer at an address for so long, and
// reports false if that is too much. The function that it returns gives back what
// was not spent.
func (l *looks) begin(id identity.RemoteIdentity, d time.Duration) (end func(answered bool), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began, cost := time.Now(), packets(d)
	if !l.add(id, cost, true) {
		return nil, false
	}
	return func(answered bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		spent := min(packets(time.Since(began)), cost)
		if answered {
			spent = 0
		}
		l.add(id, spent-cost, false)
	}, true
}

// add adds packets, unless they would be too many. The caller holds mu.
func (l *looks) add(id identity.RemoteIdentity, packets int, bounded bool) bool {
	now, of := time.Now(), l.of[id]
	one, all := of.now(lookPace)+float64(packets), l.all.now(lookPaceAll)+float64(packets)
	if bounded && (one > lookBurst || all > lookBurstAll) {
		return false
	}
	if len(l.of) >= maxLookers {
		for id, of := range l.of {
			if of.now(lookPace) == 0 {
				delete(l.of, id)
			}
		}
	}
	if l.of == nil {
		l.of = map[identity.RemoteIdentity]pace{}
	}
	l.of[id], l.all = pace{max(one, 0), now}, pace{max(all, 0), now}
	return true
}

// packets returns how many packets of a handshake are sent within d if nobody
// answers.
func packets(d time.Duration) (n int) {
	for wait := flightFirst; d >= 0; wait *= 2 {
		n += flightPackets
		d -= wait
	}
	return n
}
