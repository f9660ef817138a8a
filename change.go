package p2p

import (
	"context"
	"log/slog"
	"maps"
)

// UpdateMetadata changes this node's metadata in one step: it calls change with
// a copy, which then replaces the metadata. If the result is not valid (see
// [ValidateMetadata]), nothing changes and the error says why. change may read
// the node, but must not call UpdateMetadata.
func (n *P2P) UpdateMetadata(change func(entries map[string]string)) error {
	n.metadataUpdate.Lock() // before mu, so that change runs without it
	defer n.metadataUpdate.Unlock()
	entries := n.Metadata()
	change(entries)
	if err := ValidateMetadata(entries); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.state.hooks.closing {
		return ErrClosed
	}
	if maps.Equal(entries, n.state.self.entries) {
		return nil
	}
	n.state.self = metadata{entries, n.state.stamp()}
	n.state.bus.publish(MetadataModified{})
	return nil
}

// change changes the state for a running hook, or for the node itself if by is
// nil. It logs the notable events afterwards, since a logger's code must not
// run under the lock.
func (n *P2P) change(by *registration, f func(*state) error) error {
	logged := n.log.Enabled(context.Background(), slog.LevelDebug)
	fresh, err := n.changed(by, f, logged)
	for _, note := range fresh {
		note.log(n.log)
	}
	return err
}

func (n *P2P) changed(by *registration, f func(*state) error, logged bool) (fresh []*note, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if by != nil && !by.live {
		return nil, ErrStopped
	}
	s := &n.state
	s.timed, s.notes.logged = false, logged
	err = f(s)
	fresh, s.notes.fresh, s.notes.logged = s.notes.fresh, nil, false
	return fresh, err
}

// note keeps a note, and counts it unless by is empty.
func (n *P2P) note(what *note, counted, by string) {
	n.mu.Lock()
	if by != "" {
		n.state.counts.add(count{counted, by}, 1)
	}
	n.state.timed = false
	n.state.note(what)
	n.mu.Unlock()
	what.log(n.log)
}
