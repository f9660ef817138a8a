package block

import (
	"os"
	"path"
)

// A site is an open folder of the destination, so that its path is not resolved
// again for each file in it.
type site struct {
	path string
	root *os.Root
	*handle
}

// Sites keeps one folder open. It belongs to one goroutine.
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

// leave closes the open folder, since the user may move folders.
func (s *sites) leave() {
	if s.at != nil {
		s.at.close()
		s.at.root.Close()
		s.at = nil
	}
}

// look returns the ident of a path. The folders of the path may be links that
// stay in the destination; a link at its end is not followed.
func (s *sites) look(name string) ident {
	if at := s.enter(path.Dir(name)); at != nil {
		return at.look(path.Base(name))
	}
	return ident{}
}
