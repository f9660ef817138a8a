package main

import (
	"go/importer"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"
)

// parse makes a package from the texts of its files.
func parse(t *testing.T, texts map[string]string) *pkg {
	p := &pkg{fset: token.NewFileSet()}
	for name, text := range texts {
		f, err := parser.ParseFile(p.fset, name, "package p\n"+text, parser.SkipObjectResolution)
		require.NoError(t, err)
		p.files = append(p.files, f)
	}
	require.NoError(t, p.check(importer.Default()))
	return p
}

func TestUses(t *testing.T) {
	p := parse(t, map[string]string{
		"a.go": "type A struct{ x int; b *B }\nfunc f(a A) int { local := a.x; return local + limit }",
		"b.go": "type B struct{}\nfunc (a A) far() { a.b.near() }\nconst limit = 1",
		"c.go": "func (b *B) near() {}\ntype i interface{ far() }\nfunc g(x i) { x.far() }",
	})
	require.Equal(t, map[use]string{
		{"a.go", "b.go"}: "limit", // and B; but no field
		{"b.go", "c.go"}: "near",  // but no receiver
	}, p.uses().uses, "and no method of an interface")
}
