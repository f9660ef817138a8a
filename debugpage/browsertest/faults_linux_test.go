package browsertest

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/faulttest"
)

// Each kind of fault appears on the page among the events, and is counted
// there. The test looks at the window that a person sees, and not only at what
// the page was sent.
func TestFaultsStandOnThePage(t *testing.T) {
	if os.Getenv(enable) == "" {
		t.Skip(enable + " is not set")
	}
	for _, f := range faulttest.All() {
		t.Run(f.Name, func(t *testing.T) {
			b := open(t, f.Run(t).P2P, 1280, 900)
			b.until(fmt.Sprintf(`[...document.querySelectorAll("#log li")].some((e) =>
				e.querySelector("b").textContent.startsWith(%q) && new RegExp(%q).test(e.textContent.split(" · ").at(-1)))`, f.What, f.Words))
			b.until(fmt.Sprintf(`[...document.querySelectorAll("#causes tr, #routes tr, #hooks tr")].some((e) => e.textContent.includes(%q))`, f.By))
			require.Zero(t, value[int](b, `document.images.length`))
		})
	}
}
