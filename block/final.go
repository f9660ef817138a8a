package block

import (
	"errors"
	"io/fs"
	"os"
	"path"
)

// This file is the part of a placer that gives files their final names.
// Everything in it belongs to the goroutine of run.

// vacant returns the first path for f that is free, beginning with the nth
// variant of its name.
func (p *placer) vacant(f *wholeFile, n int) string {
	for ; ; n++ {
		name := f.wanted
		if n > 1 {
			name = another(name, n, false)
		}
		if n == 1 && f.fresh || !p.taken(name) {
			return name
		}
	}
}

func (p *placer) taken(name string) bool {
	if dir := path.Dir(name); dir != "." {
		if at := p.sites.enter(dir); at != nil {
			return at.has(path.Base(name))
		}
	}
	_, err := p.vol.root.Lstat(name)
	return err == nil
}

func (p *placer) record(f *wholeFile, hold bool) error {
	return p.journal.place(place{number: f.number, entry: f.entry, path: f.path, hold: hold})
}

// note records in the index where files are about to be placed.
func (p *placer) note(batch []wholeFile, errs []error) {
	if p.index == nil {
		return
	}
	rows := make([]*row, 0, len(batch))
	for i := range batch {
		f := &batch[i]
		if errs[i] != nil {
			continue
		}
		m := &row{
			offered: f.entry.path, here: f.path, seconds: f.entry.seconds, nanos: f.entry.nanos,
			ident: p.vol.dir.look(p.journal.data(f.number)), hashes: f.hashes,
		}
		if m.ident.known() {
			rows = append(rows, m)
		}
	}
	p.index.add(rows)
}

// before returns the local name of a folder that the sender has sent before as
// the first component of paths, if that folder still exists.
func (p *placer) before(first string) (string, bool) {
	if p.index == nil {
		return "", false
	}
	return p.index.folder(first, p.near.look)
}

// give gives f its final name: that of the file that it replaces, or a free
// one.
func (p *placer) give(f *wholeFile) error {
	if f.swap == nil {
		return p.link(f)
	}
	done, err := p.replace(f)
	if done || err != nil {
		return err
	}
	if err := p.next(f, 1); err != nil {
		return err
	}
	return p.link(f)
}

// next finds and records another name for f, beginning with the nth variant.
func (p *placer) next(f *wholeFile, n int) error {
	f.path = p.vacant(f, n)
	if err := p.record(f, false); err != nil {
		return err
	}
	p.note([]wholeFile{*f}, []error{nil})
	return p.journal.sync()
}

// link gives f its final name, or the next free one, and removes its name in
// the partial folder.
func (p *placer) link(f *wholeFile) error {
	name := p.journal.data(f.number)
	for n := 2; ; n++ {
		err := p.hardLink(name, f.path)
		if err == nil {
			p.vol.dir.remove(name)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			err = p.move(f, name)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := p.next(f, n); err != nil {
			return err
		}
	}
}

// hardLink links the data file called name to the path to. It fails if that
// path is taken.
func (p *placer) hardLink(name, to string) error {
	if err := p.vol.faults("link", to); err != nil {
		return err
	}
	if at := p.sites.enter(path.Dir(to)); at != nil {
		if err := at.link(p.vol.dir, name, path.Base(to)); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return p.vol.root.Link(partialDir+"/"+name, to)
}

// move gives f its final name without a hard link. It fails if that name is
// taken.
func (p *placer) move(f *wholeFile, name string) error {
	err := p.vol.faults("rename", f.path)
	if err == nil {
		err = errors.ErrUnsupported
		if at := p.sites.enter(path.Dir(f.path)); at != nil {
			err = at.rename(p.vol.dir, name, path.Base(f.path))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = p.create(f, partialDir+"/"+name)
	}
	if err == nil {
		p.vol.note(func(l *Lacks) { l.Links = true })
	}
	return err
}

// create gives f its final name on a file system that has neither hard links
// nor a rename that refuses to replace a file: an empty file reserves the name
// until f replaces it.
func (p *placer) create(f *wholeFile, data string) error {
	if p.taken(f.path) {
		return fs.ErrExist // somebody else's empty file must not be recorded as ours
	}
	if err := p.record(f, true); err != nil {
		return err
	}
	if err := p.vol.faults("place", f.path); err != nil {
		return err
	}
	holder, err := p.vol.root.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	holder.Close()
	if err := p.vol.root.Rename(data, f.path); err != nil {
		p.vol.root.Remove(f.path)
		return err
	}
	return nil
}
