package quic

import (
	"errors"
	"sync"
	"time"

	"github.com/sdp2p/p2p/identity"
)

// A peer, or anybody who announces it, may claim false addresses. The node
// checks an address by a handshake; a host that does not answer gets two
// packets at once, and two again after 200, 600 and 1,400 ms. These are the
// limits of packets that are under way or were in vain, for one peer and in
// all: for one peer, a host gets no more than 2 KB/s, over half a minute.
// Answered packets do not count.
const (
	lookBurst     = 16 // four addresses, as a peer has on another network
	lookPace      = 1  // a second
	lookBurstAll  = 128
	lookPaceAll   = 20
	seekTime      = 550 * time.Millisecond // until the third flight, if the peer is near
	flightPackets = 2                      // an Initial with ML-KEM keys is longer than a packet
	flightFirst   = 200 * time.Millisecond // until the flight is sent again; doubles
	maxLookers    = 1024
)

// errTooOften says that an address was not tried, since too many others were
// tried in vain.
var errTooOften = errors.New("quic: the peer has been looked for elsewhere too often")

// looks counts the packets to unconfirmed addresses.
type looks struct {
	mu  sync.Mutex
	all pace
	of  map[identity.RemoteIdentity]pace
}

// begin reserves the packets for trying an address of a peer for the time d,
// and returns false if they are too many. The returned function gives back
// those that were not needed.
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

// packets returns the number of packets of a handshake that are sent within d
// if nobody answers.
func packets(d time.Duration) (n int) {
	for wait := flightFirst; d >= 0; wait *= 2 {
		n += flightPackets
		d -= wait
	}
	return n
}
