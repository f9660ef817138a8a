package dnssd

import (
	"net/netip"
	"slices"
)

// DNS compares labels without regard to case, and an instance is what DNS takes for
// one. But a label may stand for a key in a spelling where case counts. So somebody
// who announces the label of another instance in another case, before that is
// heard of, must not have it shown under a name that is not its own: an instance
// is reported once for each spelling, as so many instances with the same records.
// Once the holder of a key has answered, its spelling is the only one.

// A spelling is a label as somebody has written it.
type spelling struct {
	label string
	src   netip.Addr
}

const maxSpellings = 4

// spell notes how src writes the label of an instance.
func (e *Engine) spell(in *instance, label string, src netip.Addr) {
	if in.proved || in.name == label || slices.ContainsFunc(in.others, func(s spelling) bool { return s.label == label }) {
		return
	}
	by := func(src netip.Addr) (n int) {
		for _, s := range in.others {
			if s.src == src {
				n++
			}
		}
		return n
	}
	if len(in.others) == maxSpellings-1 { // one goes of the source that has most of them
		goes, most := -1, by(src)
		for i, s := range in.others {
			if n := by(s.src); n > most {
				goes, most = i, n
			}
		}
		if goes < 0 {
			return
		}
		in.others = slices.Delete(in.others, goes, goes+1)
	}
	in.others = append(in.others, spelling{label, src})
	e.touch(in)
}

// proved notes that the holder of the key that a label stands for has answered.
func (e *Engine) proved(in *instance, label string) {
	if in.proved = true; in.name != label || len(in.others) > 0 {
		in.name, in.others = label, nil
		e.touch(in)
	}
}

// any reports whether f does of one of the spellings that were reported.
func (in *instance) any(f func(label string) bool) bool {
	return f != nil && slices.ContainsFunc(in.told, f)
}

// report reports an instance under its spellings, and takes back those that are
// there no more. If it has not changed, only new ones are reported.
func (e *Engine) report(in *instance, changed bool) {
	told := in.told
	in.told = nil
	if in.shown {
		in.told = append(in.told, in.name)
		for _, s := range in.others {
			in.told = append(in.told, s.label)
		}
	}
	for _, label := range told {
		if !slices.Contains(in.told, label) && e.cfg.Lost != nil {
			e.events = append(e.events, func() { e.cfg.Lost(label) })
		}
	}
	for _, label := range in.told {
		if (changed || !slices.Contains(told, label)) && e.cfg.Found != nil {
			now := in.last.clone()
			now.Name = label
			e.events = append(e.events, func() { e.cfg.Found(now) })
		}
	}
}
