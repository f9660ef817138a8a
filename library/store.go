package library

import (
	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
)

// A Store keeps records and keys.
type Store struct{}

func (s *Store) load(*Libraries)                        {}
func (s *Store) keep(Record) error                      { return nil }
func (s *Store) create(Record, identity.Identity) error { return nil }
func (s *Store) remove(uuid.UUID) error                 { return nil }
