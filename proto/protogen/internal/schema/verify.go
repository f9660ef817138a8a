package schema

import (
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// verify makes the checks that need all messages.
func (p *scanner) verify() {
	for _, m := range p.messages {
		p.bounded(m, nil)
	}
	if len(p.errs) > 0 {
		return
	}
	for _, m := range p.messages {
		for _, f := range m.Fields {
			p.lists(f, f.Type)
			switch {
			case f.Retired && !nameable(f.Type.Go, p.pkg.Path(), p.standard):
				p.errorf(f.Pos, "a retired field must not have a type of another package: use a type of the same form")
			case f.Retired && !f.Type.takesZero():
				p.errorf(f.Pos, "a retired field is sent as zero, which receivers that know the field refuse")
			case f.Since > 1 && !f.Type.takesZero():
				p.errorf(f.Pos, "a missing field is zero, which is not valid: make it optional")
			}
		}
	}
	p.strays()
}

// bounded checks that a message does not contain itself.
func (p *scanner) bounded(m *Message, path []string) {
	if i := slices.Index(path, m.Name); i >= 0 {
		p.errorf(m.Pos, "%s contains itself (%s): nothing bounds the depth", m.Name, strings.Join(append(path[i:], m.Name), ", "))
		return
	}
	path = append(slices.Clone(path), m.Name)
	for _, f := range m.Fields {
		for t := f.Type; t != nil; t = t.Elem {
			switch t.Kind {
			case Nested:
				p.bounded(t.Message, path)
			case Choice:
				for _, c := range t.Union.Cases {
					p.bounded(c.Message, path)
				}
			}
		}
	}
}

// amplified is the maximum number of bytes of memory that a list may take for
// each byte received.
const amplified = 512

// lists checks that the memory of a list is bounded by the bytes received.
func (p *scanner) lists(f *Field, t *Type) {
	for ; t != nil; t = t.Elem {
		if t.Kind != List {
			continue
		}
		least := t.Elem.Least()
		if least == 0 {
			p.errorf(f.Pos, "the elements of a list take no bytes: a count alone could create any number of them")
			continue
		}
		if k := t.Elem.Kind; !nameable(t.Elem.Go, p.pkg.Path(), p.standard) && (k != UUID && k != Foreign || t.Elem.Validate != "") {
			p.errorf(f.Pos, "a list of %s, a type of another package that is neither a UUID nor a message: use a type of this package", p.short(t.Elem.Go))
		}
		memory := types.SizesFor("gc", "amd64").Sizeof(t.Elem.Go)
		if memory/int64(least) > amplified && memory*int64(t.Max.Int()) > 1<<20 {
			p.errorf(f.Pos, "an element of %d bytes on the wire takes %d of memory: use a pointer", least, memory)
		}
	}
}

// strays finds messages that implement a union but have no discriminator.
func (p *scanner) strays() {
	for _, u := range p.unions {
		for _, m := range p.messages {
			known := slices.ContainsFunc(u.Cases, func(c *Case) bool { return c.Message == m })
			if !known && declares(p.object(m.Name).Type(), u.Seal) {
				p.errorf(m.Pos, "%s is a %s without a discriminator: //proto:case above %[2]s", m.Name, u.Name)
			}
		}
	}
}

// Has reports whether any type in a message, at any depth, satisfies a
// condition.
func (m *Message) Has(such func(*Type) bool) bool {
	return slices.ContainsFunc(m.Fields, func(f *Field) bool { return f.Type.has(such) })
}

func (t *Type) has(such func(*Type) bool) bool {
	switch {
	case such(t):
		return true
	case t.Elem != nil:
		return t.Elem.has(such)
	case t.Message != nil:
		return t.Message.Has(such)
	case t.Union != nil:
		return slices.ContainsFunc(t.Union.Cases, func(c *Case) bool { return c.Message.Has(such) })
	}
	return false
}

// Canonical reports whether a decoded message always encodes to the bytes that
// it was decoded from. It does not if fields are skipped or ignored, or if it
// contains a type of another package.
func (m *Message) Canonical() bool {
	return !m.Extensible && !slices.ContainsFunc(m.Fields, func(f *Field) bool {
		return f.Retired || !f.Type.canonical()
	})
}

func (t *Type) canonical() bool {
	switch t.Kind {
	case Foreign:
		return false
	case List, Array, Optional:
		return t.Elem.canonical()
	case Nested:
		return t.Message.Canonical()
	case Choice:
		return !slices.ContainsFunc(t.Union.Cases, func(c *Case) bool { return !c.Message.Canonical() })
	}
	return true
}

// Least returns the minimum size of a value in bytes.
func (t *Type) Least() int {
	switch t.Kind {
	case Number, Float, Enum:
		return t.Width
	case String, Bytes, List:
		return t.Width // the minimum may be 0, and need not be exact
	case Bool, Optional, Foreign:
		return 1
	case UUID, Fixed:
		return t.Len
	case Key:
		return 32
	case Time:
		return timeSize(t.Unit)
	case Array:
		return t.Len * t.Elem.Least()
	case Choice:
		return 1
	}
	return t.Message.Least()
}

// Least returns the minimum size of a message in bytes.
func (m *Message) Least() (n int) {
	if m.Extensible {
		n = 4
	}
	for _, f := range m.Fields {
		if f.Since == 1 {
			n += f.Type.Least()
		}
	}
	return n
}

// Exactly returns the size of a value in bytes, if all values have the same.
func (t *Type) Exactly() (int, bool) {
	switch t.Kind {
	case String, Bytes, List, Optional, Foreign, Choice:
		return 0, false
	case Bool:
		return 1, true
	case Array:
		n, ok := t.Elem.Exactly()
		return t.Len * n, ok
	case Nested:
		return t.Message.Exactly()
	}
	return t.Least(), true
}

// Exactly returns the size of a message in bytes, if all values have the same.
func (m *Message) Exactly() (n int, ok bool) {
	if m.Extensible {
		n = 4
	}
	for _, f := range m.Fields {
		size, ok := f.Type.Exactly()
		if !ok {
			return 0, false
		}
		n += size
	}
	return n, true
}

func timeSize(u Unit) int {
	if u == Nanos {
		return 12
	}
	return 8
}

// takesZero reports whether the zero value can be sent.
func (t *Type) takesZero() bool {
	zero := constant.MakeInt64(0)
	switch t.Kind {
	case Number:
		return (t.Min == nil || constant.Compare(t.Min.Value, token.LEQ, zero)) && (t.Max == nil || constant.Compare(t.Max.Value, token.GEQ, zero))
	case String, Bytes, List:
		return t.Min == nil || t.Min.Int() == 0
	case Enum:
		return slices.ContainsFunc(t.Enum.Values, func(v EnumValue) bool { return v.Value == 0 })
	case Key:
		return t.Zero
	case Array:
		return t.Elem.takesZero()
	case Choice:
		return false
	case Nested:
		return !slices.ContainsFunc(t.Message.Fields, func(f *Field) bool { return f.Const == nil && !f.Type.takesZero() })
	}
	return true
}
