package schema

import (
	"go/ast"
	"go/token"
	"strings"
)

// A directive is a comment //proto:name options.
type directive struct {
	name    string
	options string
	pos     token.Pos
	used    bool
}

// parseDirective parses a comment. It returns nil if it is not a directive.
func parseDirective(c *ast.Comment) *directive {
	text, ok := strings.CutPrefix(c.Text, "//proto:")
	if !ok {
		return nil
	}
	name, options, _ := strings.Cut(text, " ")
	return &directive{name: name, options: strings.TrimSpace(options), pos: c.Pos()}
}

// directives returns the directives in comments, and marks them as used.
func (p *scanner) directives(groups ...*ast.CommentGroup) (all []*directive) {
	for _, g := range groups {
		if g == nil {
			continue
		}
		for _, c := range g.List {
			if d := p.comments[c]; d != nil {
				d.used = true
				all = append(all, d)
			}
		}
	}
	return all
}

// collect collects all directives of a file, so that misplaced ones are
// noticed.
func (p *scanner) collect(f *ast.File) {
	for _, g := range f.Comments {
		for _, c := range g.List {
			if d := parseDirective(c); d != nil {
				p.comments[c] = d
				p.all = append(p.all, d)
			} else if strings.HasPrefix(c.Text, "// proto:") {
				p.errorf(c.Pos(), "a directive has no space after //")
			}
		}
	}
}

// An option of a directive or a tag is name, or name=value.
type option struct{ name, value string }

// options splits a list of options.
func options(s string, separator string) (all []option) {
	for part := range strings.SplitSeq(s, separator) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		all = append(all, option{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	return all
}

// separate splits the options of a directive, at commas and spaces.
func separate(s string) []option {
	return options(strings.ReplaceAll(s, " ", ","), ",")
}

// sentence returns the first sentence of a comment.
func sentence(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	text, _, _ := strings.Cut(strings.TrimSpace(g.Text()), "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	if i := strings.Index(text, ". "); i >= 0 {
		text = text[:i+1]
	}
	return text
}

// line returns the text of the comment on the line of a field or a constant.
func line(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	return strings.Join(strings.Fields(g.Text()), " ")
}
