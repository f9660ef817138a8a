package browsertest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/faulttest"
	"github.com/sdp2p/p2p/p2ptest"
)

// nobody is an address at which there is no node.
var nobody = netip.MustParseAddrPort("127.0.0.1:9")

func echo(_ context.Context, s *p2p.Stream) error {
	_, err := io.Copy(s, s)
	return err
}

// start starts a node in a network, with a hook that finds the peers that the
// test wants it to find.
func start(t *testing.T, network *p2ptest.Network, name string) (*p2p.P2P, *faulttest.Finder) {
	t.Helper()
	var mux p2p.Mux
	mux.HandleFunc("echo", p2p.Anyone, echo)
	node := network.Start(t, p2p.Config{App: "test", Name: name, Handler: &mux})
	find := &faulttest.Finder{}
	require.NoError(t, node.Register(t.Context(), find))
	return node, find
}

// connect opens a stream and sends something there and back.
func connect(t *testing.T, node *p2p.P2P, to identity.RemoteIdentity) *p2p.Stream {
	t.Helper()
	peer, ok := node.Peer(to)
	require.True(t, ok)
	s, err := peer.Open(t.Context(), "echo")
	require.NoError(t, err)
	_, err = s.Write([]byte("hello"))
	require.NoError(t, err)
	_, err = io.ReadFull(s, make([]byte, 5))
	require.NoError(t, err)
	return s
}

// The page shows the node, a peer that appears, is connected and disappears,
// and a failed dial with its reason. In the end, it shows that the node has
// shut down.
func TestPage(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node, find := start(t, network, "Laptop")
	b := open(t, node, 1280, 900)
	b.says("h1", "Laptop")
	b.says("#hooks td", "finder")
	markup := `<img src=x onerror=alert(1)>`
	phone, _ := start(t, network, "Phone")
	b.says("#peers .row", "Phone")
	b.says("#picture text", "Phone")
	stream := connect(t, node, phone.Identity())
	b.says("#peers .row.lan", "Phone")
	b.until(`document.querySelector("#picture .device.lan") !== null`)
	b.says("#routes td", "echo")
	b.says("#log li", "connected")

	stranger := identity.New().Remote()
	peer := find.Finds(t, stranger, markup, nobody)
	_, err := peer.Open(t.Context(), "echo")
	require.Error(t, err)
	b.says("#peers .row.failed", markup)
	b.says("#log li", "dial failed")
	b.do(chromedp.Focus("#peers"), chromedp.KeyEvent(kb.End))
	b.says("#h-peer", markup)
	b.says("#candidates td", "127.0.0.1:9")
	reason := value[string](b, `document.getElementById("peer-why").textContent`)
	require.NotEmpty(t, reason)
	require.Equal(t, node.State().Peers[1].Unreachable, reason)
	require.Zero(t, value[int](b, `document.images.length`), "a name must not become markup")

	require.NoError(t, stream.Close())
	require.NoError(t, phone.Shutdown(t.Context()))
	b.until(`![...document.querySelectorAll("#peers .row")].some((e) => e.style.display !== "none" && e.textContent.includes("Phone"))`)
	b.until(`![...document.querySelectorAll("#picture text")].some((e) => e.textContent.includes("Phone"))`)
	require.NoError(t, node.Shutdown(t.Context()))
	b.says("#live", "shut down")
}

// Everything can be done with the keyboard, and nothing is wider than a narrow
// window. The page has a light and a dark form.
func TestNarrow(t *testing.T) {
	network := p2ptest.NewNetwork(p2ptest.Config{})
	node, find := start(t, network, "A laptop with a rather long name that its owner has given to it")
	for i := range 50 {
		find.Finds(t, identity.New().Remote(), fmt.Sprintf("device number %d", i), nobody)
	}
	b := open(t, node, 320, 640)
	b.says("#count", "50")
	require.LessOrEqual(t, value[int](b, `document.documentElement.scrollWidth`), 320)
	b.do(chromedp.Focus("#peers"), chromedp.KeyEvent(kb.ArrowDown))
	b.says("#h-peer", "device number 0")
	b.do(chromedp.KeyEvent(kb.End))
	b.says("#h-peer", "device number 49")
	b.until(`document.querySelector("#peers [aria-selected=true]").textContent.includes("device number 49")`)
	require.LessOrEqual(t, value[int](b, `document.documentElement.scrollWidth`), 320)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.says("#h-peer", "No peer")
	b.do(chromedp.SendKeys("#filter", "number 7"))
	b.says("#count", "1 of 50")
	light := value[string](b, `getComputedStyle(document.body).backgroundColor`)
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}))
	b.until(`getComputedStyle(document.body).backgroundColor !== "` + light + `"`)
}

// With a thousand peers, the page has no more elements than with a few dozen,
// and news about a peer changes only the elements of this peer.
func TestThousandPeers(t *testing.T) {
	node, find := start(t, p2ptest.NewNetwork(p2ptest.Config{}), "Laptop")
	var ids []identity.RemoteIdentity
	for i := range 1000 {
		ids = append(ids, identity.New().Remote())
		find.Finds(t, ids[i], fmt.Sprintf("peer %d", i), nobody)
	}
	b := open(t, node, 1280, 900)
	b.says("#count", "1000")
	elements := value[int](b, `document.querySelectorAll("*").length`)
	t.Logf("%d elements", elements)
	require.Less(t, elements, 1500)
	require.Less(t, value[int](b, `document.querySelectorAll("#peers .row").length`), 40)

	// Only the row and the events change, but neither the table nor the picture
	// as a whole.
	b.until(`document.querySelectorAll("#log li").length >= 64`)
	value[bool](b, `(window.seen = [], new MutationObserver((all) => window.seen.push(...all.map((m) => m.target.nodeName)))
		.observe(document.querySelector("main"), {subtree: true, childList: true, attributes: true, characterData: true}), true)`)
	find.Finds(t, ids[3], "another name", nobody)
	b.says("#peers .row", "another name")
	changes := value[int](b, `window.seen.length`)
	t.Logf("%d changes of the document for one event", changes)
	require.Less(t, changes, 200)

	// The figures below are for RESULTS; on a busy machine, they say nothing.
	value[bool](b, `(window.frames = [], (function frame(at) {
		window.frames.push(at); requestAnimationFrame(frame) })(performance.now()), true)`)
	b.do(chromedp.Focus("#peers"), chromedp.KeyEvent(kb.End))
	b.says("#h-peer", "peer 999")
	for round := range 20 {
		for i := range 1000 {
			find.Finds(t, ids[i], fmt.Sprintf("peer %d, %d", i, round), nobody)
		}
		for range 5 {
			b.do(chromedp.KeyEvent(kb.PageUp))
		}
		b.says("#h-peer", fmt.Sprint(", ", round))
	}
	t.Log(value[string](b, `(() => { const d = window.frames.slice(1).map((t, i) => t - window.frames[i]).sort((a, b) => a - b);
		return d.length + " frames, ms: median " + d[d.length >> 1].toFixed(1) + ", 99 % " + d[Math.floor(d.length * 0.99)].toFixed(1) + ", longest " + d[d.length - 1].toFixed(1) })()`))
	require.Less(t, value[int](b, `document.querySelectorAll("*").length`), 1500)
}
