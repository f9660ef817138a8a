package block

import (
	"errors"
	"path"
	"slices"
)

// This file is the part of a placer that replaces files. Everything in it
// belongs to the goroutine of run.
//
// The new file, which is complete and on disk, and the old one exchange their
// names in one step. Then the old one, under a name that no other program uses,
// is checked, and removed if it is the file that was to be replaced. If it is
// not, another program has put a different file there meanwhile, and the two
// exchange their names again.

// errSwapped says that another program has put a file in the place of one while
// that was being replaced.
var errSwapped = errors.New("another program writes to the same place")

// swap returns the replacement that f is to make, or nil if there is none.
func (p *placer) swap(f *wholeFile) *swap {
	if p.opts.Existing != Replace || p.index == nil || f.old == 0 {
		return nil
	}
	if p.vol.renumbers {
		p.vol.note(func(l *Lacks) { l.Exchange = true })
		return nil
	}
	m := p.index.row(f.old)
	if m == nil || m.offered != f.entry.path {
		return nil
	}
	s := &swap{path: m.here, new: p.vol.dir.look(p.journal.data(f.number)), old: m.ident}
	if !s.new.known() || !p.replaceable(s) {
		return nil
	}
	return s
}

// replaceable reports whether the file that is to be replaced is still in its
// place, unchanged.
func (p *placer) replaceable(s *swap) bool {
	at := p.sites.enter(path.Dir(s.path))
	if at == nil {
		return false
	}
	name := path.Base(s.path)
	now := at.look(name)
	return s.old.is(&now) && now.links == 1 && p.spelled(at, name)
}

// spelled reports whether a folder has an entry with exactly this name, and not
// only one that the file system takes for the same.
func (p *placer) spelled(at *site, name string) bool {
	if !p.vol.folds() {
		return true
	}
	names, err := readNames(at.root)
	return err == nil && slices.Contains(names, name)
}

// replace puts f in the place of the file that it is to replace. It reports
// false, without an error, if f has to get another name.
func (p *placer) replace(f *wholeFile) (bool, error) {
	s, name := f.swap, p.journal.data(f.number)
	if !p.replaceable(s) {
		return false, nil
	}
	at, base := p.sites.enter(path.Dir(s.path)), path.Base(s.path)
	err := p.vol.faults("exchange", s.path)
	if err == nil {
		err = at.exchange(p.vol.dir, name, base)
	}
	if err != nil {
		if unsupported(err) {
			p.vol.note(func(l *Lacks) { l.Exchange = true })
		}
		return false, nil
	}
	if got := p.vol.dir.look(name); s.old.is(&got) && got.links == 1 {
		p.vol.dir.remove(name)
		return true, nil
	}
	if err := at.exchange(p.vol.dir, name, base); err == nil {
		if got := p.vol.dir.look(name); got.file == s.new.file {
			return false, nil
		}
	}
	p.vol.rescue(name, s.path)
	return false, errSwapped
}
