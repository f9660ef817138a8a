package emit

import (
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

func (g *gen) unionEncoder(u *schema.Union) {
	name := unionFunc("Append", u)
	g.p("// %s appends v to b: a discriminator and the message. If v is nil, is", name)
	g.p("// none of the messages below, or breaks a rule, it returns b unchanged, and an")
	g.p("// error that wraps [proto.ErrInvalid].")
	g.p("//")
	for _, line := range UnionLayout(u, InGo) {
		g.p("//%s", strings.TrimRight("\t"+line, "\t"))
	}
	g.p("func %s(b []byte, v %s) ([]byte, error) {", name, u.Name)
	g.p("out, err := b, error(nil)")
	g.p("switch v := v.(type) {")
	for _, c := range u.Cases {
		g.p("case *%s:", c.Message.Name)
		g.p("if v == nil { return b, %s }", g.invalid(u.Name+": nil"))
		g.p("out, err = v.AppendBinary(append(b, %d))", c.Value)
	}
	g.p("default:")
	g.p("return b, %s", g.invalid(u.Name+": a %T", "v"))
	g.p("}")
	g.p("if err != nil { return b, err }")
	g.p("return out, nil\n}\n")
}

func (g *gen) unionDecoder(u *schema.Union) {
	name := unionFunc("Decode", u)
	g.p("// %s reads a discriminator and a message. It leaves an error with the", name)
	g.p("// Decoder: see [proto.Decoder.Err]. An unknown discriminator is a")
	g.p("// [*proto.EnumError].")
	g.p("func %s(d *proto.Decoder) %s {", name, u.Name)
	g.p("switch kind := d.Uint8(); kind {")
	for _, c := range u.Cases {
		g.p("case %d:", c.Value)
		g.p("v := new(%s)", c.Message.Name)
		g.p("d.Fail(v.DecodeFrom(d))")
		g.p("return v")
	}
	g.p("default:")
	g.p("d.Fail(&proto.EnumError{Name: %q, Value: kind})", schema.Words(u.Name))
	g.p("return nil\n}\n}\n")
}

func (g *gen) unionSizer(u *schema.Union) {
	name := unionFunc("Size", u)
	g.p("// %s returns the number of bytes that %s appends if it succeeds.", name, unionFunc("Append", u))
	g.p("func %s(v %s) int {", name, u.Name)
	g.p("switch v := v.(type) {")
	for _, c := range u.Cases {
		g.p("case *%s:", c.Message.Name)
		g.p("return 1 + v.%s()", c.Message.Sizer)
	}
	g.p("}")
	g.p("return 0\n}\n")
}
