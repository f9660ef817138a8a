package emit

import (
	"fmt"
	"go/constant"
	"slices"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// usesErr reports whether AppendBinary of a message needs a variable for an
// error.
func usesErr(m *schema.Message) bool {
	return m.Extensible || slices.ContainsFunc(m.Fields, func(f *schema.Field) bool {
		return f.Const == nil && !(f.Retired && zeros(f.Type)) && fails(f.Type)
	})
}

// fails reports whether a call that encodes a value can fail.
func fails(t *schema.Type) bool {
	if t.Validate != "" {
		return true
	}
	switch t.Kind {
	case schema.Array, schema.Optional:
		return fails(t.Elem)
	case schema.Nested:
		return refuses(t.Message)
	case schema.String, schema.Bytes, schema.Enum, schema.List, schema.Foreign, schema.Choice:
		return true
	}
	return false
}

// refuses reports whether AppendBinary of a message can return an error.
func refuses(m *schema.Message) bool {
	return m.Validate != "" || usesErr(m) || slices.ContainsFunc(m.Fields, func(f *schema.Field) bool {
		return f.Const == nil && !f.Retired && checks(f.Type)
	})
}

// checks reports whether a value needs a check of its own before it is
// appended.
func checks(t *schema.Type) bool {
	switch t.Kind {
	case schema.Number:
		return t.Min != nil || t.Max != nil || t.Bits != 0
	case schema.Key:
		return !t.Zero
	case schema.Array, schema.Optional:
		return checks(t.Elem)
	case schema.Nested:
		return refuses(t.Message)
	}
	return false
}

// zeros reports whether the zero value is encoded as zero bytes.
func zeros(t *schema.Type) bool {
	_, ok := zeroSize(t)
	return ok
}

// zeroSize returns the number of zero bytes that the zero value is encoded as,
// and whether it is encoded as zero bytes only.
func zeroSize(t *schema.Type) (n int, ok bool) {
	switch t.Kind {
	case schema.Time, schema.Foreign, schema.Choice:
		return 0, false
	case schema.Array:
		n, ok = zeroSize(t.Elem)
		return t.Len * n, ok
	case schema.Nested:
		for _, f := range t.Message.Fields {
			size, ok := zeroSize(f.Type)
			if n += size; !ok || f.Const != nil {
				return 0, false
			}
		}
		return n, !t.Message.Extensible && t.Message.Validate == ""
	}
	return t.Least(), t.Validate == ""
}

// checkNumber writes code that checks the limits of a number; fail is the
// statement for the error.
func (g *gen) checkNumber(t *schema.Type, at, name, fail string) {
	var test, rule string
	switch {
	case t.Bits != 0:
		test, rule = fmt.Sprintf("%s&^%#x != 0", at, t.Bits), fmt.Sprintf("unknown bits in %%#x, not %#x", t.Bits)
	case t.Min != nil && t.Max != nil:
		test = fmt.Sprintf("%[1]s < %[2]s || %[1]s > %[3]s", at, limit(t.Min), limit(t.Max))
		rule = fmt.Sprintf("%%d, not %v to %v", t.Min.Value, t.Max.Value)
		if constant.Sign(t.Min.Value) == 0 && !t.Signed {
			test = fmt.Sprintf("%s > %s", at, limit(t.Max))
		}
	case t.Max != nil:
		test, rule = fmt.Sprintf("%s > %s", at, limit(t.Max)), fmt.Sprintf("%%d is over %v", t.Max.Value)
	case t.Min != nil && (t.Signed || constant.Sign(t.Min.Value) != 0):
		test, rule = fmt.Sprintf("%s < %s", at, limit(t.Min)), fmt.Sprintf("%%d is below %v", t.Min.Value)
	default:
		return
	}
	g.p("if %s { "+fail+" }", test, g.invalid(name+": "+rule, at))
}

// checkShort writes code that checks the minimum length of a string, bytes or a
// list.
func (g *gen) checkShort(t *schema.Type, at, name, fail string) {
	if t.Min == nil || t.Min.Int() == 0 {
		return
	}
	g.p("if len(%s) < %s { "+fail+" }", at, limit(t.Min),
		g.invalid(fmt.Sprintf("%s: a size of %%d, at least %d", name, t.Min.Int()), "len("+at+")"))
}
