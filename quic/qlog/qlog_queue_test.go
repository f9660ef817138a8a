package qlog

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
)

// A gate is a writer that waits until it is opened.
type gate struct {
	open chan struct{}
	bytes.Buffer
	closed bool
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	return g.Buffer.Write(b)
}

func (g *gate) Close() error {
	g.closed = true
	return nil
}

// The data that waits is bounded, both before and after the peer is known;
// whole records are left out, and their number is recorded.
func TestWhatWaitsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &gate{open: make(chan struct{})}
		q := &queue{open: func(identity.RemoteIdentity) io.WriteCloser { return w }, more: make(chan struct{}, 1), done: make(chan struct{}), most: maxEarly}
		write := func(from, to int) {
			for i := from; i < to; i++ {
				q.Write([]byte{0x1e})
				fmt.Fprintf(q, "%d %s", i, strings.Repeat("x", 1000))
			}
		}
		write(0, 100)
		require.LessOrEqual(t, q.size, maxEarly)
		q.Open(identity.New().Remote(), func(err error) { require.NoError(t, err) })
		synctest.Wait()
		write(100, 5000)
		require.LessOrEqual(t, q.size, maxWaiting+2000)
		close(w.open)
		synctest.Wait()
		write(5000, 5010)
		q.Close()
		<-q.done
		require.True(t, w.closed)
		records := strings.Split(w.String()[1:], "\x1e")
		require.Contains(t, records[1], `"message":"peer `)
		lost, kept := 0, 0
		for _, r := range records {
			require.True(t, strings.HasSuffix(r, "\n"))
			n := 0
			if _, err := fmt.Sscanf(r, `{"time":0,"name":"loglevel:info","data":{"message":"%d records were left out`, &n); err == nil {
				lost += n
			}
			if strings.HasSuffix(r, "xxx\n") {
				kept++
			}
		}
		require.Equal(t, 5010, kept+lost)
		require.Greater(t, lost, 3000)
		require.Contains(t, records[len(records)-1], "5009 xxx")
	})
}

// A trace whose peer never becomes known reaches no writer, and its memory is
// freed in the end.
func TestNobodysTrace(t *testing.T) {
	q := &queue{more: make(chan struct{}, 1), done: make(chan struct{}), most: maxEarly}
	q.Write([]byte("\x1ehello"))
	q.Close()
	<-q.done
	q.Open(identity.New().Remote(), nil)
	require.Empty(t, q.waiting)
}
