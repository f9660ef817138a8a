package schema

import (
	"fmt"
	"go/token"
	"slices"
	"strings"
)

// Wire returns the form of a type on the wire, without its limits. Two types of
// the same form can decode each other.
func (t *Type) Wire() string {
	switch t.Kind {
	case Number, Enum:
		return fmt.Sprintf("u%d", 8*t.Width)
	case Float:
		return fmt.Sprintf("f%d", 8*t.Width)
	case Bool:
		return "bool"
	case String:
		return fmt.Sprintf("str%d", 8*t.Width)
	case Bytes:
		return fmt.Sprintf("bytes%d", 8*t.Width)
	case UUID, Fixed, Key:
		return fmt.Sprintf("%dB", t.Least())
	case Time:
		return fmt.Sprintf("time%d", 8*t.Least())
	case List:
		return fmt.Sprintf("list%d(%s)", 8*t.Width, t.Elem.Wire())
	case Array:
		return fmt.Sprintf("%d(%s)", t.Len, t.Elem.Wire())
	case Optional:
		return "opt(" + t.Elem.Wire() + ")"
	case Choice:
		return "union:" + t.Union.Name
	case Nested:
		return t.Message.wire()
	}
	return "other"
}

// wire returns the form of a message inside another one.
func (m *Message) wire() string {
	if m.Extensible {
		return "extensible:" + m.Name
	}
	var all []string
	for _, f := range m.Fields {
		all = append(all, f.Type.Wire())
	}
	return "{" + strings.Join(all, ",") + "}"
}

// history is the prefix of the line that records the fields of an extensible
// message.
const history = "//protogen:fields "

// History returns the lines that record the fields of all extensible messages:
// for each field the version that added it, '-' if it is retired, and its form.
func (p *Package) History() (lines []string) {
	for _, m := range p.Messages {
		if m.Extensible {
			lines = append(lines, history+m.Name+" "+strings.Join(m.record(), " "))
		}
	}
	return lines
}

func (m *Message) record() (all []string) {
	for _, f := range m.Fields {
		mark := ":"
		if f.Retired {
			mark = "-"
		}
		all = append(all, fmt.Sprintf("%d%s%s", f.Since, mark, f.Type.Wire()))
	}
	return all
}

// Follows checks that extensible messages, which other devices may use already,
// are compatible with those generated before: the fields of each are the former
// ones, in the same order, followed by new ones. Retired fields stay retired.
func (p *Package) Follows(generated string) error {
	var errs Errors
	for line := range strings.Lines(generated) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), history)
		if !ok {
			continue
		}
		before := strings.Fields(text)
		i := slices.IndexFunc(p.Messages, func(m *Message) bool { return m.Name == before[0] && m.Extensible })
		if i < 0 {
			continue
		}
		m := p.Messages[i]
	fields:
		for i, was := range before[1:] {
			now := m.record()
			switch {
			case i == len(now):
				errs = append(errs, fmt.Errorf("%s: %s had %d fields: a field that is no longer needed must stay, as retired", p.at(m.Pos), m.Name, len(before)-1))
			case now[i] == was || now[i] == strings.Replace(was, ":", "-", 1):
				continue
			case strings.Replace(now[i], ":", "-", 1) == was:
				errs = append(errs, fmt.Errorf("%s: a retired field of %s is used again: add a new one", p.at(m.Fields[i].Pos), m.Name))
				continue
			default:
				errs = append(errs, fmt.Errorf("%s: field %d of %s was %s, and is %s: retire it, and add a new one at the end", p.at(m.Fields[i].Pos), i+1, m.Name, was, now[i]))
			}
			break fields
		}
	}
	if errs == nil {
		return nil
	}
	return errs
}

func (p *Package) at(pos token.Pos) token.Position { return p.fset.Position(pos) }
