package debugpage

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// A change is the contents of an event. Parts that are left out have not
// changed.
type change struct {
	Time     time.Time       `json:"time"`
	Node     json.RawMessage `json:"node,omitempty"`     // started, app, identity, metadata
	Hooks    json.RawMessage `json:"hooks,omitempty"`    // as in p2p.State
	Streams  json.RawMessage `json:"streams,omitempty"`  // as well
	Counters json.RawMessage `json:"counters,omitempty"` // as well

	Peers []json.RawMessage         `json:"peers,omitempty"` // p2p.PeerState of those that are new or have changed
	Gone  []identity.RemoteIdentity `json:"gone,omitempty"`  // peers that are no longer available or tracked

	Events  []numbered `json:"events,omitempty"`  // new ones, the oldest first
	Dropped []uint64   `json:"dropped,omitempty"` // numbers of events that the node has forgotten, or counted again
}

// A numbered is an event with the number by which Dropped names it.
type numbered struct {
	Number uint64          `json:"number"`
	Note   json.RawMessage `json:"note"` // p2p.Note
}

// A sent records what a browser was sent.
type sent struct {
	seed   maphash.Seed
	begun  bool
	parts  [4]uint64                          // hashes of node, hooks, streams and counters
	peers  map[identity.RemoteIdentity]uint64 // as well
	events []numbered
	number uint64 // of the last event
}

func newSent() *sent {
	return &sent{seed: maphash.MakeSeed(), peers: map[identity.RemoteIdentity]uint64{}}
}

// difference returns the messages that lead from what was sent to a state, and
// records them as sent. There is at least one, with the time.
func (s *sent) difference(now p2p.State) (messages []message, err error) {
	c := change{Time: now.Time}
	node := struct {
		Started  time.Time               `json:"started"`
		App      string                  `json:"app"`
		Identity identity.RemoteIdentity `json:"identity"`
		Metadata map[string]string       `json:"metadata,omitempty"`
	}{now.Started, now.App, now.Identity, now.Metadata}
	// An empty list is news too, and must not become null: after the shutdown
	// there are no hooks.
	if now.Streams == nil {
		now.Streams = []p2p.OpenStreams{}
	}
	if now.Hooks == nil {
		now.Hooks = []p2p.HookState{}
	}
	for i, part := range []struct {
		of any
		to *json.RawMessage
	}{{node, &c.Node}, {now.Hooks, &c.Hooks}, {now.Streams, &c.Streams}, {now.Counters, &c.Counters}} {
		data, hash, err := s.marshal(part.of)
		if err != nil {
			return nil, err
		}
		if !s.begun || hash != s.parts[i] {
			*part.to, s.parts[i] = data, hash
		}
	}
	if err := s.notes(&c, now.Events); err != nil {
		return nil, err
	}
	if err := s.changedPeers(&c, now.Peers); err != nil {
		return nil, err
	}
	return s.split(c)
}

func (s *sent) marshal(of any) (data []byte, hash uint64, err error) {
	data, err = json.Marshal(of)
	return data, maphash.Bytes(s.seed, data), err
}

// changedPeers finds the peers that are new, have changed, or are gone. It
// ignores ages, and when a connected peer was last seen: they change all the
// time, and the browser has a clock.
func (s *sent) changedPeers(c *change, peers []p2p.PeerState) error {
	present := make(map[identity.RemoteIdentity]struct{}, len(peers))
	for _, p := range peers {
		present[p.Identity] = struct{}{}
		if len(p.Connections) > 0 {
			p.LastSeen = time.Time{}
		}
		for i := range p.Connections {
			p.Connections[i].Age = 0
		}
		data, hash, err := s.marshal(p)
		if err != nil {
			return err
		}
		if before, known := s.peers[p.Identity]; !known || before != hash {
			s.peers[p.Identity] = hash
			c.Peers = append(c.Peers, data)
		}
	}
	for id := range s.peers {
		if _, ok := present[id]; !ok {
			delete(s.peers, id)
			c.Gone = append(c.Gone, id)
		}
	}
	return nil
}

// notes finds the events that are new or gone. A repeated event counts as new
// and moves to the end; the remaining events begin the list, in their old
// order.
func (s *sent) notes(c *change, notes []p2p.Note) error {
	all := make([][]byte, 0, len(notes))
	for _, n := range notes {
		data, err := json.Marshal(n)
		if err != nil {
			return err
		}
		all = append(all, data)
	}
	var kept []numbered
	for _, e := range s.events {
		if len(kept) < len(all) && bytes.Equal(e.Note, all[len(kept)]) {
			kept = append(kept, e)
		} else {
			c.Dropped = append(c.Dropped, e.Number)
		}
	}
	for _, data := range all[len(kept):] {
		s.number++
		c.Events = append(c.Events, numbered{s.number, data})
	}
	s.events = append(kept, c.Events...)
	return nil
}

// split splits a change into messages with so few peers that a browser can
// process each between two frames.
func (s *sent) split(c change) (messages []message, err error) {
	for peers := c.Peers; ; {
		c.Peers = peers[:min(len(peers), maxPeers)]
		peers = peers[len(c.Peers):]
		data, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		event := "change"
		if !s.begun {
			event, s.begun = "state", true
		}
		messages = append(messages, message{event, data})
		if len(peers) == 0 {
			return messages, nil
		}
		c = change{Time: c.Time}
	}
}
