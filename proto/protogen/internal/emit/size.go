package emit

import (
	"fmt"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// sizer writes Size.
func (g *gen) sizer(m *schema.Message) {
	g.p("// %s returns the number of bytes that AppendBinary appends if it succeeds.", m.Sizer)
	if n, ok := m.Exactly(); ok {
		g.p("func (m *%s) %s() int { return %d }\n", m.Name, m.Sizer, n)
		return
	}
	g.p("func (m *%s) %s() int {", m.Name, m.Sizer)
	g.sizeBody(m)
	g.p("}\n")
}

// sizeBody writes the body of the method that returns the size of m.
func (g *gen) sizeBody(m *schema.Message) {
	n := 0
	if m.Extensible {
		n = 4
	}
	var rest []*schema.Field
	for _, f := range m.Fields {
		if f.Retired {
			if size, ok := zeroSize(f.Type); ok {
				n += size
				continue
			}
		}
		known, more := base(f.Type)
		if n += known; more {
			rest = append(rest, f)
		}
	}
	if len(rest) == 0 {
		g.p("return %d", n)
		return
	}
	g.p("n := %d", n)
	for _, f := range rest {
		at := "m." + f.Name
		if f.Retired {
			g.p("{\nvar zero %s", g.typ(f.Type.Go))
			g.more(f.Type, "zero")
			g.p("}")
			continue
		}
		g.more(f.Type, at)
	}
	g.p("return n")
}

// base returns the minimum size of a value, and whether it may be larger.
func base(t *schema.Type) (n int, more bool) {
	if n, ok := t.Exactly(); ok {
		return n, false
	}
	switch t.Kind {
	case schema.String, schema.Bytes, schema.List:
		return t.Width, true
	case schema.Optional:
		return 1, true
	}
	return 0, true
}

// more writes code that adds the bytes beyond those of base to n.
func (g *gen) more(t *schema.Type, at string) {
	switch t.Kind {
	case schema.String, schema.Bytes:
		g.p("n += len(%s)", at)
	case schema.List, schema.Array:
		g.moreElements(t, at)
	case schema.Optional:
		g.moreOptional(t, at)
	case schema.Choice:
		g.p("n += %s(%s)", unionFunc("Size", t.Union), at)
	case schema.Nested:
		g.p("n += %s.%s()", at, t.Message.Sizer)
	case schema.Foreign:
		if t.Sized {
			g.p("n += %s.Size()", at)
		} else {
			g.p("n += %s(&%s)", g.helper("sizeOf"), at)
		}
	}
}

func (g *gen) moreElements(t *schema.Type, at string) {
	known, more := base(t.Elem)
	if known > 0 {
		g.p("n += %s", product(known, at))
	}
	if more {
		i, done := g.temp("i j k")
		defer done()
		g.p("for %s := range %s {", i, at)
		g.more(t.Elem, at+"["+i+"]")
		g.p("}")
	}
}

func product(n int, at string) string {
	if n == 1 {
		return "len(" + at + ")"
	}
	return fmt.Sprintf("%d * len(%s)", n, at)
}

func (g *gen) moreOptional(t *schema.Type, at string) {
	value, present := at, at+" != nil"
	switch {
	case t.Elem.Kind == schema.Choice, t.Pointer && hasMethods(t.Elem):
	case t.Pointer:
		value = "(*" + at + ")"
	default:
		value, present = at+".Value", at+".Present"
	}
	g.p("if %s {", present)
	known, more := base(t.Elem)
	if known > 0 {
		g.p("n += %d", known)
	}
	if more {
		if t.Elem.Kind == schema.Foreign && t.Pointer && !t.Elem.Sized {
			g.p("n += %s(%s)", g.helper("sizeOf"), at)
		} else {
			g.more(t.Elem, value)
		}
	}
	g.p("}")
}
