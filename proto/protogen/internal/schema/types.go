package schema

import (
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"strings"
)

const (
	module      = "github.com/sdp2p/p2p"
	protoPkg    = module + "/proto"
	identityPkg = module + "/identity"
	keyType     = identityPkg + ".RemoteIdentity"
	secret      = identityPkg + ".Identity"
)

// typ reads a type with its options: o for the type itself, and levels for its
// elements. It returns nil if the type is not valid, and has then reported why.
func (p *scanner) typ(t types.Type, o *opts, levels []string, pos token.Pos) *Type {
	t = types.Unalias(t)
	var method string
	if !optional(t) { // otherwise the option applies to the value
		var ok bool
		if method, ok = o.get("validate"); ok {
			p.validator(t, method, pos)
		}
	}
	result := p.named(t, o, levels, pos)
	if result == nil {
		return nil
	}
	result.Go, result.Validate = t, method
	if len(levels) > 0 && result.deepest() {
		p.errorf(pos, "options after ; are for the elements of lists and arrays")
	}
	return result
}

// optional reports whether a type is a pointer or a proto.Optional.
func optional(t types.Type) bool {
	if named, ok := t.(*types.Named); ok {
		obj := named.Obj()
		return obj.Pkg() != nil && obj.Pkg().Path() == protoPkg && obj.Name() == "Optional"
	}
	_, ok := t.(*types.Pointer)
	return ok
}

// deepest reports whether a type has no elements with options of their own.
func (t *Type) deepest() bool {
	for t.Kind == Optional {
		t = t.Elem
	}
	return t.Kind != List && t.Kind != Array
}

// named reads a type by its name if that has a meaning, and otherwise by its
// underlying type.
func (p *scanner) named(t types.Type, o *opts, levels []string, pos token.Pos) *Type {
	named, _ := t.(*types.Named)
	if named == nil {
		return p.literal(t, o, levels, pos)
	}
	obj := named.Obj()
	name := obj.Name()
	if obj.Pkg() != nil {
		name = obj.Pkg().Path() + "." + name
	}
	local := obj.Pkg() == p.pkg
	switch {
	case optional(t):
		return p.optional(named.TypeArgs().At(0), false, o, levels, pos)
	case name == keyType:
		_, zero := o.get("zero")
		return &Type{Kind: Key, Zero: zero}
	case name == secret:
		p.errorf(pos, "an identity.Identity is secret, and cannot be sent")
		return nil
	case name == "time.Time":
		return p.time(o, pos)
	case local && p.byName[obj.Name()] != nil:
		return &Type{Kind: Nested, Message: p.byName[obj.Name()]}
	case local && p.choices[obj.Name()] != nil:
		choice := &Type{Kind: Choice, Union: p.choices[obj.Name()]}
		if _, ok := o.get("optional"); ok {
			choice.Go = t
			return &Type{Kind: Optional, Elem: choice}
		}
		return choice
	case codes(t):
		_, sized := method(t, "Size", "func() int")
		return &Type{Kind: Foreign, Sized: sized}
	}
	if b, ok := named.Underlying().(*types.Basic); ok && b.Kind() == types.Uint8 && obj.Pkg() != nil {
		if e := p.enum(named, pos); e != nil {
			return p.enumerated(e, o, pos)
		}
	}
	return p.literal(t, o, levels, pos)
}

// enumerated reads a uint8 with constants.
func (p *scanner) enumerated(e *EnumType, o *opts, pos token.Pos) *Type {
	t := &Type{Kind: Enum, Enum: e, Width: 1}
	if _, ok := o.get("bits"); ok {
		t.Kind = Number
		for _, v := range e.Values {
			t.Bits |= uint64(v.Value)
		}
		if t.Bits == 0 {
			p.errorf(pos, "no constant has a bit set")
		}
	} else if _, ok := o.get("any"); ok {
		t.Kind = Number
		p.numeric(t, o, pos)
	}
	return t
}

// codes reports whether a type is a message with methods of its own, which need
// not be generated.
func codes(t types.Type) bool {
	_, appends := method(t, "AppendBinary", "func(b []byte) ([]byte, error)")
	_, decodes := method(t, "DecodeFrom", "func(d *"+protoPkg+".Decoder) error")
	return appends && decodes
}

// method finds a method of a type, or of a pointer to the type, with a given
// signature.
func method(t types.Type, name, signature string) (*types.Func, bool) {
	obj, _, _ := types.LookupFieldOrMethod(t, true, nil, name)
	f, ok := obj.(*types.Func)
	if !ok {
		return nil, false
	}
	unnamed := func(s *types.Signature) string {
		drop := func(vars *types.Tuple) *types.Tuple {
			var all []*types.Var
			for v := range vars.Variables() {
				all = append(all, types.NewVar(token.NoPos, nil, "", v.Type()))
			}
			return types.NewTuple(all...)
		}
		return types.NewSignatureType(nil, nil, nil, drop(s.Params()), drop(s.Results()), false).String()
	}
	signature = strings.NewReplacer("(b ", "(", "(d ", "(").Replace(signature)
	return f, unnamed(f.Signature()) == signature
}

// time reads the option for the form of a time.
func (p *scanner) time(o *opts, pos token.Pos) *Type {
	switch unit, _ := o.get("time"); unit {
	case "ms":
		return &Type{Kind: Time, Unit: Millis}
	case "s+ns":
		return &Type{Kind: Time, Unit: Nanos}
	}
	p.errorf(pos, "a time needs a form: time=ms or time=s+ns")
	return nil
}

// optional reads the type of a value that may be missing.
func (p *scanner) optional(elem types.Type, pointer bool, o *opts, levels []string, pos token.Pos) *Type {
	elem = types.Unalias(elem)
	switch u := elem.Underlying().(type) {
	case *types.Interface:
		p.errorf(pos, "for a union that may be missing, use the option optional")
		return nil
	case *types.Pointer:
		p.errorf(pos, "%s is optional twice", p.short(elem))
		return nil
	case *types.Slice:
		if b, ok := u.Elem().(*types.Basic); pointer && (!ok || b.Kind() != types.Byte) {
			p.errorf(pos, "for a list that may be missing, use a proto.Optional")
			return nil
		}
	}
	inner := p.typ(elem, o, levels, pos)
	if inner == nil {
		return nil
	}
	if inner.Kind == Optional {
		p.errorf(pos, "%s is optional twice", p.short(elem))
		return nil
	}
	return &Type{Kind: Optional, Elem: inner, Pointer: pointer}
}

// literal reads a type by its underlying type.
func (p *scanner) literal(t types.Type, o *opts, levels []string, pos token.Pos) *Type {
	switch u := t.Underlying().(type) {
	case *types.Pointer:
		return p.optional(u.Elem(), true, o, levels, pos)
	case *types.Basic:
		return p.basic(t, u, o, pos)
	case *types.Array:
		return p.array(u, levels, pos)
	case *types.Slice:
		if b, ok := types.Unalias(u.Elem()).(*types.Basic); ok && b.Kind() == types.Byte {
			return p.sized(&Type{Kind: Bytes}, "len", 4, o, pos)
		}
		list := p.sized(&Type{Kind: List}, "count", 0, o, pos)
		elem := p.element(u.Elem(), levels, pos)
		if list == nil || elem == nil {
			return nil
		}
		list.Elem = elem
		return list
	case *types.Struct:
		p.errorf(pos, "%s is not a message: it needs //proto:message above it", p.short(t))
	case *types.Interface:
		p.errorf(pos, "%s is not a union: it needs //proto:union above it", p.short(t))
	case *types.Map:
		p.errorf(pos, "a map has no order: use a list of pairs")
	default:
		p.errorf(pos, "%s cannot be sent", p.short(t))
	}
	return nil
}

// array reads a fixed number of bytes, or of other elements.
func (p *scanner) array(u *types.Array, levels []string, pos token.Pos) *Type {
	n := u.Len()
	if n < 1 || n > 1<<16 {
		p.errorf(pos, "an array has 1 to 65536 elements")
		return nil
	}
	if b, ok := types.Unalias(u.Elem()).(*types.Basic); ok && b.Kind() == types.Byte {
		if n == 16 {
			return &Type{Kind: UUID, Len: 16}
		}
		return &Type{Kind: Fixed, Len: int(n)}
	}
	elem := p.element(u.Elem(), levels, pos)
	if elem == nil {
		return nil
	}
	total := int(n) // elements, or bytes if the elements are arrays of bytes
	for e := elem; e != nil && (e.Kind == Array || e.Kind == Fixed || e.Kind == UUID); e = e.Elem {
		total *= e.Len
	}
	if total > 1<<20 {
		p.errorf(pos, "an array of %d elements: use a list", total)
		return nil
	}
	return &Type{Kind: Array, Len: int(n), Elem: elem}
}

// element reads the element type of a list or an array, with the next level of
// options.
func (p *scanner) element(t types.Type, levels []string, pos token.Pos) *Type {
	text, rest := "", []string(nil)
	if len(levels) > 0 {
		text, rest = levels[0], levels[1:]
	}
	o := p.opts(text, pos)
	elem := p.typ(t, o, rest, pos)
	if elem == nil {
		return nil
	}
	for _, name := range o.unused() {
		p.errorf(pos, "option %q is unknown, or not for a %s", name, p.short(t))
	}
	return elem
}

// basic reads a number, a bool or a string.
func (p *scanner) basic(t types.Type, b *types.Basic, o *opts, pos token.Pos) *Type {
	switch b.Kind() {
	case types.Invalid:
		p.errorf(pos, "the type is unknown")
		return nil
	case types.Bool:
		return &Type{Kind: Bool}
	case types.String:
		return p.sized(&Type{Kind: String}, "len", 2, o, pos)
	case types.Float32:
		return &Type{Kind: Float, Width: 4}
	case types.Float64:
		return &Type{Kind: Float, Width: 8}
	case types.Int, types.Uint, types.Uintptr:
		p.errorf(pos, "%s has no fixed size: use an int64, a uint32, and so on", p.short(t))
		return nil
	}
	widths := map[types.BasicKind]int{
		types.Uint8: 1, types.Uint16: 2, types.Uint32: 4, types.Uint64: 8,
		types.Int8: 1, types.Int16: 2, types.Int32: 4, types.Int64: 8,
	}
	n := &Type{Kind: Number, Width: widths[b.Kind()], Signed: b.Info()&types.IsUnsigned == 0}
	if n.Width == 0 {
		p.errorf(pos, "%s cannot be sent", p.short(t))
		return nil
	}
	p.numeric(n, o, pos)
	return n
}

// numeric reads the limits of a number, which are optional.
func (p *scanner) numeric(t *Type, o *opts, pos token.Pos) {
	low, high := Bounds(t.Width, t.Signed)
	read := func(name string) *Limit {
		text, ok := o.get(name)
		if !ok {
			return nil
		}
		l := p.limit(text, pos)
		if l != nil && (constant.Compare(l.Value, token.LSS, low) || constant.Compare(l.Value, token.GTR, high)) {
			p.errorf(pos, "%s=%s is out of the range of a number of %d bytes", name, text, t.Width)
			return nil
		}
		return l
	}
	t.Min, t.Max = read("min"), read("max")
	if t.Min != nil && t.Max != nil && constant.Compare(t.Min.Value, token.GTR, t.Max.Value) {
		p.errorf(pos, "min is over max")
	}
}

// sized reads the limits of a type that is preceded by a length or a count, and
// the size of these: width bytes unless an option sets it.
func (p *scanner) sized(t *Type, name string, width int, o *opts, pos token.Pos) *Type {
	text, ok := o.get(name)
	switch widths := map[string]int{"u8": 1, "u16": 2, "u32": 4}; {
	case ok && widths[text] == 0:
		p.errorf(pos, "%s=%s: it must be u8, u16 or u32", name, text)
		return nil
	case ok:
		width = widths[text]
	case width == 0:
		p.errorf(pos, "a list needs the size of its count: count=u8, u16 or u32")
		return nil
	}
	t.Width = width
	text, ok = o.get("max")
	if !ok {
		p.errorf(pos, "no limit: it needs max=")
		return nil
	}
	most := int64(math.MaxInt32)
	if width < 4 {
		most = 1<<(8*width) - 1
	}
	before := len(p.errs)
	t.Max = p.limit(text, pos)
	p.size(t.Max, most, pos)
	if text, ok := o.get("min"); ok {
		t.Min = p.limit(text, pos)
		p.size(t.Min, most, pos)
		if t.Min != nil && t.Max != nil && constant.Compare(t.Min.Value, token.GTR, t.Max.Value) {
			p.errorf(pos, "min is over max")
		}
	}
	if len(p.errs) > before || t.Max == nil {
		return nil
	}
	return t
}
