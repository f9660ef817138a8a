package block

import (
	"errors"
	"path"
	"slices"
)

// Replacing: the part of a placer that puts files in the places of others. All
// of it is run's.
//
// The new file, which is whole and on the disk, and the old one exchange their
// names in one step; then the old one is looked at, under the name that nobody
// else uses, and removed if it is what was to be replaced. If it is not,
// somebody has put another file there meanwhile, and they exchange their names
// again.

// errSwapped says that a file was put in the place of another one while that
// was replaced.
var errSwapped = errors.New("another program writes to the same place")

// swap returns what f is to replace, or nil.
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

// replaceable tells whether what is to be replaced is there, and nothing else.
func (p *placer) replaceable(s *swap) bool {
	at := p.sites.enter(path.Dir(s.path))
	if at == nil {
		return false
	}
	name := path.Base(s.path)
	now := at.look(name)
	return s.old.is(&now) && now.links == 1 && p.spelled(at, name)
}

// spelled tells whether a name of a folder is spelled as here, and not only
// taken for the same.
func (p *placer) spelled(at *site, name string) bool {
	if !p.vol.folds() {
		return true
	}
	names, err := readNames(at.root)
	return err == nil && slices.Contains(names, name)
}

// replace has f replace the file that it was to. It reports false, without an
// error, if f is to get another name.
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
