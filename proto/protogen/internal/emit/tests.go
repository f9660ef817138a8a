package emit

import (
	_ "embed"
	"fmt"
	"go/constant"
	"go/token"
	"math"
	"slices"
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// testCode is the code that all tests of a package share.
//
//go:embed testing.txt
var testCode string

// Tests returns the file with the tests of all messages.
func Tests(p *schema.Package) ([]byte, error) {
	g := newGen(p)
	for _, path := range []string{"bufio", "bytes", "errors", "io", "math/rand/v2", "reflect", "testing", "testing/iotest", protoPath} {
		g.use(path)
	}
	for _, m := range p.Messages {
		g.random(m)
		g.tests(m)
	}
	for _, u := range p.Unions {
		g.randomUnion(u)
	}
	g.p("%s", testCode)
	if strings.Contains(g.buf.String(), "genKey(r)") {
		g.p(`// genKey returns a random key.
func genKey(r *rand.Rand) %s.RemoteIdentity {
	seed := make([]byte, identity.SeedSize)
	genFill(r, seed)
	id, err := identity.FromSeed(seed)
	if err != nil {
		panic(err)
	}
	return id.Remote()
}`, g.use(identityPath))
	}
	return g.file()
}

// title returns a name with an upper-case first letter.
func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

// random writes a function that returns a random message.
func (g *gen) random(m *schema.Message) {
	g.p("func random%s(r *rand.Rand) *%s {", title(m.Name), m.Name)
	if m.Sample != "" {
		g.p("return %s(r)\n}\n", m.Sample)
		return
	}
	g.p("m := new(%s)", m.Name)
	for _, f := range m.Fields {
		if f.Const == nil && !f.Retired {
			g.fill(f.Type, "m."+f.Name)
		}
	}
	g.p("return m\n}\n")
}

func (g *gen) randomUnion(u *schema.Union) {
	g.p("func random%s(r *rand.Rand) %s {", title(u.Name), u.Name)
	if len(u.Cases) > 1 {
		g.p("switch r.IntN(%d) {", len(u.Cases))
	}
	for i, c := range u.Cases[1:] {
		g.p("case %d:\nreturn random%s(r)", i, title(c.Message.Name))
	}
	if len(u.Cases) > 1 {
		g.p("}")
	}
	g.p("return random%s(r)\n}\n", title(u.Cases[0].Message.Name))
}

// least returns the lower limit, or 0 if there is none.
func least(t *schema.Type) string {
	if t.Min == nil {
		return "0"
	}
	return limit(t.Min)
}

// fill writes code that makes the value at random.
func (g *gen) fill(t *schema.Type, at string) {
	switch t.Kind {
	case schema.Number:
		g.fillNumber(t, at)
	case schema.Float:
		g.p("genFloat(r, %s)", addr(at))
	case schema.Bool:
		g.p("genBool(r, %s)", addr(at))
	case schema.String:
		g.p("genText(r, %s, genSize(r, %s, %s))", addr(at), least(t), limit(t.Max))
	case schema.Bytes:
		g.p("genBytes(r, %s, genSize(r, %s, %s))", addr(at), least(t), limit(t.Max))
	case schema.UUID, schema.Fixed:
		g.p("genFill(r, %s[:])", at)
	case schema.Key:
		g.fillKey(t, at)
	case schema.Time:
		if t.Unit == schema.Millis {
			g.p("%s = %s.UnixMilli(r.Int64()).UTC()", at, g.use("time"))
		} else {
			g.p("%s = %s.Unix(r.Int64N(1<<40), r.Int64N(1e9)).UTC()", at, g.use("time"))
		}
	case schema.Enum:
		g.p("genPick(r, %s, %s)", addr(at), g.known(t.Enum))
	case schema.List:
		g.p("genList(%s, genCount(r, %s, %s))", addr(at), least(t), limit(t.Max))
		g.fillEach(t, at)
	case schema.Array:
		g.fillEach(t, at)
	case schema.Optional:
		g.fillOptional(t, at)
	case schema.Nested:
		g.p("%s = *random%s(r)", at, title(t.Message.Name))
	case schema.Choice:
		g.p("%s = random%s(r)", at, title(t.Union.Name))
	case schema.Foreign:
		if isRoute(t) {
			g.p("%s = \"route\"", at)
		}
	}
}

func (g *gen) fillEach(t *schema.Type, at string) {
	i, done := g.temp("i j k")
	defer done()
	if t.Elem.Kind == schema.Foreign && !isRoute(t.Elem) {
		return // each is the zero value
	}
	g.p("for %s := range %s {", i, at)
	g.fill(t.Elem, at+"["+i+"]")
	g.p("}")
}

// isRoute reports whether a type is proto.Route, whose zero value is not valid.
func isRoute(t *schema.Type) bool { return t.Go.String() == protoPath+".Route" }

func (g *gen) fillKey(t *schema.Type, at string) {
	if t.Zero {
		g.p("if r.IntN(4) > 0 {\n%s = genKey(r)\n}", at)
		return
	}
	g.p("%s = genKey(r)", at)
}

func (g *gen) fillOptional(t *schema.Type, at string) {
	value := "(*" + at + ")"
	switch {
	case t.Elem.Kind == schema.Choice:
		g.p("if r.IntN(2) == 1 {")
		value = at
	case t.Pointer:
		g.p("if genNew(r, %s) {", addr(at))
	default:
		g.p("genBool(r, %s.Present)", addr(at))
		g.p("if %s.Present {", at)
		value = at + ".Value"
	}
	g.fill(t.Elem, value)
	g.p("}")
}

func (g *gen) fillNumber(t *schema.Type, at string) {
	if t.Bits != 0 {
		g.p("genBits(r, %s, %#x)", addr(at), t.Bits)
		return
	}
	low, high := schema.Bounds(t.Width, t.Signed)
	if t.Min != nil {
		low = t.Min.Value
	}
	if t.Max != nil {
		high = t.Max.Value
	}
	g.p("gen%s(r, %s, %s, %s)", map[bool]string{false: "Uint", true: "Int"}[t.Signed], addr(at), low.ExactString(), high.ExactString())
}

// tests writes the tests of a message.
func (g *gen) tests(m *schema.Message) {
	name, random := title(m.Name), "random"+title(m.Name)
	foreign := m.Has(func(t *schema.Type) bool { return t.Kind == schema.Foreign })
	g.p("func TestProto%s(t *testing.T) { genTest(t, %s, (*%s).%s, %t) }\n", name, random, m.Name, m.Sizer, !foreign)
	if all := g.breaches(m); len(all) > 0 {
		g.p("func TestProto%sEncodeRefused(t *testing.T) {", name)
		g.p("genEncodeRefused(t, %s, []genBreach[%s]{\n%s\n})\n}\n", random, m.Name, strings.Join(all, "\n"))
	}
	if all := g.faults(m); len(all) > 0 {
		g.p("func TestProto%sDecodeRefused(t *testing.T) {", name)
		g.p("genDecodeRefused(t, %s, []genFault[%s]{\n%s\n})\n}\n", random, m.Name, strings.Join(all, "\n"))
	}
	g.p("func FuzzProto%s(f *testing.F) { genFuzz(f, %s, (*%s).%s, %t) }\n", name, random, m.Name, m.Sizer, m.Canonical())
}

// largest is the maximum number of bytes or elements that a test makes to
// exceed a limit.
const largest = 1 << 20

// breaches returns functions that break the limits of each field.
func (g *gen) breaches(m *schema.Message) (all []string) {
	for _, f := range m.Fields {
		if f.Const != nil || f.Retired {
			continue
		}
		at := "m." + f.Name
		add := func(rule, format string, args ...any) {
			all = append(all, fmt.Sprintf("{%q, func(m *%s) { %s }},", f.Name+" "+rule, m.Name, fmt.Sprintf(format, args...)))
		}
		t := f.Type
		switch t.Kind {
		case schema.String:
			add("not UTF-8", "%s = \"\\xff\"", at)
		case schema.Enum:
			if n, ok := unknown(t); ok {
				add("unknown", "%s = %d", at, n)
			}
		case schema.Choice:
			add("nil", "%s = nil", at)
		case schema.Key:
			if !t.Zero {
				add("zero", "%s = %s.RemoteIdentity{}", at, g.use(identityPath))
			}
		}
		if n, ok := over(t); ok {
			add("over", "%s", breach(t, at, n))
		}
		if n, ok := under(t); ok {
			add("under", "%s", breach(t, at, n))
		}
	}
	return all
}

// breach returns the statement that sets a number, or a size.
func breach(t *schema.Type, at string, n constant.Value) string {
	switch t.Kind {
	case schema.Number:
		return fmt.Sprintf("%s = %s", at, n.ExactString())
	case schema.String:
		return fmt.Sprintf("genText(genRand(), &%s, %s)", at, n.ExactString())
	case schema.Bytes:
		return fmt.Sprintf("genBytes(genRand(), &%s, %s)", at, n.ExactString())
	}
	return fmt.Sprintf("genList(&%s, %s)", at, n.ExactString())
}

// over returns the smallest number or size that is too large.
func over(t *schema.Type) (constant.Value, bool) {
	switch {
	case t.Bits != 0:
		for n := range int64(256) {
			if uint64(n)&^t.Bits != 0 {
				return constant.MakeInt64(n), true
			}
		}
		return nil, false
	case t.Max == nil:
		return nil, false
	}
	n := constant.BinaryOp(t.Max.Value, token.ADD, constant.MakeInt64(1))
	if t.Kind == schema.Number {
		_, high := schema.Bounds(t.Width, t.Signed)
		return n, !constant.Compare(n, token.GTR, high)
	}
	size, _ := constant.Int64Val(n)
	return n, size <= largest
}

// under returns the largest number or size that is too small.
func under(t *schema.Type) (constant.Value, bool) {
	if t.Min == nil {
		return nil, false
	}
	n := constant.BinaryOp(t.Min.Value, token.SUB, constant.MakeInt64(1))
	low := constant.MakeInt64(0)
	if t.Kind == schema.Number {
		low, _ = schema.Bounds(t.Width, t.Signed)
	}
	return n, !constant.Compare(n, token.LSS, low)
}

// unknown returns a discriminator that an enum or a union does not have.
func unknown(t *schema.Type) (n int, ok bool) {
	for n := range math.MaxUint8 + 1 {
		known := false
		if t.Kind == schema.Enum {
			known = slices.ContainsFunc(t.Enum.Values, func(v schema.EnumValue) bool { return int(v.Value) == n })
		} else {
			known = slices.ContainsFunc(t.Union.Cases, func(c *schema.Case) bool { return int(c.Value) == n })
		}
		if !known {
			return n, true
		}
	}
	return 0, false
}

// faults returns bytes that break the rules of each field.
func (g *gen) faults(m *schema.Message) (all []string) {
	for i, f := range m.Fields {
		for j, put := range fault(f) {
			name := f.Name
			if name == "_" {
				name, _ = label(f)
			}
			all = append(all, fmt.Sprintf("{%q, func(m *%s) int {\n%s\n}, []byte(%q)},",
				fmt.Sprintf("%s, %d", name, j+1), m.Name, g.offset(m, i), put))
		}
	}
	return all
}

// offset returns the code that returns where a field begins.
func (g *gen) offset(m *schema.Message, i int) string {
	before := *m
	before.Fields = m.Fields[:i]
	inner := &gen{pkg: g.pkg, imports: g.imports, helpers: map[string]bool{}, temps: map[string]bool{}}
	inner.sizeBody(&before)
	return inner.buf.String()
}

// fault returns bytes that a field must not begin with.
func fault(f *schema.Field) (all []string) {
	t := f.Type
	switch {
	case f.Const != nil:
		n, _ := constant.Int64Val(f.Const)
		return []string{little(uint64(n)^1, t.Width)}
	case t.Kind == schema.Bool, t.Kind == schema.Optional:
		return []string{"\x02"}
	case t.Kind == schema.Enum, t.Kind == schema.Choice:
		if n, ok := unknown(t); ok {
			return []string{string([]byte{byte(n)})}
		}
	case t.Kind == schema.Key && t.Zero:
		return []string{strings.Repeat("\xff", 32)}
	case t.Kind == schema.Key:
		return []string{strings.Repeat("\x00", 32), strings.Repeat("\xff", 32)}
	case t.Kind == schema.Time && t.Unit == schema.Nanos:
		return []string{strings.Repeat("\x00", 8) + little(1e9, 4)}
	}
	for _, limit := range []func(*schema.Type) (constant.Value, bool){over, under} {
		n, ok := limit(t)
		if n == nil {
			continue
		}
		bits, exact := constant.Uint64Val(n)
		if !exact {
			signed, _ := constant.Int64Val(n)
			bits = uint64(signed)
		}
		if fits := t.Kind == schema.Number && ok || t.Kind != schema.Number && bits>>(8*t.Width) == 0; fits {
			all = append(all, little(bits, t.Width))
		}
	}
	return all
}

// little returns a number in little-endian order, in a given number of bytes.
func little(n uint64, width int) string {
	var b []byte
	for i := range width {
		b = append(b, byte(n>>(8*i)))
	}
	return string(b)
}
