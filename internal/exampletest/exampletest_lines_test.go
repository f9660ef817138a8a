package exampletest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An example can be read in one go. Generated files do not count. The README
// calls notes and drop apps. A part of drop is a package, the console, which
// has a limit of its own: it knows nothing of the SDK.
func TestLines(t *testing.T) {
	examples, err := filepath.Glob("../../examples/*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, main := range append(examples, "../../examples/drop/console/console.go") {
		name, most := filepath.Base(filepath.Dir(main)), 150
		switch name {
		case "notes":
			continue
		case "clipboard", "search", "devices":
			most = 79 // as the README says
		case "drop":
			most = 745
		case "console":
			most = 197
		}
		files, err := os.ReadDir(filepath.Dir(main))
		require.NoError(t, err)
		lines := 0
		for _, f := range files {
			if n := f.Name(); strings.HasSuffix(n, ".go") && !strings.HasSuffix(n, "_test.go") && !strings.HasSuffix(n, "_gen.go") {
				lines += Lines(t, filepath.Join(filepath.Dir(main), n))
			}
		}
		require.LessOrEqual(t, lines, most, name)
	}
}
