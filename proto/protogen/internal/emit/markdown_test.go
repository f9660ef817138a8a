package emit

import (
	"bytes"
	"testing"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// Filling a second time changes nothing, and nothing outside of the markers is
// touched.
func FuzzFill(f *testing.F) {
	f.Add([]byte("a\n<!-- protogen M -->\nx\n<!-- /protogen -->\nb"))
	f.Add([]byte("<!-- protogen p.M -->\n<!-- /protogen --><!-- protogen q.M -->"))
	p := &schema.Package{Name: "p", Messages: []*schema.Message{{Name: "M"}}}
	f.Fuzz(func(t *testing.T, text []byte) {
		once, err := Fill(bytes.Clone(text), p)
		if err != nil {
			return
		}
		twice, err := Fill(bytes.Clone(once), p)
		if err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q has become %q (%v)", once, twice, err)
		}
		if outside := marked.ReplaceAll(text, nil); !bytes.Equal(outside, marked.ReplaceAll(once, nil)) {
			t.Fatalf("%q was touched", outside)
		}
	})
}
