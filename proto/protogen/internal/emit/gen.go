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

// A gen writes one file.
type gen struct {
	pkg     *schema.Package
	buf     bytes.Buffer
	imports map[string]bool
	helpers map[string]bool
	temps   map[string]bool // variables in the scope that is written
}

func newGen(p *schema.Package) *gen {
	return &gen{pkg: p, imports: map[string]bool{}, helpers: map[string]bool{}, temps: map[string]bool{}}
}

// p writes a line.
func (g *gen) p(format string, args ...any) {
	fmt.Fprintf(&g.buf, format+"\n", args...)
}

// use notes that a package is imported, and returns its name.
func (g *gen) use(path string) string {
	g.imports[path] = true
	path = strings.TrimSuffix(path, "/v2")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// temp returns the name of a variable that is not in use. It is until done is
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

// helper notes that a function is needed, and returns its name, which the
// package does not declare by itself.
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

// typ returns how a type is written in the file, whose imports it adds to.
func (g *gen) typ(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p.Path() == g.pkg.Path {
			return ""
		}
		return g.use(p.Path())
	})
}

func (g *gen) nameable(t types.Type) bool { return g.pkg.Nameable(t) }

// file puts the file together.
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
		return out.Bytes(), fmt.Errorf("protogen: what it wrote is no Go: %w", err)
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

// limit returns how a limit is written.
func limit(l *schema.Limit) string {
	if l.Name != "" {
		return l.Name
	}
	return l.Value.ExactString()
}

// unionFunc returns the name of a function for a union, exported as that is.
func unionFunc(verb string, u *schema.Union) string {
	if first := u.Name[:1]; strings.ToUpper(first) == first {
		return verb + u.Name
	}
	return strings.ToLower(verb) + strings.ToUpper(u.Name[:1]) + u.Name[1:]
}
