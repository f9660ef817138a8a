package ancestor

import (
	"context"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
)

// A stream is a net.Conn.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		served := make(chan *p2p.Stream, 1)
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			served <- s
			<-ctx.Done()
			return nil
		}))
		peer, _ := join(t, a, b, la, lb)
		s, err := peer.NewStream(t.Context())
		if err != nil {
			return nil, nil, nil, err
		}
		c2 = <-served
		return s, c2, func() {
			s.Reset(p2p.ErrCanceled)
			c2.(*p2p.Stream).Reset(p2p.ErrCanceled)
			a.Shutdown(context.Background())
			b.Shutdown(context.Background())
		}, nil
	})
}

// Resets carry their code, even if the other side does not read; a cut does not
// look like the end of a stream.
func TestResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		served := make(chan *p2p.Stream, 1)
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
			served <- s
			<-ctx.Done()
			return nil
		}))
		ofB, _ := join(t, a, b, la, lb)
		open := func() (ours, theirs *p2p.Stream) {
			s, err := ofB.NewStream(t.Context())
			require.NoError(t, err)
			return s, <-served
		}
		code := func(err error, code p2p.ResetCode) {
			t.Helper()
			var reset *p2p.ResetError
			require.ErrorAs(t, err, &reset)
			require.True(t, reset.Remote)
			require.Equal(t, code, reset.Code)
		}
		ours, theirs := open()
		theirs.Reset(p2p.FirstAppCode + 7)
		_, err := ours.Read(make([]byte, 1))
		code(err, p2p.FirstAppCode+7)
		_, err = ours.Write(make([]byte, 1))
		code(err, p2p.FirstAppCode+7)

		ours, theirs = open()
		_, err = theirs.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, theirs.Close())
		go io.Copy(ours, endless{}) // it learns in the end that the other side does not read
		said, err := io.ReadAll(ours)
		require.NoError(t, err)
		require.Equal(t, "last words", string(said))
		time.Sleep(6 * time.Second)
		_, err = ours.Write(make([]byte, 1))
		code(err, p2p.ErrCanceled)

		ours, _ = open()
		la.running().best(b.Identity()).Close()
		_, err = ours.Read(make([]byte, 1))
		require.ErrorIs(t, err, p2p.ErrConnectionLost)
	})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A deadline that has passed loses no data: the peer may go on as if there had
// been none.
func TestDeadlineKeepsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, la := alone(t, nil)
		b, lb := alone(t, p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
			_, err := io.CopyN(s, endless{}, 8<<20)
			return err
		}))
		ofB, _ := join(t, a, b, la, lb)
		s, err := ofB.NewStream(t.Context())
		require.NoError(t, err)
		got, buf := 0, make([]byte, 100<<10)
		for got < 8<<20 {
			s.SetReadDeadline(time.Unix(1, 0))
			_, err = s.Read(buf)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			s.SetReadDeadline(time.Now().Add(time.Hour))
			n, err := s.Read(buf)
			require.NoError(t, err)
			got += n
		}
	})
}
