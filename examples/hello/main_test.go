package main

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// TestMain lets the test binary act as the program, for the tests that run it.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestHello(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-interface", exampletest.Loopback(t))
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Regexp(t, `^[A-Z2-7-]{19} at 127\.0\.0\.1:\d+ answered: Hello, Bob!\n$`, string(out))
}

// The functions that make two nodes and let them talk have at most 25 lines
// between their braces. The other functions are for -debug and -contacts.
func TestLength(t *testing.T) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "main.go", nil, 0)
	require.NoError(t, err)
	lines := 0
	for _, decl := range file.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && slices.Contains([]string{"hello", "start", "echo"}, f.Name.Name) {
			lines += files.Position(f.Body.Rbrace).Line - files.Position(f.Body.Lbrace).Line - 1
		}
	}
	require.LessOrEqual(t, lines, 25)
}
