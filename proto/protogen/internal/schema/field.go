package schema

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"reflect"
	"strconv"
	"strings"
)

// opts are the options at one level of a tag. Options that are never asked for
// are errors.
type opts struct {
	values map[string]string
	left   map[string]bool
}

func (p *scanner) opts(text string, pos token.Pos) *opts {
	o := &opts{map[string]string{}, map[string]bool{}}
	for _, option := range options(text, ",") {
		if o.left[option.name] {
			p.errorf(pos, "option %q is given twice", option.name)
		}
		o.values[option.name], o.left[option.name] = option.value, true
	}
	return o
}

// get returns the value of an option, and whether the option is present.
func (o *opts) get(name string) (string, bool) {
	delete(o.left, name)
	value, ok := o.values[name]
	return value, ok
}

// fields reads the fields of a message.
func (p *scanner) fields(m *Message) {
	t, ok := p.object(m.Name).Type().Underlying().(*types.Struct)
	if !ok {
		return
	}
	i, since := 0, 1
	for _, field := range p.structs[m].Fields.List {
		for range max(1, len(field.Names)) {
			f := p.field(t.Field(i), t.Tag(i), field)
			if i++; f == nil {
				continue
			}
			switch {
			case !m.Extensible && f.Since > 1:
				p.errorf(f.Pos, "since is for extensible messages: existing receivers do not expect this field")
			case f.Since < since:
				p.errorf(f.Pos, "a field of version %d after one of version %d: new fields come last", f.Since, since)
			}
			since = f.Since
			m.Fields = append(m.Fields, f)
		}
	}
}

// field reads a field. It returns nil if the field is not sent, or not valid.
func (p *scanner) field(v *types.Var, tag string, at *ast.Field) *Field {
	text, tagged := reflect.StructTag(tag).Lookup("proto")
	pos := v.Pos()
	for name := range strings.FieldsSeq(tag) {
		if strings.HasPrefix(name, "proto:") && !tagged {
			p.errorf(pos, "the tag is malformed: %s", tag)
			return nil
		}
	}
	if s, ok := v.Type().Underlying().(*types.Struct); text == "-" || !tagged && v.Name() == "_" && ok && s.NumFields() == 0 {
		return nil
	}
	f := &Field{Name: v.Name(), Pos: pos, Note: line(at.Comment), Since: 1}
	levels := strings.Split(text, ";")
	o := p.opts(levels[0], pos)
	if value, ok := o.get("since"); ok {
		n, err := strconv.Atoi(value)
		if f.Since = n; err != nil || n < 2 {
			p.errorf(pos, "since=%s: the first version is 1, and needs none", value)
		}
	}
	_, f.Retired = o.get("retired")
	value, fixed := o.get("const")
	if blank := v.Name() == "_"; blank != (f.Retired || fixed) {
		p.errorf(pos, "a field is named _ if it is a constant or retired, and only then")
		return nil
	}
	before := len(p.errs)
	f.Type = p.typ(v.Type(), o, levels[1:], pos)
	if fixed && f.Type != nil {
		f.Const = p.constant(f.Type, value, pos)
	}
	for _, name := range o.unused() {
		if len(p.errs) == before {
			p.errorf(pos, "option %q is unknown, or not for a %s", name, p.short(v.Type()))
		}
	}
	if len(p.errs) > before {
		return nil
	}
	return f
}

func (p *scanner) short(t types.Type) string { return types.TypeString(t, types.RelativeTo(p.pkg)) }

// constant reads the value of a constant field.
func (p *scanner) constant(t *Type, text string, pos token.Pos) constant.Value {
	if t.Kind != Number && t.Kind != Enum {
		p.errorf(pos, "only a number can be constant")
		return nil
	}
	v, err := types.Eval(p.fset, p.pkg, pos, text)
	if err != nil || v.Value == nil || constant.ToInt(v.Value).Kind() != constant.Int {
		p.errorf(pos, "%q is not a constant number", text)
		return nil
	}
	n := constant.ToInt(v.Value)
	low, high := Bounds(t.Width, t.Signed)
	if constant.Compare(n, token.LSS, low) || constant.Compare(n, token.GTR, high) {
		p.errorf(pos, "%v does not fit %s", n, p.short(t.Go))
	}
	return n
}

// Bounds returns the smallest and the largest number of a given width in bytes.
func Bounds(width int, signed bool) (low, high constant.Value) {
	one, bits := constant.MakeInt64(1), uint(width)*8
	if !signed {
		return constant.MakeInt64(0), constant.BinaryOp(constant.Shift(one, token.SHL, bits), token.SUB, one)
	}
	half := constant.Shift(one, token.SHL, bits-1)
	return constant.UnaryOp(token.SUB, half, 0), constant.BinaryOp(half, token.SUB, one)
}
