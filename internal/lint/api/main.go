// Command api writes the exported API of each package of the module as text,
// without comments, to the folder api in the root: a file for each package. Its
// test fails if the files differ from the code, so that each change of the API
// is visible in a review. Run it in the root of the module:
//
//	go run ./internal/lint/api
package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sdp2p/p2p/internal/lint/exported"
)

func main() {
	texts, err := describe(".")
	if err == nil {
		err = write("api", texts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// write replaces the files of a folder.
func write(dir string, texts map[string]string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// describe returns the text of each package that apps can import, keyed by the
// name of its file.
func describe(root string) (map[string]string, error) {
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != root && skipped(path, d.Name()) {
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := describePackage(path, filepath.ToSlash(rel))
		if text != "" {
			name := "p2p"
			if rel != "." {
				name = strings.ReplaceAll(filepath.ToSlash(rel), "/", "_")
			}
			texts[name+".txt"] = text
		}
		return err
	})
	return texts, err
}

// skipped reports whether a folder has no package that apps can import.
func skipped(path, name string) bool {
	if strings.HasPrefix(name, ".") || slices.Contains([]string{"internal", "testdata", "examples", "cmd", "docs", "api", "bench"}, name) {
		return true
	}
	_, err := os.Stat(filepath.Join(path, "go.mod")) // a module of its own
	return err == nil
}

// describePackage returns the exported declarations of a package, as on Linux.
// It is empty for a folder without Go files.
func describePackage(dir, path string) (string, error) {
	on := build.Default
	on.GOOS, on.GOARCH, on.CgoEnabled = "linux", "amd64", false
	p, err := on.ImportDir(dir, 0)
	if _, none := err.(*build.NoGoError); none {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	set := token.NewFileSet()
	var all []string
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(set, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		ast.FileExports(file)
		for _, d := range file.Decls {
			texts, err := describeDecl(set, d)
			if err != nil {
				return "", err
			}
			all = append(all, texts...)
		}
	}
	slices.Sort(all)
	return "package " + p.Name + " // " + strings.TrimSuffix("github.com/sdp2p/p2p/"+path, "/.") + "\n\n" + strings.Join(all, "\n") + "\n", nil
}

// describeDecl prints each name of a declaration by itself.
func describeDecl(set *token.FileSet, d ast.Decl) (texts []string, err error) {
	show := func(d ast.Decl) {
		var b strings.Builder
		if e := (&printer.Config{Mode: printer.UseSpaces | printer.TabIndent, Tabwidth: 8}).Fprint(&b, set, d); e != nil {
			err = e
		}
		texts = append(texts, b.String())
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv != nil {
			if !exported.Receiver(d.Recv.List[0].Type) {
				return nil, nil
			}
			d.Recv.List[0].Names = nil
		}
		d.Body, d.Doc = nil, nil
		show(d)
	case *ast.GenDecl:
		if d.Tok == token.IMPORT {
			return nil, nil
		}
		if d.Tok == token.CONST { // iota counts within its group
			d.Doc = nil
			show(d)
			return texts, err
		}
		for _, s := range d.Specs {
			if v, ok := s.(*ast.ValueSpec); ok && len(v.Values) != len(v.Names) {
				v.Values = nil // some are of names that are not exported
			}
			show(&ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{s}})
		}
	}
	return texts, err
}
