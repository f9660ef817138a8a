package console

import (
	"fmt"

	"github.com/schollz/progressbar/v3"
)

// A Meter shows the progress of some work: as a bar on a terminal, otherwise as
// a line at the beginning and for each tenth.
type Meter struct {
	Console *Console

	total int64 // 0: nothing was shown yet
	tenth int64 // the last one shown
	bar   *progressbar.ProgressBar
}

// Show shows that done bytes of total are done, which text describes in a line.
// The total may grow. If it is not positive, nothing is shown.
func (m *Meter) Show(done, total int64, text fmt.Stringer) {
	if total <= 0 {
		return
	}
	before := m.total
	m.total = total
	if m.Console.Live {
		m.draw(done, before)
		return
	}
	percent := int64(100 * float64(done) / float64(total))
	if before == 0 || percent/10 > m.tenth && total == before {
		m.Console.Warn("%3d %%: %v", percent, text)
	}
	m.tenth = percent / 10
}

// draw draws the bar.
func (m *Meter) draw(done, before int64) {
	if m.bar == nil || m.bar.IsFinished() && m.total != before {
		m.bar = progressbar.NewOptions64(m.total,
			progressbar.OptionSetWriter(m.Console.Err), progressbar.OptionFullWidth(),
			progressbar.OptionShowBytes(true), progressbar.OptionShowCount(),
			progressbar.OptionOnCompletion(func() { m.Console.Warn("") }))
	} else if m.total != before {
		m.bar.ChangeMax64(m.total)
	}
	m.bar.Set64(done)
}

// Stop stops a bar that is not full where it is.
func (m *Meter) Stop() {
	if m.bar != nil && !m.bar.IsFinished() {
		m.bar.Exit() // Close would fill it
	}
}
