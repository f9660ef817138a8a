package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"

	"github.com/sdp2p/p2p/internal/lint/exported"
)

const (
	maxComment  = 100 // columns of a comment
	maxFunction = 60  // lines
	maxFile     = 500 // lines
	tab         = "    "
)

// apart matches lines of a comment that may have any length: examples and
// tables (indented), directives, and links.
var apart = regexp.MustCompile(`^//(\t|  |[a-z]+:|$)|https?://`)

func checkGo(name, text string, complain func(int, string, ...any)) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		complain(1, "%v", err)
		return
	}
	if ast.IsGenerated(file) {
		return
	}
	line := func(p token.Pos) int { return set.Position(p).Line }
	if n := strings.Count(text, "\n"); n > maxFile {
		complain(1, "the file has %d lines, more than %d", n, maxFile)
	}
	for _, group := range file.Comments {
		for _, c := range group.List {
			spelled(c.Text, line(c.Pos()), complain)
		}
	}
	checkWidths(text, complain)
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
			spelled(s.Value, line(s.Pos()), complain)
		}
		return true
	})
	test := strings.HasSuffix(name, "_test.go")
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
			if n := line(f.End()) - line(f.Pos()) + 1; n > maxFunction && !test {
				complain(line(f.Pos()), "%s has %d lines, more than %d", f.Name.Name, n, maxFunction)
			}
		}
		if !test && file.Name.Name != "main" {
			commented(d, func(p token.Pos, name string) { complain(line(p), "%s has no comment", name) })
		}
	}
}

// checkWidths complains about comments that are too wide.
func checkWidths(text string, complain func(int, string, ...any)) {
	for i, l := range strings.Split(text, "\n") {
		comment := strings.TrimLeft(l, "\t")
		if !strings.HasPrefix(comment, "//") || apart.MatchString(comment) {
			continue
		}
		if n := len([]rune(strings.ReplaceAll(l, "\t", tab))); n > maxComment {
			complain(i+1, "the comment is %d columns wide, more than %d", n, maxComment)
		}
	}
}

// commented reports the exported names of a declaration that have no comment:
// of their own, at the end of their line, or of the group that they are in.
func commented(d ast.Decl, missing func(token.Pos, string)) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Doc == nil && d.Name.IsExported() && (d.Recv == nil || exported.Receiver(d.Recv.List[0].Type)) && !usual[d.Name.Name] {
			missing(d.Pos(), d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing(s.Pos(), s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					missing(s.Pos(), s.Names[0].Name)
				}
			}
		}
	}
}

// usual are methods that are documented by their interfaces.
var usual = map[string]bool{
	"Error": true, "String": true, "GoString": true, "Format": true, "LogValue": true,
	"Is": true, "As": true, "Unwrap": true,
	"Len": true, "Less": true, "Swap": true, "Push": true, "Pop": true,
	"AppendBinary": true, "MarshalBinary": true, "UnmarshalBinary": true, "DecodeFrom": true, "Size": true,
	"AppendText": true, "MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true,
	"Read": true, "Write": true, "Close": true,
	"LocalAddr": true, "RemoteAddr": true, "SetDeadline": true, "SetReadDeadline": true, "SetWriteDeadline": true,
}
