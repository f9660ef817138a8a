package emit

import (
	"fmt"
	"go/constant"
	"math"
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// encoder writes AppendBinary.
func (g *gen) encoder(m *schema.Message) {
	g.use(protoPath)
	g.p("// AppendBinary appends m to b. If m breaks a limit or a rule, it returns b")
	g.p("// unchanged, and an error that wraps [proto.ErrInvalid].")
	g.p("//")
	for _, line := range Layout(m, InGo) {
		g.p("//%s", strings.TrimRight("\t"+line, "\t"))
	}
	g.p("func (m *%s) AppendBinary(b []byte) ([]byte, error) {", m.Name)
	if m.Validate != "" {
		g.p("if err := m.%s(); err != nil { return b, %s }", m.Validate, g.wrap(m.Name, "err"))
	}
	if len(m.Fields) == 0 && !m.Extensible {
		g.p("return b, nil\n}\n")
		return
	}
	g.p("out := b")
	if usesErr(m) {
		g.p("var err error")
	}
	if m.Extensible {
		g.p("out = proto.AppendUint32(out, 0)")
	}
	for _, f := range m.Fields {
		g.appendField(f)
	}
	if m.Extensible {
		g.p("if err = proto.PutLength(out[len(b):], %s); err != nil { return b, err }", limit(m.Max))
	}
	g.p("return out, nil\n}\n")
}

// wrap returns the expression of an error that wraps proto.ErrInvalid and err.
func (g *gen) wrap(name, err string) string {
	return fmt.Sprintf("%s.Errorf(%q, proto.ErrInvalid, %s)", g.use("fmt"), "%w "+schema.Words(name)+": %w", err)
}

// appendField writes code that appends a field.
func (g *gen) appendField(f *schema.Field) {
	switch {
	case f.Const != nil:
		g.p("out = %s", g.number(f.Type.Width, "out", unsigned(f.Const, f.Type.Width)))
	case f.Retired:
		g.appendZero(f.Type)
	default:
		g.append(f.Type, "m."+f.Name, f.Name)
	}
}

// unsigned returns the two's complement of a number as an unsigned one.
func unsigned(v constant.Value, width int) string {
	if constant.Sign(v) < 0 {
		n, _ := constant.Int64Val(v)
		return fmt.Sprint(uint64(n) & (math.MaxUint64 >> (64 - 8*width)))
	}
	return v.ExactString()
}

// number returns the expression that appends a number to a buffer.
func (g *gen) number(width int, to, value string) string {
	if width == 1 {
		return fmt.Sprintf("append(%s, %s)", to, value)
	}
	return fmt.Sprintf("proto.AppendUint%d(%s, %s)", 8*width, to, value)
}

// try writes a call that returns the new out and an error.
func (g *gen) try(format string, args ...any) {
	g.p("if out, err = "+format+"; err != nil { return b, err }", args...)
}

// append writes code that appends the value at; name is its name in errors.
func (g *gen) append(t *schema.Type, at, name string) {
	if t.Validate != "" {
		g.p("if err = %s.%s(); err != nil { return b, %s }", at, t.Validate, g.wrap(name, "err"))
	}
	switch t.Kind {
	case schema.Number:
		g.checkNumber(t, at, name, "return b, %s")
		g.p("out = %s", g.number(t.Width, "out", g.convert(t, at, fmt.Sprintf("uint%d", 8*t.Width))))
	case schema.Float:
		g.appendFloat(t, at)
	case schema.Bool:
		g.p("out = proto.AppendBool(out, %s)", g.convert(t, at, "bool"))
	case schema.String, schema.Bytes:
		g.checkShort(t, at, name, "return b, %s")
		g.try("proto.Append%s(out, %s, %s)", sizedName(t), g.text(t, at), limit(t.Max))
	case schema.UUID:
		g.p("out = proto.AppendUUID(out, %s)", at)
	case schema.Fixed:
		g.p("out = append(out, %s[:]...)", at)
	case schema.Key:
		g.appendKey(t, at, name)
	case schema.Time:
		g.appendTime(t, at)
	case schema.Enum:
		g.try("proto.AppendEnum(out, %q, %s, %s)", t.Enum.Name, at, g.known(t.Enum))
	case schema.List, schema.Array:
		g.appendList(t, at, name)
	case schema.Optional:
		g.appendOptional(t, at, name)
	case schema.Nested, schema.Foreign:
		if t.Kind == schema.Nested && !refuses(t.Message) {
			g.p("out, _ = %s.AppendBinary(out) // it cannot fail", at)
			return
		}
		g.try("%s.AppendBinary(out)", at)
	case schema.Choice:
		g.try("%s(out, %s)", unionFunc("Append", t.Union), at)
	}
}

// sizedName returns the suffix of the name of the function for a string or
// bytes.
func sizedName(t *schema.Type) string {
	switch {
	case t.Kind == schema.Bytes && t.Width == 4:
		return "Bytes"
	case t.Kind == schema.Bytes:
		return fmt.Sprintf("Bytes%d", 8*t.Width)
	case t.Width == 2:
		return "StringMax"
	}
	return fmt.Sprintf("String%d", 8*t.Width)
}

// text returns at as a plain string.
func (g *gen) text(t *schema.Type, at string) string {
	if t.Kind == schema.String {
		return g.convert(t, at, "string")
	}
	return at
}

// convert returns at converted to a basic type, unless it has that type.
func (g *gen) convert(t *schema.Type, at, to string) string {
	if is := t.Go.String(); is == to || is == "byte" && to == "uint8" {
		return at
	}
	return to + "(" + at + ")"
}

func (g *gen) appendFloat(t *schema.Type, at string) {
	at = g.convert(t, at, fmt.Sprintf("float%d", 8*t.Width))
	if t.Width == 8 {
		g.p("out = proto.AppendFloat64(out, %s)", at)
		return
	}
	g.p("out = proto.AppendUint32(out, %s.Float32bits(%s))", g.use("math"), at)
}

func (g *gen) appendKey(t *schema.Type, at, name string) {
	if !t.Zero {
		g.p("if %s.IsZero() { return b, %s }", pointer(at), g.invalid(name+": no key"))
	}
	g.p("out = %s(out, %s)", g.helper("appendKey"), bare(at))
}

// bare returns "*p" for "(*p)".
func bare(at string) string {
	if inner, ok := strings.CutPrefix(at, "(*"); ok && strings.HasSuffix(inner, ")") {
		return "*" + strings.TrimSuffix(inner, ")")
	}
	return at
}

// addr returns a pointer to a value: "p" for "*p".
func addr(at string) string {
	if p, ok := strings.CutPrefix(bare(at), "*"); ok {
		return p
	}
	return "&" + at
}

// pointer returns "p" for "(*p)", since methods can be called on either.
func pointer(at string) string { return strings.TrimPrefix(bare(at), "*") }

// invalid returns the expression of an error that wraps proto.ErrInvalid.
func (g *gen) invalid(text string, args ...string) string {
	name, rest, _ := strings.Cut(text, ":")
	all := append([]string{"proto.ErrInvalid"}, args...)
	return fmt.Sprintf("%s.Errorf(%q, %s)", g.use("fmt"), "%w "+schema.Words(name)+":"+rest, strings.Join(all, ", "))
}

func (g *gen) appendTime(t *schema.Type, at string) {
	if t.Unit == schema.Millis {
		g.p("out = proto.AppendUint64(out, uint64(%s.UnixMilli()))", at)
		return
	}
	g.p("out = proto.AppendUint64(out, uint64(%s.Unix()))", at)
	g.p("out = proto.AppendUint32(out, uint32(%s.Nanosecond()))", at)
}

// known returns the constants of an enum, as arguments.
func (g *gen) known(e *schema.EnumType) string {
	var all []string
	for _, v := range e.Values {
		if e.Local {
			all = append(all, v.Name)
		} else {
			all = append(all, fmt.Sprint(v.Value))
		}
	}
	return strings.Join(all, ", ")
}

// appendList writes code that appends the count of a list, and the elements of
// a list or an array.
func (g *gen) appendList(t *schema.Type, at, name string) {
	if t.Kind == schema.List {
		g.checkShort(t, at, name, "return b, %s")
		g.try("proto.AppendCount%d(out, len(%s), %s)", 8*t.Width, at, limit(t.Max))
	}
	i, done := g.temp("i j k")
	defer done()
	g.p("for %s := range %s {", i, at)
	g.append(t.Elem, at+"["+i+"]", name)
	g.p("}")
}

func (g *gen) appendOptional(t *schema.Type, at, name string) {
	value, present := at, at+" != nil"
	switch {
	case t.Pointer && hasMethods(t.Elem):
	case t.Pointer:
		value = "*" + at
		switch k := t.Elem.Kind; {
		case k == schema.Fixed, k == schema.Array, k == schema.Key, t.Elem.Validate != "":
			value = "(" + value + ")"
		}
	case t.Elem.Kind != schema.Choice:
		value, present = at+".Value", at+".Present"
	}
	g.p("out = proto.AppendOptional(out, %s)", present)
	g.p("if %s {", present)
	g.append(t.Elem, value, name)
	g.p("}")
}

// hasMethods reports whether encoding a value only calls its methods.
func hasMethods(t *schema.Type) bool {
	switch t.Kind {
	case schema.Nested, schema.Foreign, schema.Time:
		return true
	}
	return false
}

// appendZero writes code that appends the zero value of a retired field.
func (g *gen) appendZero(t *schema.Type) {
	if n, ok := zeroSize(t); ok {
		g.p("out = append(out, make([]byte, %d)...) // retired", n)
		return
	}
	zero, done := g.temp("zero")
	defer done()
	g.p("{\nvar %s %s // retired", zero, g.typ(t.Go))
	g.append(t, zero, "retired field")
	g.p("}")
}
