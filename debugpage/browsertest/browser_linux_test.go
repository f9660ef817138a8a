package browsertest

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/debugpage"
)

// A tab shows the page of a node.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu        sync.Mutex
	complaint []string // messages of the console
	asked     []string // URLs that were asked for
}

// open opens the page of a node in a browser of its own. When the test ends,
// the console must have no messages, and the page must have asked for nothing
// from elsewhere.
func open(t *testing.T, node *p2p.P2P, width, height int64, options ...debugpage.Option) *tab {
	t.Helper()
	if os.Getenv(enable) == "" {
		t.Skip(enable + " is not set")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(enable + " is set, but there is no program chromium; it is in the package chromium")
	}
	server := httptest.NewServer(debugpage.Handler(node, options...))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	flags := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.WSURLReadTimeout(time.Minute))
	ctx, cancel = chromedp.NewExecAllocator(ctx, flags...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { chromedp.Cancel(ctx) }) // waits until the browser has ended
	b := &tab{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, b.hear)
	b.do(network.Enable(), log.Enable(), emulation.SetDeviceMetricsOverride(width, height, 1, false), chromedp.Navigate(server.URL+"/"))
	b.until(`document.getElementById("live").textContent === "live"`)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.complaint)
		require.NotEmpty(t, b.asked)
		for _, url := range b.asked {
			require.True(t, strings.HasPrefix(url, server.URL+"/"), url)
		}
	})
	return b
}

// hear records the browser's events.
func (b *tab) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaint = append(b.complaint, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		for _, arg := range e.Args {
			b.complaint = append(b.complaint, string(arg.Value))
		}
	case *log.EventEntryAdded:
		b.complaint = append(b.complaint, e.Entry.Text+" "+e.Entry.URL)
	case *network.EventRequestWillBeSent:
		b.asked = append(b.asked, e.Request.URL)
	case *network.EventWebSocketCreated:
		b.asked = append(b.asked, e.URL)
	}
}

func (b *tab) do(actions ...chromedp.Action) {
	b.t.Helper()
	require.NoError(b.t, chromedp.Run(b.ctx, actions...))
}

// until waits until an expression is true in the page.
func (b *tab) until(expression string) {
	b.t.Helper()
	if err := chromedp.Run(b.ctx, chromedp.Poll(expression, nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(time.Minute))); err != nil {
		b.t.Fatalf("%s: %v; the page has:\n%s", expression, err, value[string](b, `document.body.innerText`))
	}
}

// value returns the value of an expression in the page. If the value is a
// promise, value waits until it has settled.
func value[T any](b *tab, expression string) (v T) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, &v, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	return v
}

// says waits until an element has a text.
func (b *tab) says(selector, what string) {
	b.t.Helper()
	b.until(`[...document.querySelectorAll("` + selector + `")].some((e) => e.textContent.includes("` + what + `"))`)
}
