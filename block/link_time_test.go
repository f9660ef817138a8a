package block_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A peer that neither sends nor accepts anything for 30 s is gone; a peer that
// sends something now and then is not.
func TestTimeout(t *testing.T) {
	for _, test := range []struct {
		name string
		run  func(ctx context.Context, s net.Conn) error
		peer func(s net.Conn) // returns when it falls silent
	}{
		{"sender stops sending", func(ctx context.Context, s net.Conn) error {
			_, err := block.Receive(ctx, s, nil, nil, block.ReceiveOptions{})
			return err
		}, func(s net.Conn) {
			go io.Copy(io.Discard, s)
			s.Write([]byte("B\x02" + strings.Repeat("\x00", 16)))
			for range 10 {
				time.Sleep(29 * time.Second)
				s.Write([]byte{0})
			}
		}},
		{"receiver stops reading", func(ctx context.Context, s net.Conn) error {
			_, err := block.Send(ctx, s, []block.Source{{Name: "z", Reader: zeros{}, Size: 1 << 30}}, block.SendOptions{})
			return err
		}, func(s net.Conn) {
			go io.CopyN(io.Discard, s, 100_000)
			time.Sleep(time.Second) // the offer has arrived
			s.Write([]byte{4, 1})
			for range 10 {
				time.Sleep(29 * time.Second)
				s.Write([]byte{0})
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				began := time.Now()
				ended := make(chan error)
				go func() { ended <- test.run(t.Context(), here) }()
				test.peer(there)
				silent := time.Since(began)
				require.GreaterOrEqual(t, silent, 290*time.Second)
				require.ErrorIs(t, <-ended, block.ErrTimeout)
				require.InDelta(t, 30, (time.Since(began) - silent).Seconds(), 5)
				here.Close()
				there.Close()
			})
		})
	}
}

// A deadline that the app set before does not count.
func TestOldDeadline(t *testing.T) {
	a, b := pair(t)
	for _, s := range []net.Conn{a, b} {
		require.NoError(t, s.SetDeadline(time.Unix(1, 0)))
	}
	sent, received := move(t, a, b, []block.Source{source("f", random(1000, 1))}, nil, t.TempDir(), block.ReceiveOptions{})
	require.NoError(t, sent.err)
	require.NoError(t, received.err)
}

type noDeadlines struct{ net.Conn }

var errNoDeadlines = errors.New("no deadlines")

func (noDeadlines) SetDeadline(time.Time) error { return errNoDeadlines }

// A stream that does not support deadlines is refused, since its calls could
// never be ended.
func TestNoDeadlines(t *testing.T) {
	a, _ := pair(t)
	_, err := block.Send(t.Context(), noDeadlines{a}, []block.Source{source("f", nil)}, block.SendOptions{})
	require.ErrorIs(t, err, errNoDeadlines)
	_, err = block.Receive(t.Context(), noDeadlines{a}, nil, nil, block.ReceiveOptions{})
	require.ErrorIs(t, err, errNoDeadlines)
}
