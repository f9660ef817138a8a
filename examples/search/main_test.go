package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// Devices of both versions search each other's texts.
func TestSearch(t *testing.T) {
	on := exampletest.Loopback(t)
	words := func(s string) []string { return []string{s + " one", s + " two", s + " three"} }
	older := exampletest.Start(t, append([]string{"-on", on, "-old", "-for", "red"}, words("blue")...)...)
	newer := exampletest.Start(t, append([]string{"-on", on, "-for", "blue"}, words("red")...)...)
	older.Line(t, `\[red one red two red three\] <nil>$`)
	// Answered in version 1, which has no limit.
	newer.Line(t, `\[blue one blue two blue three\] <nil>$`)
	third := exampletest.Start(t, "-on", on, "-for", "red")
	third.Line(t, `\[red one red two\] <nil>$`)
	fourth := exampletest.Start(t, "-on", on)
	fourth.Line(t, `\[\] .*: code 0x101: say what to search for$`)
}

func TestLength(t *testing.T) { require.LessOrEqual(t, exampletest.Lines(t, "main.go"), 60) }
