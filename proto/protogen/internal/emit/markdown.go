package emit

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// marked matches a pair of markers and the text between them.
var marked = regexp.MustCompile(`(?ms)^<!-- protogen (\S+) -->\n.*?^<!-- /protogen -->$`)

// Fill writes the layouts of a package's messages and unions into a text, each
// between the markers <!-- protogen Name --> and <!-- /protogen -->. Name may
// be package.Name; markers of other packages are left alone.
func Fill(text []byte, p *schema.Package) ([]byte, error) {
	var failed error
	found := false
	text = marked.ReplaceAllFunc(text, func(block []byte) []byte {
		name := string(marked.FindSubmatch(block)[1])
		pkg, typ, ok := strings.Cut(name, ".")
		if !ok {
			pkg, typ = p.Name, name
		}
		if pkg != p.Name {
			return block
		}
		lines := table(p, typ)
		if lines == nil {
			failed = fmt.Errorf("%s describes no %s", p.Name, typ)
			return block
		}
		found = true
		return fmt.Appendf(nil, "<!-- protogen %s -->\n```\n%s\n```\n<!-- /protogen -->", name, strings.Join(lines, "\n"))
	})
	if n := bytes.Count(text, []byte("<!-- protogen ")); failed == nil && n != len(marked.FindAllIndex(text, -1)) {
		failed = fmt.Errorf("a marker has no <!-- /protogen -->")
	}
	if failed == nil && !found {
		failed = fmt.Errorf("no marker <!-- protogen Name -->")
	}
	return text, failed
}

// table returns the layout of a message or a union with names in words, or nil.
func table(p *schema.Package, name string) []string {
	for _, m := range p.Messages {
		if m.Name == name {
			return Layout(m, InWords)
		}
	}
	for _, u := range p.Unions {
		if u.Name == name {
			return UnionLayout(u, InWords)
		}
	}
	return nil
}
