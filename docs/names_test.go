package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?(Test\w+|Fuzz\w+)\(`)
	testName = regexp.MustCompile("`(?:\\w+\\.)?(Test\\w+|Fuzz\\w+)(…?)")
	linked   = regexp.MustCompile(`\]\(([^)#:\s]+)(?:#[^)]*)?\)`)
)

// Every test that a document names exists, where … stands for the rest of a
// name, and so does every file that a document links to.
func TestNames(t *testing.T) {
	tests := map[string]bool{}
	var documents []string
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := d.Name(); {
		case d.IsDir() && name == ".git":
			return fs.SkipDir
		case strings.HasSuffix(name, "_test.go"), name == "hooktest.go", name == "listenertest.go":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
				tests[m[1]] = true
			}
		case strings.HasSuffix(name, ".md"):
			documents = append(documents, path)
		}
		return nil
	}))
	require.Greater(t, len(tests), 1000)
	for _, path := range documents {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			found := tests[m[1]]
			for name := range tests {
				found = found || m[2] != "" && strings.HasPrefix(name, m[1])
			}
			if !found {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
		for _, m := range linked.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", path, m[1])
			}
		}
	}
}
