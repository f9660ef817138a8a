package block

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// A hearing stream tells when the other side has read the first messages: when
// it reads again.
type hearing struct {
	net.Conn
	reads atomic.Int32
	heard chan struct{}
}

func (h *hearing) Read(b []byte) (int, error) {
	if h.reads.Add(1) == 2 {
		close(h.heard)
	}
	return h.Conn.Read(b)
}

// A waitingFS lists its folders only once a channel is closed.
type waitingFS struct {
	fstest.MapFS
	until chan struct{}
}

func (w waitingFS) ReadDir(name string) ([]fs.DirEntry, error) {
	<-w.until
	return w.MapFS.ReadDir(name)
}

// A long list is packed for a receiver that supports it.
func TestPacked(t *testing.T) {
	m := &match{}
	m.here, m.there = new(plan).taps(attempt{cut: -1, cutBack: -1, spoiltFor: 1})
	files := fstest.MapFS{}
	for i := range 3000 {
		files[fmt.Sprintf("folder %d/and a file in it %d", i%7, i)] = &fstest.MapFile{Data: []byte{byte(i)}, Mode: 0o600}
	}
	root, err := os.OpenRoot(t.TempDir())
	require.NoError(t, err)
	defer root.Close()
	here := &hearing{Conn: m.here, heard: make(chan struct{})}
	sent := make(chan error, 1)
	go func() {
		defer here.Close()
		source := Source{Name: "top", FS: waitingFS{files, here.heard}, Path: "."}
		_, err := Send(t.Context(), here, []Source{source}, SendOptions{perOffer: 1000})
		sent <- err
	}()
	r, err := Receive(t.Context(), m.there, nil, root, ReceiveOptions{})
	require.NoError(t, err)
	require.NoError(t, <-sent)
	require.Equal(t, 3000, r.Files)
	require.NoError(t, m.here.referee.err)
	require.NoError(t, m.there.referee.err)
	require.Equal(t, 3, m.here.referee.seen["sender offering 20"]) // the last offer is short
	require.Equal(t, 3000, m.here.referee.seen["sender offering 2"])
}

// A pack must contain a limited number of entries, and nothing else.
func TestPackedLies(t *testing.T) {
	pack := func(b []byte) string {
		b, err := appendPacked(nil, b)
		require.NoError(t, err)
		return string(b)
	}
	a := say(file("a", 0))
	good := pack(a)
	_, names, err := hear(t, say(hello{}, good, entry{kind: kindOffered, totals: totals{files: 1}}, begin(0), end(), kindSent, kindDone), 1)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, names)
	stored := new(bytes.Buffer)
	w, err := flate.NewWriter(stored, flate.NoCompression)
	require.NoError(t, err)
	w.Write(a)
	w.Flush() // the stream has no end
	for name, b := range map[string]string{
		"too much":         pack(bytes.Repeat(a, 1+maxUnpacked/len(a))),
		"far too much":     pack(bytes.Repeat(a, 64*maxUnpacked/len(a))),
		"not compressed":   string(say(message{kind: kindPacked, size: uint32(len(a))})) + string(a),
		"half an entry":    pack(a[:len(a)-1]),
		"the end":          pack(say(entry{kind: kindOffered})),
		"another message":  pack(say(begin(0))),
		"something behind": string(say(message{kind: kindPacked, size: uint32(len(good) - 5 + 1)})) + good[5:] + "x",
		"without an end":   string(say(message{kind: kindPacked, size: uint32(stored.Len())})) + stored.String(),
	} {
		_, _, err := hear(t, say(hello{}, b), 1)
		require.ErrorIs(t, err, ErrProtocol, name)
	}
	_, _, err = hear(t, say(hello{}, good[:len(good)-1]), -1)
	require.ErrorIs(t, err, ErrCut)
}
