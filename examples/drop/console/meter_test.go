package console

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// A some describes some bytes of a total.
type some struct{ done, total int64 }

func (s some) String() string { return fmt.Sprintf("%d of %d", s.done, s.total) }

// newMeter returns a meter, the screen on which it is shown, and a function
// that shows some bytes of a total.
func newMeter(live bool) (*Meter, *exampletest.Screen, func(done, total int64)) {
	s := &exampletest.Screen{}
	m := &Meter{Console: &Console{Out: s, Err: s, Live: live}}
	return m, s, func(done, total int64) { m.Show(done, total, some{done, total}) }
}

// A bar that is stopped stays where it was, and a full one ends its line once.
func TestBar(t *testing.T) {
	t.Parallel()
	m, s, show := newMeter(true)
	show(30, 100)
	show(60, 200) // the total has grown
	m.Stop()
	m.Console.Say("Stopped")
	require.Contains(t, s.String(), " 30% ")
	require.NotContains(t, s.String(), "100%")
	last := s.String()[strings.LastIndex(s.String(), "%")-3:]
	require.Regexp(t, `^ 30% .*\(60/200 B.*\]\s*\nStopped\n$`, last)

	m, s, show = newMeter(true)
	show(30, 100)
	show(100, 100)
	m.Stop()
	m.Console.Say("Sent")
	require.Contains(t, s.String(), "100% ")
	require.Regexp(t, `[^\n]\nSent\n$`, s.String(), "exactly one end of line")
}

// Without a terminal, progress takes a few lines, and more reports do not make
// more lines.
func TestLines(t *testing.T) {
	t.Parallel()
	m, s, show := newMeter(false)
	for i := range int64(55_001) {
		show(i*10, 1_000_000)
	}
	m.Stop()
	require.Equal(t, "  0 %: 0 of 1000000\n 10 %: 100000 of 1000000\n 20 %: 200000 of 1000000\n"+
		" 30 %: 300000 of 1000000\n 40 %: 400000 of 1000000\n 50 %: 500000 of 1000000\n", s.String())

	_, s, show = newMeter(false)
	show(0, 0)
	require.Empty(t, s.String())
}
