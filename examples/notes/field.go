package main

import (
	"bytes"
	"cmp"
	"slices"
)

// A note has the values of its fields.
type note [Deleted]field

// A field has the values that may be shown: the last one of each author, unless
// another author's value has replaced it.
//
// An edit names the values that its author saw, by the marks of their
// operations, and wins over them, whatever any clock says. So nobody can write
// a value that others cannot replace, by claiming the last possible stamp; and
// a value that was not written yet cannot be named. Between values that did not
// see each other, the later stamp decides, then the author, and then the
// author's order.
//
// The result depends only on which operations count, not on the order in which
// those of different authors arrive: a value that arrives after it was replaced
// is kept out by its mark.
type field struct {
	values   []value
	replaced map[Mark]bool // before they arrived
}

type value struct {
	text   string
	stamp  Stamp // corrected, if its author's clock was off
	author Author
	number uint64
	mark   Mark
}

// set adds a value, which replaces those that over names. The values of an
// author have to come in its order.
func (f *field) set(v value, over []Mark) {
	for _, m := range over {
		if !slices.ContainsFunc(f.values, func(o value) bool { return o.mark == m }) {
			if f.replaced == nil {
				f.replaced = map[Mark]bool{}
			}
			f.replaced[m] = true
		}
	}
	f.values = slices.DeleteFunc(f.values, func(o value) bool { return o.author == v.author || slices.Contains(over, o.mark) })
	if !f.replaced[v.mark] {
		f.values = append(f.values, v)
		slices.SortFunc(f.values, func(a, b value) int { return b.compare(&a) })
	}
}

func (v *value) compare(o *value) int {
	return cmp.Or(cmp.Compare(v.stamp, o.stamp), bytes.Compare(v.author[:], o.author[:]), cmp.Compare(v.number, o.number))
}

// now returns the value that is shown; the zero value if there is none.
func (f *field) now() value {
	if len(f.values) == 0 {
		return value{}
	}
	return f.values[0]
}

// others returns the marks of the values that an edit by an author replaces,
// except its own, which the edit replaces as its successor. There can be more
// than an edit can name only if that many devices wrote without knowing of each
// other's edits.
func (f *field) others(self Author) (marks []Mark) {
	for _, v := range f.values {
		if v.author != self && len(marks) < MaxOver {
			marks = append(marks, v.mark)
		}
	}
	return marks
}
