package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// The folder api contains exactly what the packages export.
func TestCurrent(t *testing.T) {
	texts, err := describe(root)
	require.NoError(t, err)
	require.Contains(t, texts, "p2p.txt")
	files, err := os.ReadDir(filepath.Join(root, "api"))
	require.NoError(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	require.Equal(t, slices.Sorted(maps.Keys(texts)), names, "go run ./internal/lint/api writes them")
	for name, text := range texts {
		written, err := os.ReadFile(filepath.Join(root, "api", name))
		require.NoError(t, err)
		require.Equal(t, string(written), text, "the API has changed: go run ./internal/lint/api, and a line in CHANGELOG.md")
	}
}

// Unexported names, fields and methods are not part of it.
func TestExportedOnly(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.go"), []byte(`// Package a is one.
package a

// T is a type.
type T struct {
	A int // exported
	b int
}

type u struct{ A int }

// M is a method.
func (T) M(x int) error { return nil }

func (T) m() {}
func (u) M() {}

const (
	A = iota // a
	b
	C
)

// F is a variable.
var F, g = 1, 2
`), 0o644))
	text, err := describePackage(dir, "a")
	require.NoError(t, err)
	require.Equal(t, `package a // github.com/sdp2p/p2p/a

const (
	A = iota

	C
)
func (T) M(x int) error
type T struct {
	A int
	// contains filtered or unexported fields
}
var F
`, text)
}
