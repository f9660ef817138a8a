package dns

import "slices"

// maxPointers is the most pointers that a name may have: more are a loop or an
// attack.
const maxPointers = 32

// names reads the names of one packet. It remembers each name and all its
// suffixes, so that a suffix that many names point to is read and turned into
// text only once: the work is proportional to the packet, however its names
// point at each other.
//
// Two bounds, which no honest packet comes near, ensure that: one of the bytes
// read, since labels are read once and then remembered with the pointer after
// them; and one of the bytes of text, which are more than the bytes read only
// because of escapes, fourfold at most, and of shared suffixes.
type names struct {
	b     []byte
	at    []uint16 // by offset: 1 + index in known
	known []name   // the first is the root
	set   *Set     // the set in which names are looked up; may be nil

	reads    int // bytes of labels and pointers that may still be read
	texts    int // bytes of text that may still be made
	exceeded bool
}

// A name is a label with the rest of the name.
type name struct {
	off      uint16 // of the label
	next     uint16 // offset after the name that begins here
	rest     uint16 // index of the rest after the label
	pointers uint8
	size     uint8  // of the whole name, in wire form
	below    bool   // equal to or below the name that the set contains with all names below it
	hash     uint64 // only with a set
	text     string // once requested
}

// begin starts a new packet. It reuses the memory of the last one.
func (n *names) begin(b []byte, set *Set) {
	n.b, n.set, n.exceeded = b, set, false
	n.reads, n.texts = len(b)+maxName, 8*len(b)+4096
	n.at = slices.Grow(n.at[:0], len(b))[:len(b)]
	clear(n.at)
	n.known = append(n.known[:0], name{size: 1, text: "."})
}

// read reads the name at off, and returns its index and the offset of its end.
// pointers is the number of pointers that have led there.
func (n *names) read(off, pointers int) (index uint16, next int, ok bool) {
	first := len(n.known) // of the labels at off
	for {
		if off >= len(n.b) {
			return 0, 0, false
		}
		if i := n.at[off]; i != 0 {
			return n.link(first, i-1, 0, int(n.known[i-1].next))
		}
		size := int(n.b[off])
		switch size & 0xC0 {
		case 0x00:
			if size == 0 {
				return n.link(first, 0, 0, off+1)
			}
		case 0xC0:
			if off+1 >= len(n.b) || pointers == maxPointers || !n.pay(2) {
				return 0, 0, false
			}
			labels := len(n.known)
			rest, _, ok := n.read((size&0x3F)<<8|int(n.b[off+1]), pointers+1)
			if !ok {
				return 0, 0, false
			}
			return n.linkAll(first, labels, rest, 1, off+2)
		default:
			return 0, 0, false
		}
		if off+1+size > len(n.b) || !n.pay(1+size) {
			return 0, 0, false
		}
		n.known = append(n.known, name{off: uint16(off)})
		off += 1 + size
	}
}

// pay subtracts bytes that were read from the bound, and reports whether it
// holds.
func (n *names) pay(bytes int) bool {
	n.reads -= bytes
	n.exceeded = n.exceeded || n.reads < 0
	return n.reads >= 0
}

// link is linkAll for the last labels that were read.
func (n *names) link(first int, rest uint16, pointers, next int) (index uint16, end int, ok bool) {
	return n.linkAll(first, len(n.known), rest, pointers, next)
}

// linkAll makes names of the labels from first to last. rest is the index of
// what follows the last label, after the given number of pointers.
func (n *names) linkAll(first, last int, rest uint16, pointers, next int) (index uint16, end int, ok bool) {
	pointers += int(n.known[rest].pointers)
	if pointers > maxPointers {
		return 0, 0, false
	}
	for i := last - 1; i >= first; i-- {
		l := &n.known[i]
		label := n.label(l)
		size := int(n.known[rest].size) + 1 + len(label)
		if size > maxName {
			return 0, 0, false
		}
		l.next, l.rest, l.pointers, l.size = uint16(next), rest, uint8(pointers), uint8(size)
		if n.set != nil {
			l.hash = n.set.hash(label, n.known[rest].hash)
			l.below = n.known[rest].below || l.hash == n.set.below
		}
		rest = uint16(i)
		n.at[l.off] = rest + 1
	}
	return rest, next, true
}

// wanted reports whether the set contains a name; of those below its first
// name, if exact, only the ones that were added.
func (n *names) wanted(index uint16, exact bool) bool {
	name := &n.known[index]
	return name.below && (!exact || name.hash == n.set.below) || n.set.names[name.hash] > 0
}

// label returns the raw label of a name.
func (n *names) label(l *name) []byte {
	size := int(n.b[l.off])
	return n.b[int(l.off)+1:][:size]
}

// text returns a name in presentation form.
func (n *names) text(index uint16) string {
	if n.known[index].text != "" {
		return n.known[index].text
	}
	var buf [4 * maxName]byte
	text := buf[:0]
	i := index
	for ; i != 0 && n.known[i].text == ""; i = n.known[i].rest {
		text = append(appendEscaped(text, n.label(&n.known[i])), '.')
	}
	if i != 0 {
		text = append(text, n.known[i].text...)
	}
	if n.texts -= len(text); n.texts < 0 {
		n.exceeded = true
		return "."
	}
	all := string(text)
	for j := index; j != i; j = n.known[j].rest {
		n.known[j].text = all
		all = all[escapedLen(n.label(&n.known[j]))+1:]
	}
	return n.known[index].text
}
