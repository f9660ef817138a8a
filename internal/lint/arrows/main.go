// Command arrows counts, in a package, the references between files that run up.
//
// It lays the files of a package one above the other so that as few as possible
// use a name that is declared in a file above them: a function, a method, a type,
// a variable or a constant. (The receiver of a method, and fields, are no such
// uses: they belong to their type.) What still runs up ties files into a knot,
// which has to be read at once.
//
//	go run ./internal/lint/arrows .=8 ./block=10
//
// fails if more run up in one of these packages than it is allowed, and names
// them; with -v, it prints the files from top to bottom.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	verbose := flag.Bool("v", false, "print the files from top to bottom")
	flag.Parse()
	status := 0
	for _, arg := range flag.Args() {
		dir, most, _ := strings.Cut(arg, "=")
		limit, err := strconv.Atoi(most)
		if err != nil {
			fail(fmt.Errorf("%q is not PACKAGE=NUMBER", arg))
		}
		p, err := load(dir)
		if err != nil {
			fail(err)
		}
		order := p.uses().order()
		up := order.up()
		if *verbose {
			fmt.Println(strings.Join(order.files, "\n"))
		}
		fmt.Printf("%s: %d files, %d references between them, %d up\n", dir, len(order.files), len(order.uses), len(up))
		if len(up) > limit {
			fmt.Fprintf(os.Stderr, "arrows: %s: more than %d run up:\n\t%s\n", dir, limit, strings.Join(up, "\n\t"))
			status = 1
		}
	}
	os.Exit(status)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "arrows:", err)
	os.Exit(2)
}

// A pkg is a package that was type-checked.
type pkg struct {
	fset  *token.FileSet
	files []*ast.File
	types *types.Package
	info  *types.Info
}

// load reads a package, for this system, and what the compiler exported of those
// that it imports.
func load(dir string) (*pkg, error) {
	list := exec.Command("go", "list", "-deps", "-export", "-json=Dir,ImportPath,Export,GoFiles,DepOnly", dir)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", dir, err)
	}
	exports := map[string]string{}
	var sources []string
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var l struct {
			Dir, ImportPath, Export string
			GoFiles                 []string
			DepOnly                 bool
		}
		if err := d.Decode(&l); err == io.EOF {
			break
		} else if err != nil {
			return nil, err
		}
		exports[l.ImportPath] = l.Export
		if !l.DepOnly {
			for _, name := range l.GoFiles {
				sources = append(sources, filepath.Join(l.Dir, name))
			}
		}
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	p := &pkg{fset: fset}
	for _, name := range sources {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
	}
	return p, p.check(imports)
}

// check finds out what the names in the files mean.
func (p *pkg) check(imports types.Importer) (err error) {
	p.info = &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: imports}
	p.types, err = config.Check(p.files[0].Name.Name, p.fset, p.files, p.info)
	return err
}

// uses returns which files use names of which others.
func (p *pkg) uses() graph {
	g := graph{uses: map[use]string{}}
	for _, f := range p.files {
		from := p.file(f)
		g.files = append(g.files, from)
		for _, d := range f.Decls {
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					ast.Inspect(n.Type, func(n ast.Node) bool { p.use(g, from, n); return true })
					if n.Body != nil {
						ast.Inspect(n.Body, func(n ast.Node) bool { p.use(g, from, n); return true })
					}
					return false // and not into the receiver
				default:
					p.use(g, from, n)
				}
				return true
			})
		}
	}
	return g
}

// use records that a file uses a name, if another file declares it.
func (p *pkg) use(g graph, from string, n ast.Node) {
	name, ok := n.(*ast.Ident)
	if !ok {
		return
	}
	o := p.info.Uses[name]
	if o == nil || o.Pkg() != p.types {
		return
	}
	if f, ok := o.(*types.Func); ok {
		if recv := f.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
			return
		}
	} else if o.Parent() != p.types.Scope() { // a field, or a local name
		return
	}
	if to := p.file(o); to != from {
		g.uses[use{from, to}] = name.Name
	}
}

func (p *pkg) file(at interface{ Pos() token.Pos }) string {
	return filepath.Base(p.fset.Position(at.Pos()).Filename)
}
