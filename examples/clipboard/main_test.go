package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// Two devices pair, and what is typed on one is shown on the other, also after
// a restart.
func TestClipboard(t *testing.T) {
	dir, on := t.TempDir(), exampletest.Loopback(t)
	start := func(name string, more ...string) *exampletest.Program {
		return exampletest.Start(t, append([]string{"-on", on, "-dir", filepath.Join(dir, name)}, more...)...)
	}
	laptop := start("laptop")
	ticket := laptop.Line(t, `^For the other device: (sdp2p1:\S+)$`)[1]
	phone := start("phone", "-join", ticket)
	require.Equal(t, laptop.Line(t, `^Does "phone" show (\d{6}), too\?`)[1], phone.Line(t, `^Does "laptop" show (\d{6}), too\?`)[1])
	laptop.Say(t, "y")
	phone.Say(t, "y")
	phone.Say(t, "hello")
	laptop.Line(t, `^[0-9:]{8} "hello"$`)
	phone.Line(t, `^laptop has it: true$`)
	laptop.End(t)
	phone.Say(t, "anybody?")
	phone.Line(t, `^laptop has it: false$`)
	laptop = start("laptop")
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for laptop.Say(t, "again"); laptop.Line(t, `^phone has it: (.*)$`)[1] != "true"; laptop.Say(t, "again") {
		<-again.C // until the devices have found each other
	}
	phone.Line(t, `^[0-9:]{8} "again"$`)
}

func TestLength(t *testing.T) { require.LessOrEqual(t, exampletest.Lines(t, "main.go"), 80) }
