package schema

import (
	"strings"
	"testing"
)

// Any text can be read as a tag, and no option of it is lost.
func FuzzOptions(f *testing.F) {
	f.Add("count=u8,max=3")
	f.Add("a==b,,c = d")
	f.Fuzz(func(t *testing.T, text string) {
		for _, o := range options(text, ",") {
			if !strings.Contains(text, o.name) || !strings.Contains(text, o.value) || strings.Contains(o.name, ",") {
				t.Fatalf("%q gives %+v", text, o)
			}
		}
	})
}
