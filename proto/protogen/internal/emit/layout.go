package emit

import (
	"fmt"
	"go/constant"
	"strings"
	"unicode/utf8"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// A row of a layout has a size, a name and a note. A row without a size is a
// line of text.
type row struct{ size, name, note string }

// Names selects how a layout names fields and messages: by their names in Go,
// or in words.
type Names bool

// The kinds of names.
const (
	InGo    Names = false
	InWords Names = true
)

func (n Names) of(name string) string {
	if n == InWords {
		return schema.Words(name)
	}
	return name
}

// Layout returns the layout of a message, line by line.
func Layout(m *schema.Message, names Names) []string {
	c := names.columns(m)
	return append([]string{pad("size", c.size) + "  field"}, c.render(names.rows(m))...)
}

// UnionLayout returns the layout of all cases of a union.
func UnionLayout(u *schema.Union, names Names) (lines []string) {
	var all []*schema.Message
	width := len("kind")
	for _, c := range u.Cases {
		all = append(all, c.Message)
		width = max(width, len(kind(c)))
	}
	columns := names.columns(all...)
	lines = append(lines, pad("kind", width)+"  "+pad("size", columns.size)+"  field")
	for _, c := range u.Cases {
		first := kind(c)
		for _, line := range columns.render(names.rows(c.Message)) {
			lines = append(lines, pad(first, width)+"  "+line)
			first = ""
		}
	}
	return lines
}

func kind(c *schema.Case) string {
	return fmt.Sprintf("%02X %s", c.Value, schema.Words(c.Message.Name))
}

// columns are the widths of the columns of a layout.
type columns struct{ size, name int }

func (n Names) columns(messages ...*schema.Message) columns {
	c := columns{size: 4}
	for _, m := range messages {
		for _, r := range n.rows(m) {
			if c.size = max(c.size, utf8.RuneCountInString(r.size)); r.note != "" {
				c.name = max(c.name, utf8.RuneCountInString(r.name))
			}
		}
	}
	return c
}

// render writes rows in columns.
func (c columns) render(rows []row) (lines []string) {
	for _, r := range rows {
		line := pad(r.size, c.size) + "  " + r.name
		if r.note != "" {
			line = pad(r.size, c.size) + "  " + pad(r.name, c.name) + "  " + r.note
		}
		lines = append(lines, line)
	}
	return lines
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// rows returns the rows of a message.
func (n Names) rows(m *schema.Message) (all []row) {
	if m.Extensible {
		all = append(all, row{"4", "length", fmt.Sprintf("of the fields, at most %v; fields after these are skipped", m.Max.Value)})
	}
	since := 1
	for _, f := range m.Fields {
		if f.Since != since {
			since = f.Since
			all = append(all, row{"", fmt.Sprintf("from version %d on:", since), ""})
		}
		all = append(all, n.field(f)...)
	}
	if len(all) == 0 {
		return []row{{"0", "nothing", ""}}
	}
	return all
}

// label returns the name of a field that has none in Go, which is the beginning
// of its note, and the rest of the note.
func label(f *schema.Field) (name, rest string) {
	i := strings.IndexAny(f.Note, ",.;:%(")
	if i < 0 {
		i = len(f.Note)
	}
	if name = strings.TrimSpace(f.Note[:i]); name == "" {
		name = "constant"
	}
	return name, strings.TrimSpace(strings.TrimLeft(f.Note[i:], ",.;:"))
}

func (n Names) field(f *schema.Field) []row {
	size, _ := f.Type.Exactly()
	switch {
	case f.Const != nil:
		name, rest := label(f)
		return []row{{fmt.Sprint(size), name + ", " + number(f.Const), rest}}
	case f.Retired:
		all := n.value(f.Type, "retired")
		all[0].note = "zero, ignored by receivers"
		return all
	}
	all := n.value(f.Type, n.of(f.Name))
	all[0].note = join(all[0].note, f.Note)
	return all
}

// number returns a constant, in hexadecimal from 10 on.
func number(v constant.Value) string {
	if n, exact := constant.Int64Val(v); exact && n > 9 {
		return fmt.Sprintf("0x%02X", n)
	}
	return v.ExactString()
}

// join joins two notes, either of which may be empty.
func join(a, b string) string {
	if a != "" && b != "" {
		return a + "; " + b
	}
	return a + b
}

// value returns the rows of a field.
func (n Names) value(t *schema.Type, name string) []row {
	if t.Kind != schema.List {
		size, note := n.describe(t)
		return []row{{size, name, note}}
	}
	note := fmt.Sprintf("n ≤ %v", t.Max.Value)
	if t.Min != nil {
		note = fmt.Sprintf("%v ≤ %s", t.Min.Value, note)
	}
	return []row{{fmt.Sprint(t.Width), "count of " + name, note}, n.elements(t.Elem, name)}
}

// elements returns the row of a list's elements.
func (n Names) elements(t *schema.Type, name string) row {
	size, note := n.describe(t)
	exact, ok := t.Exactly()
	switch {
	case t.Kind == schema.Nested, t.Kind == schema.Choice, t.Kind == schema.Foreign:
		if ok {
			return row{fmt.Sprintf("%d n", exact), "n × " + note, ""}
		}
		return row{"…", "n × " + note, ""}
	case ok:
		return row{fmt.Sprintf("%d n", exact), name, note}
	}
	inner := strings.NewReplacer("+n", "+m", "n ≤", "m ≤")
	if size != "…" {
		note = strings.TrimSuffix(inner.Replace(size)+" each, "+inner.Replace(note), ", ")
	}
	return row{"…", "n × " + word(t), note}
}

// word returns the word for a type.
func word(t *schema.Type) string {
	switch t.Kind {
	case schema.Number:
		return fmt.Sprintf("u%d", 8*t.Width)
	case schema.Float:
		return fmt.Sprintf("float%d", 8*t.Width)
	}
	return map[schema.Kind]string{
		schema.String: "string", schema.Bytes: "bytes", schema.List: "list", schema.Optional: "optional", schema.Array: "array",
		schema.UUID: "UUID", schema.Fixed: "bytes", schema.Key: "key", schema.Enum: "enum", schema.Time: "time", schema.Bool: "bool",
	}[t.Kind]
}

// describe returns the size of a value, and a note.
func (n Names) describe(t *schema.Type) (size, note string) {
	size = "…"
	if exact, ok := t.Exactly(); ok {
		size = fmt.Sprint(exact)
	}
	switch t.Kind {
	case schema.Number:
		return size, numberNote(t)
	case schema.Float:
		return size, "IEEE 754"
	case schema.Bool:
		return size, "0 or 1"
	case schema.String, schema.Bytes:
		return shortNote(t)
	case schema.Key:
		return size, map[bool]string{false: "a key", true: "a key, or zeros"}[t.Zero]
	case schema.Time:
		return size, map[schema.Unit]string{schema.Millis: "milliseconds since 1970, signed", schema.Nanos: "seconds since 1970, 8, signed; nanoseconds, 4, below 10⁹"}[t.Unit]
	case schema.Enum:
		return size, enumNote(t.Enum)
	case schema.List:
		return size, fmt.Sprintf("u%d count n ≤ %v, n × %s", 8*t.Width, t.Max.Value, n.inner(t.Elem))
	case schema.Array:
		return size, fmt.Sprintf("%d × %s", t.Len, n.inner(t.Elem))
	case schema.Optional:
		return n.optional(t)
	case schema.Nested:
		return size, n.of(t.Message.Name)
	case schema.Choice:
		return size, n.of(t.Union.Name)
	case schema.Foreign:
		return size, shortName(t)
	}
	return size, ""
}

// inner describes the type of an element in one line.
func (n Names) inner(t *schema.Type) string {
	size, note := n.describe(t)
	switch t.Kind {
	case schema.Nested, schema.Choice, schema.Foreign:
		return note
	}
	if note == "" {
		return word(t)
	}
	return fmt.Sprintf("%s (%s, %s)", word(t), size, note)
}

func shortNote(t *schema.Type) (size, note string) {
	note = fmt.Sprintf("n ≤ %v", t.Max.Value)
	if t.Min != nil {
		note = fmt.Sprintf("%v ≤ %s", t.Min.Value, note)
	}
	if t.Kind == schema.String {
		note += ", UTF-8"
	}
	return fmt.Sprintf("%d+n", t.Width), note
}

func (n Names) optional(t *schema.Type) (size, note string) {
	inner, note := n.describe(t.Elem)
	if note = strings.TrimSuffix("optional: "+note, ": "); inner == "…" {
		return "1/…", note
	}
	if exact, ok := t.Elem.Exactly(); ok {
		return fmt.Sprintf("1/%d", 1+exact), note
	}
	return "1/1+" + inner, note
}

// shortName returns a type's name, qualified with that of its package.
func shortName(t *schema.Type) string {
	name := t.Go.String()
	return name[strings.LastIndexByte(name, '/')+1:]
}

func numberNote(t *schema.Type) string {
	note := ""
	switch {
	case t.Bits != 0:
		note = fmt.Sprintf("bits of %#x", t.Bits)
	case t.Min != nil && t.Max != nil:
		note = fmt.Sprintf("%v to %v", t.Min.Value, t.Max.Value)
	case t.Min != nil:
		note = fmt.Sprintf("at least %v", t.Min.Value)
	case t.Max != nil:
		note = fmt.Sprintf("at most %v", t.Max.Value)
	}
	if t.Signed {
		return strings.TrimPrefix(note+", signed", ", ")
	}
	return note
}

// enumNote lists the values of an enum, without the common prefix of their
// names.
func enumNote(e *schema.EnumType) string {
	prefix := e.Values[0].Name
	for _, v := range e.Values {
		for !strings.HasPrefix(v.Name, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	if len(e.Values) == 1 || !upperAfter(e, prefix) {
		prefix = ""
	}
	var all []string
	for _, v := range e.Values {
		all = append(all, fmt.Sprintf("%d %s", v.Value, schema.Words(strings.TrimPrefix(v.Name, prefix))))
	}
	return strings.Join(all, ", ")
}

// upperAfter reports whether a word begins after a prefix in all names.
func upperAfter(e *schema.EnumType, prefix string) bool {
	for _, v := range e.Values {
		rest := v.Name[len(prefix):]
		if rest == "" || strings.ToUpper(rest[:1]) != rest[:1] {
			return false
		}
	}
	return true
}
