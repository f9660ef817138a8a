// Package emit writes the code of the messages that a package describes.
package emit

import (
	"bytes"
	"fmt"
	"go/format"
	"go/types"
	"maps"
	"slices"
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

const (
	protoPath    = "github.com/sdp2p/p2p/proto"
	identityPath = "github.com/sdp2p/p2p/identity"
)

// A gen generates one file.
type gen struct {
	pkg     *schema.Package
	buf     bytes.Buffer
	imports map[string]bool
	helpers map[string]bool
	temps   map[string]bool // variables in the current scope
}

func newGen(p *schema.Package) *gen {
	return &gen{pkg: p, imports: map[string]bool{}, helpers: map[string]bool{}, temps: map[string]bool{}}
}

// p writes a formatted line.
func (g *gen) p(format string, args ...any) {
	fmt.Fprintf(&g.buf, format+"\n", args...)
}

// use adds an import, and returns the name of the package.
func (g *gen) use(path string) string {
	g.imports[path] = true
	path = strings.TrimSuffix(path, "/v2")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// temp returns an unused name for a variable. The name is in use until done is
// called.
func (g *gen) temp(names string) (name string, done func()) {
	all := strings.Fields(names)
	for i := 0; ; i++ {
		if i < len(all) {
			name = all[i]
		} else {
			name = fmt.Sprintf("%s%d", all[0], i+1)
		}
		if !g.temps[name] {
			g.temps[name] = true
			return name, func() { delete(g.temps, name) }
		}
	}
}

// helper adds a helper function to the file, and returns a name for it that the
// package does not declare otherwise.
func (g *gen) helper(name string) string {
	g.helpers[name] = true
	return g.free(name)
}

func (g *gen) free(name string) string {
	for g.pkg.Taken[name] {
		name += "_"
	}
	return name
}

// typ returns the source form of a type, and adds its imports to the file.
func (g *gen) typ(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p.Path() == g.pkg.Path {
			return ""
		}
		return g.use(p.Path())
	})
}

func (g *gen) nameable(t types.Type) bool { return g.pkg.Nameable(t) }

// file assembles and formats the file.
func (g *gen) file() ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\npackage %s\n\nimport (\n", schema.Header, g.pkg.Name)
	own := []string{}
	for _, path := range slices.Sorted(maps.Keys(g.imports)) {
		if path == protoPath || path == identityPath {
			own = append(own, path)
			continue
		}
		fmt.Fprintf(&out, "%q\n", path)
	}
	out.WriteString("\n")
	for _, path := range own {
		fmt.Fprintf(&out, "%q\n", path)
	}
	out.WriteString(")\n\n")
	out.Write(g.buf.Bytes())
	text, err := format.Source(out.Bytes())
	if err != nil {
		return out.Bytes(), fmt.Errorf("protogen: the generated code is not valid Go: %w", err)
	}
	return text, nil
}

// Code returns the file with the methods of all messages.
func Code(p *schema.Package) ([]byte, error) {
	g := newGen(p)
	for _, line := range p.History() {
		g.p("%s", line)
	}
	g.p("")
	for _, m := range p.Messages {
		g.encoder(m)
		g.decoder(m)
		g.sizer(m)
		for _, seal := range m.Seals {
			g.p("func (*%s) %s() {}\n", m.Name, seal)
		}
	}
	for _, u := range p.Unions {
		g.unionEncoder(u)
		g.unionDecoder(u)
		g.unionSizer(u)
	}
	g.writeHelpers()
	return g.file()
}

// limit returns the source form of a limit.
func limit(l *schema.Limit) string {
	if l.Name != "" {
		return l.Name
	}
	return l.Value.ExactString()
}

// unionFunc returns the name of a function for a union, which is exported if
// the union is.
func unionFunc(verb string, u *schema.Union) string {
	if first := u.Name[:1]; strings.ToUpper(first) == first {
		return verb + u.Name
	}
	return strings.ToLower(verb) + strings.ToUpper(u.Name[:1]) + u.Name[1:]
}
