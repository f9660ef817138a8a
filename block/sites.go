package block

import (
	"os"
	"path"
)

// A site is a folder of the destination, at hand, so that its path is not
// walked again for each file in it.
type site struct {
	path string
	root *os.Root
	*handle
}

// Sites has one folder at hand. It belongs to one goroutine.
type sites struct {
	vol *volume
	at  *site // or nil
}

// enter returns the folder that has that path, or nil if it cannot be opened.
func (s *sites) enter(path string) *site {
	if s.at != nil && s.at.path == path {
		return s.at
	}
	s.leave()
	root, err := s.vol.root.OpenRoot(path)
	if err != nil {
		return nil
	}
	h, err := newHandle(root)
	if err != nil {
		root.Close()
		return nil
	}
	s.at = &site{path, root, h}
	return s.at
}

// leave closes the folder that is at hand: the user may move folders around.
func (s *sites) leave() {
	if s.at != nil {
		s.at.close()
		s.at.root.Close()
		s.at = nil
	}
}

// look returns what the system says of a path, of which only the folders may be
// links, and none that leads out of the destination.
func (s *sites) look(name string) ident {
	if at := s.enter(path.Dir(name)); at != nil {
		return at.look(path.Base(name))
	}
	return ident{}
}
