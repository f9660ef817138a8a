package block

import (
	"fmt"
	"hash/maphash"
	"path"
	"strings"
)

// Names checks the paths of a transfer in the form in which the receiver will
// use them. It finds paths that a file system may take for the same path, and
// missing folders. Each path is checked once, in the order of the offer.
type names struct {
	style   style
	seed    maphash.Seed
	taken   map[uint64]bool // folded paths
	folders map[uint64]bool // whether the content of a folder is wanted, by its exact path
	last    string          // the last path
	dir     struct {        // the folder that was looked up last
		path   string
		known  bool
		wanted bool
	}
}

func newNames(s style) *names {
	return &names{style: s, seed: maphash.MakeSeed(), taken: map[uint64]bool{}, folders: map[uint64]bool{}}
}

// check revises the app's verdict on an entry: its name may not be usable, and
// the content of an unwanted folder is not wanted either. The error describes
// what is wrong with the name.
func (n *names) check(e *entry, v verdict) (verdict, error) {
	if e.kind == kindLeftOut { // the receiver misses it unless it lies in an unwanted folder
		if known, wanted := n.parent(n.style.local(e.path)); known && !wanted {
			return verdictNo, nil
		}
		return v, nil
	}
	if err := checkPath(e.path); err != nil {
		return verdictName, err
	}
	p := n.style.local(e.path)
	known, wanted := n.parent(p)
	key := n.key(fold(p))
	switch {
	case n.taken[key]:
		return verdictName, fmt.Errorf("%w: another name of the offer may be taken for the same", ErrName)
	case !known:
		return verdictName, fmt.Errorf("%w: the folder was not offered, or cannot be received", ErrName)
	}
	n.taken[key] = true
	if !wanted {
		v = verdictNo
	}
	if e.kind == kindFolder {
		n.folders[n.key(p)] = v == verdictWhole
	}
	n.last = p
	return v, nil
}

func (n *names) key(p string) uint64 { return maphash.String(n.seed, p) }

// parent reports whether the folder that contains p was offered, in the same
// spelling, and whether its content is wanted.
func (n *names) parent(p string) (known, wanted bool) {
	dir := path.Dir(p)
	if dir == "." {
		return true, true
	}
	if dir != n.dir.path {
		n.dir.path = dir
		n.dir.wanted, n.dir.known = n.folders[n.key(dir)]
	}
	return n.dir.known, n.dir.wanted
}

// next forgets all paths except those in which the next offer of the transfer
// may continue: the last one, and the folders that contain it.
func (n *names) next() {
	taken, folders := map[uint64]bool{}, map[uint64]bool{}
	for p := n.last; p != "." && p != ""; p = path.Dir(p) {
		taken[n.key(fold(p))] = true
		if wanted, ok := n.folders[n.key(p)]; ok {
			folders[n.key(p)] = wanted
		}
	}
	n.taken, n.folders, n.dir.path = taken, folders, ""
}

// A style says how names are changed for the destination.
type style struct {
	hidden   bool // a leading dot stays
	portable bool // names are changed that Windows, or a file system with the same rules, would refuse
}

// local returns the receiver's path for an entry that was offered as p. Only a
// trusted sender may hide it by a leading dot.
func (s style) local(p string) string {
	if !s.hidden {
		if strings.HasPrefix(p, ".") {
			p = "_" + p[1:]
		}
		p = strings.ReplaceAll(p, "/.", "/_")
	}
	if !s.portable || plain(p) && !strings.ContainsAny(p, `:<>"|?*`) && !awkward.MatchString(p) {
		return p
	}
	components := strings.Split(p, "/")
	for i, name := range components {
		components[i] = port(name)
	}
	return strings.Join(components, "/")
}

// port returns a form of name that is valid on Windows, too.
func port(name string) string {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:<>"|?*`, r) {
			return '_'
		}
		return r
	}, name)
	end := func() {
		if last := name[len(name)-1]; last == '.' || last == ' ' {
			name = name[:len(name)-1] + "_"
		}
	}
	if end(); device.MatchString(name) {
		name = clipName("_"+name, maxName)
		end()
	}
	return name
}
