package main

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// Devices see, again and again, what the others say of themselves, and see when
// the others have gone.
func TestDevices(t *testing.T) {
	on := exampletest.Loopback(t)
	laptop := exampletest.Start(t, "-on", on, "-name", "laptop")
	phone := exampletest.Start(t, "-on", on, "-name", "phone")
	who := laptop.Line(t, `^(\S+) \(phone\) runs `+runtime.GOOS+` for \d+ s, direct at 127\.0\.0\.1:\d+$`)[1]
	for range 2 {
		laptop.Line(t, `^`+who+` \(phone\) runs `)
		phone.Line(t, ` \(laptop\) runs `)
	}
	phone.Interrupt(t)
	laptop.Line(t, `^`+who+` is gone: `)
}

func TestLength(t *testing.T) { require.LessOrEqual(t, exampletest.Lines(t, "main.go"), 80) }
