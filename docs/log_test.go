package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// levels are the levels whose messages are listed, by the names of the logger's
// methods.
var levels = map[string]bool{"Info": true, "Warn": true, "Error": true}

// forbidden maps keys of attributes that no message may have to the keys that
// all others use.
var forbidden = map[string]string{"err": "cause", "error": "cause", "remote": "path", "id": "peer"}

// The page of messages lists everything that the packages log at Info and
// above, each message at its level, and nothing else. All messages use the same
// key for the same thing.
func TestMessages(t *testing.T) {
	logged := map[string]string{} // level by message
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if d.IsDir() && (d.Name() == "bench" || d.Name() == "examples" || d.Name() == "cmd" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				level, message, keys := logCall(call)
				for _, key := range keys {
					require.Empty(t, forbidden[key], "%s: the key %q, where others have %q", path, key, forbidden[key])
				}
				if levels[level] {
					logged[message] = level
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, len(logged), 30)

	page, err := os.ReadFile("log.md")
	require.NoError(t, err)
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| (Info|Warn|Error) \\| `([^`]+)` \\| [^|]{10,} \\|$").FindAllStringSubmatch(string(page), -1) {
		listed[row[2]] = row[1]
	}
	require.Equal(t, logged, listed)
}

// logCall returns the level, the message and the keys of a call that logs, and
// empty strings for any other call.
func logCall(call *ast.CallExpr) (level, message string, keys []string) {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 || !levels[f.Sel.Name] && f.Sel.Name != "Debug" || !isLogger(f.X) {
		return "", "", nil
	}
	message, ok = constant(call.Args[0])
	if !ok {
		return "", "", nil
	}
	for i := 1; i < len(call.Args); i += 2 {
		if key, ok := constant(call.Args[i]); ok {
			keys = append(keys, key)
		}
	}
	return f.Sel.Name, message, keys
}

// isLogger reports whether an expression is a logger by its name: log, x.log,
// x.log() or x.Logger().
func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "log" || e.Name == "slog"
	case *ast.SelectorExpr:
		return e.Sel.Name == "log" || e.Sel.Name == "Logger"
	case *ast.CallExpr:
		return isLogger(e.Fun)
	}
	return false
}

// constant returns the value of a string literal, or of several that are added.
func constant(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		return s, err == nil
	case *ast.BinaryExpr:
		a, ok := constant(e.X)
		b, also := constant(e.Y)
		return a + b, ok && also
	}
	return "", false
}
