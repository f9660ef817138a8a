package schema

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A scanner finds the messages and unions in the files of a package.
type scanner struct {
	fset  *token.FileSet
	files []*ast.File
	pkg   *types.Package
	info  *types.Info
	errs  []located

	standard map[string]bool // packages of the standard library
	comments map[*ast.Comment]*directive
	all      []*directive
	notes    map[types.Object]note // of constants

	messages []*Message
	unions   []*Union
	byName   map[string]*Message
	choices  map[string]*Union
	structs  map[*Message]*ast.StructType
	wanted   map[*Union][]*directive // the cases
}

// A note is the comment beside a constant.
type note struct {
	text string
	omit bool
}

func newScanner() *scanner {
	return &scanner{
		fset: token.NewFileSet(), comments: map[*ast.Comment]*directive{}, notes: map[types.Object]note{},
		byName: map[string]*Message{}, choices: map[string]*Union{},
		structs: map[*Message]*ast.StructType{}, wanted: map[*Union][]*directive{}, standard: map[string]bool{},
	}
}

// describe finds all messages and unions, and checks them.
func (p *scanner) describe() {
	for _, f := range p.files {
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, spec := range g.Specs {
					p.declared(g, spec.(*ast.TypeSpec))
				}
			} else if ok && g.Tok == token.CONST {
				p.constants(g)
			}
		}
	}
	for _, u := range p.unions {
		p.cases(u)
	}
	for _, m := range p.messages {
		p.fields(m)
	}
	for _, d := range p.all {
		if !d.used {
			p.errorf(d.pos, "//proto:%s belongs directly above a type%s", d.name, map[bool]string{true: ", or beside a constant"}[d.name == "omit"])
		}
	}
	if len(p.errs) == 0 {
		p.verify()
	}
}

// constants records the comments beside constants.
func (p *scanner) constants(g *ast.GenDecl) {
	for _, spec := range g.Specs {
		v := spec.(*ast.ValueSpec)
		n := note{text: line(v.Comment)}
		for _, d := range p.directives(v.Doc, v.Comment) {
			if n.omit = d.name == "omit"; !n.omit {
				p.errorf(d.pos, "//proto:%s is not for constants", d.name)
			}
		}
		for _, name := range v.Names {
			if obj := p.info.Defs[name]; obj != nil {
				p.notes[obj] = n
			}
		}
	}
}

// declared records a type if it has a directive.
func (p *scanner) declared(g *ast.GenDecl, spec *ast.TypeSpec) {
	doc := spec.Doc
	if !g.Lparen.IsValid() {
		doc = g.Doc
	}
	var m *Message
	var u *Union
	for _, d := range p.directives(doc) {
		switch {
		case d.name == "message" && m == nil && u == nil:
			m = &Message{Name: spec.Name.Name, Pos: spec.Name.Pos(), Doc: sentence(doc)}
			p.message(m, d, spec)
		case d.name == "union" && m == nil && u == nil:
			u = &Union{Name: spec.Name.Name, Pos: spec.Name.Pos(), Doc: sentence(doc)}
			p.union(u, d, spec)
		case d.name == "case" && u != nil:
			p.wanted[u] = append(p.wanted[u], d)
		case d.name == "case":
			p.errorf(d.pos, "//proto:case belongs after //proto:union")
		default:
			p.errorf(d.pos, "unknown directive //proto:%s", d.name)
		}
	}
}

// message reads the options of a message.
func (p *scanner) message(m *Message, d *directive, spec *ast.TypeSpec) {
	body, ok := spec.Type.(*ast.StructType)
	switch {
	case !ok || spec.Assign.IsValid():
		p.errorf(d.pos, "%s is not a struct", m.Name)
		return
	case spec.TypeParams != nil:
		p.errorf(d.pos, "%s has type parameters", m.Name)
		return
	}
	for _, o := range separate(d.options) {
		switch o.name {
		case "extensible":
			m.Extensible = true
		case "max":
			m.Max = p.limit(o.value, d.pos)
			p.size(m.Max, math.MaxInt32, d.pos)
		case "validate":
			m.Validate = o.value
		case "sample":
			m.Sample = o.value
		default:
			p.errorf(d.pos, "unknown option %q", o.name)
		}
	}
	if m.Extensible != (m.Max != nil) {
		p.errorf(d.pos, "an extensible message, and no other, needs a limit: //proto:message extensible max=4096")
	}
	t, _ := p.object(m.Name).(*types.TypeName)
	if m.Validate != "" {
		p.validator(t.Type(), m.Validate, d.pos)
	}
	if m.Sample != "" && !token.IsIdentifier(m.Sample) { // the function may be in a test file, which is not read
		p.errorf(d.pos, "%q is not the name of a function", m.Sample)
	}
	if m.Sizer = "Size"; declares(t.Type(), m.Sizer) { // usually a field
		m.Sizer = "BinarySize"
	}
	for _, name := range []string{"AppendBinary", "DecodeFrom", m.Sizer} {
		if declares(t.Type(), name) {
			p.errorf(m.Pos, "%s has a method or a field %s already", m.Name, name)
		}
	}
	p.messages = append(p.messages, m)
	p.byName[m.Name] = m
	p.structs[m] = body
}

// object returns the object that the package declares under a name.
func (p *scanner) object(name string) types.Object { return p.pkg.Scope().Lookup(name) }

// declares reports whether a type has a method, or a struct a field, of that
// name itself.
func declares(t types.Type, name string) bool {
	named, ok := t.(*types.Named)
	if !ok {
		return false
	}
	for m := range named.Methods() {
		if m.Name() == name {
			return true
		}
	}
	s, _ := named.Underlying().(*types.Struct)
	for i := range s.NumFields() {
		if s.Field(i).Name() == name {
			return true
		}
	}
	return false
}

// union reads an interface.
func (p *scanner) union(u *Union, d *directive, spec *ast.TypeSpec) {
	if d.options != "" {
		p.errorf(d.pos, "unknown option %q", d.options)
	}
	p.unions = append(p.unions, u)
	p.choices[u.Name] = u
	t, ok := p.object(u.Name).Type().Underlying().(*types.Interface)
	if !ok || spec.TypeParams != nil {
		p.errorf(d.pos, "%s is not an interface", u.Name)
		return
	}
	for m := range t.Methods() {
		if s := m.Signature(); !m.Exported() && s.Params().Len() == 0 && s.Results().Len() == 0 {
			u.Seal = m.Name()
		}
	}
	if u.Seal == "" {
		p.errorf(u.Pos, "%s is not sealed: it needs a method such as is%s(), which no other package can have", u.Name, strings.ToUpper(u.Name[:1])+u.Name[1:])
	}
}

// cases reads the cases of a union.
func (p *scanner) cases(u *Union) {
	seen := map[uint8]string{}
	for _, d := range p.wanted[u] {
		value, name, _ := strings.Cut(d.options, " ")
		name = strings.TrimSpace(name)
		n, err := strconv.ParseUint(value, 0, 8)
		m := p.byName[name]
		switch {
		case err != nil:
			p.errorf(d.pos, "%q is not a discriminator, which is 0 to 255", value)
		case name == "retired":
			if seen[uint8(n)] != "" {
				p.errorf(d.pos, "%d is the discriminator of %s already", n, seen[uint8(n)])
			}
			seen[uint8(n)] = "a retired case"
		case m == nil:
			p.errorf(d.pos, "%q is not a message of this package", name)
		case seen[uint8(n)] != "":
			p.errorf(d.pos, "%d is the discriminator of %s already", n, seen[uint8(n)])
		case slices.ContainsFunc(u.Cases, func(c *Case) bool { return c.Message == m }):
			p.errorf(d.pos, "%s has a discriminator already", name)
		default:
			seen[uint8(n)] = name
			u.Cases = append(u.Cases, &Case{uint8(n), d.pos, m})
			p.seal(u, m)
		}
	}
	if len(p.wanted[u]) == 0 {
		p.errorf(u.Pos, "%s has no cases: //proto:case 1 Name", u.Name)
	}
}

// seal makes a message declare the method of a union, unless the package
// declares it.
func (p *scanner) seal(u *Union, m *Message) {
	if t := p.object(m.Name).Type(); u.Seal != "" && !declares(t, u.Seal) && !slices.Contains(m.Seals, u.Seal) {
		m.Seals = append(m.Seals, u.Seal)
	}
}

// limit evaluates a number in a tag: a constant expression.
func (p *scanner) limit(text string, pos token.Pos) *Limit {
	v, err := types.Eval(p.fset, p.pkg, pos, text)
	if err != nil || v.Value == nil || constant.ToInt(v.Value).Kind() != constant.Int {
		p.errorf(pos, "%q is not a constant number", text)
		return nil
	}
	l := &Limit{Value: constant.ToInt(v.Value)}
	if c, ok := p.object(text).(*types.Const); ok && token.IsIdentifier(text) {
		if basic, ok := c.Type().(*types.Basic); ok && basic.Info()&types.IsUntyped != 0 {
			l.Name = text
		}
	}
	return l
}

// size checks that a limit is from 0 to most, which fits an int on every
// system.
func (p *scanner) size(l *Limit, most int64, pos token.Pos) {
	if l == nil {
		return
	}
	if n, exact := constant.Int64Val(l.Value); !exact || n < 0 || n > most {
		p.errorf(pos, "a limit of %v: it must be 0 to %d", l.Value, most)
	}
}

// validator checks that a type has a method without parameters that returns an
// error.
func (p *scanner) validator(t types.Type, name string, pos token.Pos) {
	obj, _, _ := types.LookupFieldOrMethod(t, true, p.pkg, name)
	f, ok := obj.(*types.Func)
	if ok {
		s := f.Signature()
		ok = s.Params().Len() == 0 && s.Results().Len() == 1 && s.Results().At(0).Type().String() == "error"
	}
	if !ok {
		p.errorf(pos, "%s has no method %s() error", types.TypeString(t, types.RelativeTo(p.pkg)), name)
	}
}

// enum returns the constants of a type, or nil if it has none.
func (p *scanner) enum(t *types.Named, pos token.Pos) *EnumType {
	obj := t.Obj()
	e := &EnumType{Name: Words(obj.Name()), Local: obj.Pkg() == p.pkg}
	seen := map[uint8]string{}
	var consts []*types.Const
	for _, name := range obj.Pkg().Scope().Names() {
		if c, ok := obj.Pkg().Scope().Lookup(name).(*types.Const); ok && types.Identical(c.Type(), t) && !p.notes[c].omit {
			consts = append(consts, c)
		}
	}
	slices.SortStableFunc(consts, func(a, b *types.Const) int { return int(a.Pos() - b.Pos()) })
	for _, c := range consts {
		n, _ := constant.Uint64Val(c.Val())
		if other := seen[uint8(n)]; other != "" {
			if e.Local {
				pos = c.Pos()
			}
			p.errorf(pos, "%s has the discriminator %d, as %s has: //proto:omit beside a constant leaves it out", c.Name(), n, other)
		}
		seen[uint8(n)] = c.Name()
		e.Values = append(e.Values, EnumValue{c.Name(), uint8(n), p.notes[c].text})
	}
	if len(e.Values) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Values, func(a, b EnumValue) int { return int(a.Value) - int(b.Value) })
	return e
}

// names returns the names of options that were not used.
func (o *opts) unused() []string {
	return slices.Sorted(maps.Keys(o.left))
}
