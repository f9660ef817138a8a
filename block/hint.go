package block

// A hint is information for senders that know hints, in a message that senders
// of earlier builds ignore: progress, with 2^63 or more bytes that have
// arrived.
//
//	bits
//	63      1
//	32–39   which one
//	0–31    value
type hint uint8

const (
	hintUnchanged hint = iota + 1 // entries from value & 0xFFFF to value >> 16 with the verdict have are present by size and time
	hintChanged                   // the receiver has an earlier version of entry value: the sender may send the hashes of its chunks
	hintPacks                     // entries may be packed
)

const hintBit = 1 << 63

// say encodes the hint as a message.
func (h hint) say(value uint32, verified int64) message {
	return message{kind: kindProgress, received: hintBit | uint64(h)<<32 | uint64(value), verified: uint64(verified)}
}

// A stretch is a range of entries, from first to last.
type stretch struct{ first, last uint16 }

func (s stretch) has(index int) bool { return int(s.first) <= index && index <= int(s.last) }

// A foretold collects the hints that precede an answer.
type foretold struct {
	b         []byte
	verified  int64
	unchanged *stretch // the range that may still grow
}

func (f *foretold) say(h hint, value uint32) {
	m := h.say(value, f.verified)
	f.b, _ = m.AppendBinary(f.b)
}

// wish adds the next wish. Unchanged files form one range, even if entries with
// other verdicts than have lie between them.
func (f *foretold) wish(index int, w *wish) {
	switch {
	case w.unchanged && f.unchanged == nil:
		f.unchanged = &stretch{uint16(index), uint16(index)}
	case w.unchanged:
		f.unchanged.last = uint16(index)
	case w.verdict == verdictHave:
		f.end()
	case w.changed:
		f.say(hintChanged, uint32(index))
	}
}

// end returns all hints.
func (f *foretold) end() []byte {
	if s := f.unchanged; s != nil {
		f.say(hintUnchanged, uint32(s.last)<<16|uint32(s.first))
		f.unchanged = nil
	}
	return f.b
}
