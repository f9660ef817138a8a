package dnssd

import (
	"net/netip"
	"slices"
)

// DNS compares labels without regard to case, and instances are told apart as
// in DNS. But a label may stand for a key, in which case counts. A host that
// announces the label of another instance in another case, before the owner is
// heard, must not make the instance appear under a wrong name. So an instance
// is reported once for each spelling, as several instances with the same
// records. Once the holder of a key has answered, its spelling is the only one.

// A spelling is a label as somebody has written it.
type spelling struct {
	label string
	src   netip.Addr
}

const maxSpellings = 4

// spell records how src spells the label of an instance.
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
	if len(in.others) == maxSpellings-1 { // drops one of the source that has most of them
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

// proved records that the holder of the key that a label stands for has
// answered.
func (e *Engine) proved(in *instance, label string) {
	if in.proved = true; in.name != label || len(in.others) > 0 {
		in.name, in.others = label, nil
		e.touch(in)
	}
}

// any reports whether f returns true for any of the reported spellings.
func (in *instance) any(f func(label string) bool) bool {
	return f != nil && slices.ContainsFunc(in.told, f)
}

// report reports an instance under its spellings, and withdraws those that no
// longer exist. If the instance has not changed, it reports only new spellings.
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
