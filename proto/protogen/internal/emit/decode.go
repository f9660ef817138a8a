package emit

import (
	"fmt"
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// decoder writes DecodeFrom.
func (g *gen) decoder(m *schema.Message) {
	g.p("// DecodeFrom reads m from d. If m breaks a limit or a rule, it fails with an")
	g.p("// error that wraps [proto.ErrInvalid]. After any error, the content of m is")
	g.p("// undefined.")
	g.p("func (m *%s) DecodeFrom(d *proto.Decoder) error {", m.Name)
	if m.Extensible {
		g.p("extent := d.Begin(%s)", limit(m.Max))
	}
	for i, f := range m.Fields {
		if i == len(m.Fields)-1 && tail(m, f) {
			g.p("return m.%s.DecodeFrom(d)\n}\n", f.Name)
			return
		}
		if f.Since > 1 {
			g.p("if d.More(extent) {")
		}
		g.decodeField(f)
		if f.Since > 1 && !f.Retired {
			g.p("} else {\n%s\n}", g.clear(f.Type, "m."+f.Name))
		} else if f.Since > 1 {
			g.p("}")
		}
	}
	if m.Extensible {
		g.p("d.End(extent)")
	}
	if m.Validate != "" {
		g.p("if d.Err() == nil {")
		g.p("if err := m.%s(); err != nil { d.Fail(%s) }", m.Validate, g.wrap(m.Name, "err"))
		g.p("}")
	}
	g.p("return d.Err()\n}\n")
}

// tail reports whether DecodeFrom of a message may return the result of its
// last field.
func tail(m *schema.Message, f *schema.Field) bool {
	return f.Type.Kind == schema.Nested && f.Type.Validate == "" && m.Validate == "" && !m.Extensible && !f.Retired
}

func (g *gen) decodeField(f *schema.Field) {
	switch {
	case f.Const != nil:
		v, done := g.temp("v")
		defer done()
		name, _ := label(f)
		g.p("if %[1]s := d.Uint%[2]d(); %[1]s != %[3]s { d.Fail(%[4]s) }", v, 8*f.Type.Width, unsigned(f.Const, f.Type.Width),
			g.invalid(strings.Trim(name, "\"")+": %d, not "+unsigned(f.Const, f.Type.Width), v))
	case f.Retired:
		g.skip(f.Type)
	default:
		g.decode(f.Type, "m."+f.Name, f.Name)
	}
}

// skip writes code that reads a retired field and discards it.
func (g *gen) skip(t *schema.Type) {
	v, done := g.temp("retired")
	defer done()
	g.p("{\nvar %s %s", v, g.typ(t.Go))
	g.decode(t, v, "retired field")
	g.p("_ = %s\n}", v)
}

// decode writes code that reads a value into at; name is its name in errors.
func (g *gen) decode(t *schema.Type, at, name string) {
	switch t.Kind {
	case schema.Number:
		g.assign(t, at, fmt.Sprintf("uint%d", 8*t.Width), fmt.Sprintf("d.Uint%d()", 8*t.Width))
		g.checkNumber(t, at, name, "d.Fail(%s)")
	case schema.Float:
		if t.Width == 8 {
			g.assign(t, at, "float64", "d.Float64()")
		} else {
			g.assign(t, at, "float32", g.use("math")+".Float32frombits(d.Uint32())")
		}
	case schema.Bool:
		g.assign(t, at, "bool", "d.Bool()")
	case schema.String:
		reader := map[int]string{1: "String8", 2: "String", 4: "String32"}[t.Width]
		g.assign(t, at, "string", fmt.Sprintf("d.%s(%s)", reader, limit(t.Max)))
		g.checkShort(t, at, name, "d.Fail(%s)")
	case schema.Bytes:
		reader := map[int]string{1: "Bytes8", 2: "Bytes16", 4: "Bytes"}[t.Width]
		g.p("%s = d.%s(%s)", at, reader, limit(t.Max))
		g.checkShort(t, at, name, "d.Fail(%s)")
	case schema.UUID:
		g.p("%s = d.UUID()", at)
	case schema.Fixed:
		g.p("d.Fixed(%s[:])", at)
	case schema.Key:
		g.p("%s = %s(d)", at, g.helper(map[bool]string{false: "decodeKey", true: "decodeAnyKey"}[t.Zero]))
	case schema.Time:
		g.decodeTime(t, at)
	case schema.Enum:
		g.decodeEnum(t, at)
	case schema.List:
		g.decodeList(t, at, name)
		g.checkShort(t, at, name, "d.Fail(%s)")
	case schema.Array:
		i, done := g.temp("i j k")
		defer done()
		g.p("for %s := range %s {", i, at)
		g.decode(t.Elem, at+"["+i+"]", name)
		g.p("}")
	case schema.Optional:
		g.decodeOptional(t, at, name)
	case schema.Nested, schema.Foreign:
		g.p("d.Fail(%s.DecodeFrom(d))", at)
	case schema.Choice:
		g.p("%s = %s(d)", at, unionFunc("Decode", t.Union))
	}
	if t.Validate != "" {
		g.p("if d.Err() == nil {")
		g.p("if err := %s.%s(); err != nil { d.Fail(%s) }", at, t.Validate, g.wrap(name, "err"))
		g.p("}")
	}
}

// assign writes an assignment, with a conversion if the types differ.
func (g *gen) assign(t *schema.Type, at, from, value string) {
	switch is := t.Go.String(); {
	case is == from || is == "byte" && from == "uint8":
		g.p("%s = %s", at, value)
	case g.nameable(t.Go):
		g.p("%s = %s(%s)", at, g.typ(t.Go), value)
	default:
		g.p("%s(%s, %s)", g.helper(map[string]string{"string": "setString", "bool": "setBool"}[from]+map[bool]string{true: "setNumber"}[from != "string" && from != "bool"]), addr(at), value)
	}
}

// clear returns the statement that makes a field zero.
func (g *gen) clear(t *schema.Type, at string) string {
	zero := map[schema.Kind]string{
		schema.Number: "0", schema.Float: "0", schema.Enum: "0", schema.Bool: "false", schema.String: `""`,
		schema.Bytes: "nil", schema.List: "nil", schema.Choice: "nil",
	}[t.Kind]
	switch {
	case t.Kind == schema.Optional && (t.Pointer || t.Elem.Kind == schema.Choice):
		zero = "nil"
	case zero == "" && g.nameable(t.Go):
		zero = g.typ(t.Go) + "{}"
	case zero == "":
		return fmt.Sprintf("%s(&%s)", g.helper("setZero"), at)
	}
	return at + " = " + zero
}

func (g *gen) decodeTime(t *schema.Type, at string) {
	if t.Unit == schema.Millis {
		g.p("%s = %s.UnixMilli(int64(d.Uint64())).UTC()", at, g.use("time"))
		return
	}
	g.p("%s = %s(d)", at, g.helper("decodeTime"))
}

func (g *gen) decodeEnum(t *schema.Type, at string) {
	if t.Enum.Local {
		g.p("%s = proto.DecodeEnum(d, %q, %s)", at, t.Enum.Name, g.known(t.Enum))
		return
	}
	g.p("%s(%s, d, %q, %s)", g.helper("decodeEnum"), addr(at), t.Enum.Name, g.known(t.Enum))
}

// decodeList writes code that reads a list.
func (g *gen) decodeList(t *schema.Type, at, name string) {
	count := fmt.Sprintf("d.Count%d(%s)", 8*t.Width, limit(t.Max))
	elem := t.Elem
	switch named := g.nameable(elem.Go); {
	case named && elem.Validate == "" && (elem.Kind == schema.Nested || elem.Kind == schema.Foreign):
		g.p("%s = proto.DecodeList(d, %s, (*%s).DecodeFrom)", at, count, g.typ(elem.Go))
	case named:
		v, done := g.temp("v w")
		defer done()
		g.p("%s = proto.DecodeList(d, %s, func(%s *%s, d *proto.Decoder) error {", at, count, v, g.typ(elem.Go))
		g.decode(elem, g.element(elem, v), name)
		g.p("return d.Err()\n})")
	case elem.Kind == schema.UUID:
		g.p("%[1]s = %[2]s(%[1]s, d, %[3]s, %[4]s)", at, g.helper("decodeListOf"), count, g.helper("decodeUUID"))
	default:
		g.p("%[1]s = %[2]s(%[1]s, d, %[3]s, %[4]s)", at, g.helper("decodeListOf"), count, g.helper("decodeOther"))
	}
}

// element returns the expression for the element that a pointer points to.
func (g *gen) element(t *schema.Type, v string) string {
	if hasMethods(t) && t.Kind != schema.Time {
		return v
	}
	switch t.Kind {
	case schema.Fixed, schema.Array, schema.Optional:
		return "(*" + v + ")"
	}
	if t.Validate != "" {
		return "(*" + v + ")"
	}
	return "*" + v
}

func (g *gen) decodeOptional(t *schema.Type, at, name string) {
	named := g.nameable(t.Elem.Go)
	switch {
	case t.Elem.Kind == schema.Choice:
		g.p("%s = nil", at)
		g.p("if d.Optional() {")
		g.decode(t.Elem, at, name)
		g.p("}")
	case t.Pointer:
		g.p("%s = nil", at)
		g.p("if d.Optional() {")
		if named {
			g.p("%s = new(%s)", at, g.typ(t.Elem.Go))
		} else {
			g.p("%s = %s(%[1]s)", at, g.helper("newOf"))
		}
		g.decode(t.Elem, g.element(t.Elem, at), name)
		g.p("}")
	default:
		if named {
			g.p("%s = proto.Optional[%s]{Present: d.Optional()}", at, g.typ(t.Elem.Go))
		} else {
			g.p("%s(&%s, d.Optional())", g.helper("setPresent"), at)
		}
		g.p("if %s.Present {", at)
		g.decode(t.Elem, at+".Value", name)
		g.p("}")
	}
}
