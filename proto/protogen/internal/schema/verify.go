package schema

import (
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// verify checks what can be said only of all messages together.
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
				p.errorf(f.Pos, "a retired field needs no type of another package: let it have one of the same form")
			case f.Retired && !f.Type.takesZero():
				p.errorf(f.Pos, "a retired field is sent as zero, which receivers that know it do not take")
			case f.Since > 1 && !f.Type.takesZero():
				p.errorf(f.Pos, "a field that is missing is zero, which it must not be: let it be optional")
			}
		}
	}
	p.strays()
}

// bounded checks that a message does not contain itself.
func (p *scanner) bounded(m *Message, path []string) {
	if i := slices.Index(path, m.Name); i >= 0 {
		p.errorf(m.Pos, "%s contains itself (%s): nothing bounds how deep that goes", m.Name, strings.Join(append(path[i:], m.Name), ", "))
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

// amplified is how many bytes of memory a list may take for one that arrives.
const amplified = 512

// lists checks that what a list takes has to arrive.
func (p *scanner) lists(f *Field, t *Type) {
	for ; t != nil; t = t.Elem {
		if t.Kind != List {
			continue
		}
		least := t.Elem.Least()
		if least == 0 {
			p.errorf(f.Pos, "the elements of a list take no byte: a count alone would make as many as it likes")
			continue
		}
		if k := t.Elem.Kind; !nameable(t.Elem.Go, p.pkg.Path(), p.standard) && (k != UUID && k != Foreign || t.Elem.Validate != "") {
			p.errorf(f.Pos, "a list of %s, a type of another package that is neither a UUID nor a message: let it have a type of this one", p.short(t.Elem.Go))
		}
		memory := types.SizesFor("gc", "amd64").Sizeof(t.Elem.Go)
		if memory/int64(least) > amplified && memory*int64(t.Max.Int()) > 1<<20 {
			p.errorf(f.Pos, "an element of %d bytes on the wire takes %d of memory: let it have a pointer", least, memory)
		}
	}
}

// strays finds messages that are a union's by their methods, and have no
// discriminator.
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

// Has reports whether anything in a message, as deep as it goes, is such.
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

// Canonical reports whether what a message is decoded from is always what it
// encodes to. It is not if fields are skipped or not looked at, or if a part of
// it is another one's.
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

// Least returns how many bytes a value takes at least.
func (t *Type) Least() int {
	switch t.Kind {
	case Number, Float, Enum:
		return t.Width
	case String, Bytes, List:
		return t.Width // min may be 0, and to be exact is not needed
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

// Least returns how many bytes a message takes at least.
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

// Exactly returns how many bytes every value takes, if all take as many.
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

// Exactly returns how many bytes every value of a message takes, if all take as
// many.
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
