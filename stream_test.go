package p2p_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// streamPair returns both ends of one stream, as two nodes see them.
func streamPair(t testing.TB) (out, in *p2p.Stream, near, far *fakeStream) {
	served := make(chan *p2p.Stream)
	_, server, client := pair(t, p2p.Config{Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		served <- s
		<-ctx.Done()
		return nil
	})})
	_, dialler, peer := pair(t, p2p.Config{})
	near, far = newFakeStreams()
	dialler.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return near, nil
	}
	out, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	server.scope.Accept(client.Identity(), far)
	return out, <-served, near, far
}

func TestStreamIsAConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		out, in, _, _ := streamPair(t)
		return out, in, func() { out.Close(); in.Close() }, nil
	})
}

func TestStreamSaysWhoAndHow(t *testing.T) {
	node, l, peer := pair(t, p2p.Config{})
	s, _ := opened(t, l, peer)
	defer s.Reset(p2p.ErrCanceled)
	require.True(t, s.Peer() == peer)
	require.Equal(t, peer.Identity(), s.RemoteIdentity())
	require.Equal(t, node.Identity().Addr(), s.LocalAddr())
	require.Equal(t, peer.Identity().Addr(), s.RemoteAddr())
	local, remote := s.Endpoints()
	require.Equal(t, []string{"near", "far"}, []string{local.String(), remote.String()})
	require.Equal(t, 2, s.Version())
	require.Empty(t, s.Route())
	_, ok := s.Exporter("label")
	require.False(t, ok)

	near, _ := newFakeStreams()
	near.exporter, near.version, near.path = &[32]byte{7}, 1, p2p.Path{Kind: p2p.Relay}
	l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
		return near, nil
	}
	s, err := peer.NewStream(t.Context())
	require.NoError(t, err)
	defer s.Reset(p2p.ErrCanceled)
	key, ok := s.Exporter("label")
	require.True(t, ok)
	require.Equal(t, [32]byte{7}, key)
	require.Equal(t, p2p.Path{Kind: p2p.Relay}, s.Path())
	require.Equal(t, 1, s.Version())
}

func TestStreamCloseWrite(t *testing.T) {
	out, in, near, far := streamPair(t)
	_, err := out.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, out.CloseWrite())
	require.NoError(t, out.CloseWrite())
	_, err = out.Write([]byte("more"))
	require.ErrorIs(t, err, net.ErrClosed)
	question, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "question", string(question))
	_, err = in.Write([]byte("answer")) // the other direction goes on
	require.NoError(t, err)
	require.NoError(t, in.Close())
	answer, err := io.ReadAll(out)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	require.NoError(t, out.Close())
	require.NoError(t, out.Close())
	require.ErrorIs(t, out.CloseWrite(), net.ErrClosed)
	// Each side has read the other's end: nothing was left to wait for.
	require.EqualValues(t, 1, near.ends.Load())
	require.EqualValues(t, 1, far.ends.Load())
}

func TestStreamCloseDiscardsWhatComes(t *testing.T) {
	t.Run("until the peer's end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l, peer := pair(t, p2p.Config{})
			s, far := opened(t, l, peer)
			_, err := s.Write([]byte("last words"))
			require.NoError(t, err)
			require.NoError(t, s.Close())
			_, err = s.Read(make([]byte, 1))
			require.ErrorIs(t, err, net.ErrClosed)
			_, err = s.Write([]byte("x"))
			require.ErrorIs(t, err, net.ErrClosed)
			require.ErrorIs(t, s.SetDeadline(time.Now()), net.ErrClosed)
			time.Sleep(4 * time.Second)
			_, err = far.Write(make([]byte, 1<<20-1))
			require.NoError(t, err)
			words, err := io.ReadAll(far)
			require.NoError(t, err)
			require.Equal(t, "last words", string(words))
			require.NoError(t, far.CloseWrite())
			synctest.Wait()
			_, err = far.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err, "the stream ended without a reset")
		})
	})
	t.Run("for 5 s", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l, peer := pair(t, p2p.Config{})
			s, far := opened(t, l, peer)
			require.NoError(t, s.Close())
			for range 4 {
				time.Sleep(time.Second)
				_, err := far.Write([]byte("x"))
				require.NoError(t, err)
			}
			time.Sleep(2 * time.Second)
			_, err := far.Write([]byte("x"))
			require.ErrorIs(t, err, p2p.ErrCanceled)
			_, err = far.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
		})
	})
	t.Run("up to 1 MiB", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, l, peer := pair(t, p2p.Config{})
			s, far := opened(t, l, peer)
			require.NoError(t, s.Close())
			n, err := far.Write(make([]byte, 8<<20))
			require.ErrorIs(t, err, p2p.ErrCanceled)
			require.Less(t, n, 2<<20)
			require.GreaterOrEqual(t, n, 1<<20)
			require.Equal(t, io.EOF, readError(far))
		})
	})
}

func readError(r io.Reader) error {
	_, err := r.Read(make([]byte, 1))
	return err
}

func TestStreamCloseEndsPendingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, peer := pair(t, p2p.Config{})
		s, far := opened(t, l, peer)
		read, written := make(chan error, 1), make(chan error, 1)
		go func() { read <- readError(s) }()
		go func() {
			_, err := s.Write(make([]byte, 10*fakeRoom))
			written <- err
		}()
		synctest.Wait()
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-read, net.ErrClosed)
		require.ErrorIs(t, <-written, net.ErrClosed)
		_, err := io.ReadAll(far)
		require.ErrorIs(t, err, p2p.ErrCanceled, "a Write that was cut short does not look like the end of the stream")
	})
	synctest.Test(t, func(t *testing.T) { // if only a Read is pending, the stream ends cleanly
		_, l, peer := pair(t, p2p.Config{})
		s, far := opened(t, l, peer)
		read := make(chan error, 1)
		go func() { read <- readError(s) }()
		synctest.Wait()
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-read, net.ErrClosed)
		require.Equal(t, io.EOF, readError(far))
	})
}

// TestStreamCloseWhileADeadlineIsSet closes the stream just while another
// goroutine clears the deadline: the deadline that Close sets must be the last
// one.
func TestStreamCloseWhileADeadlineIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := newFakeStreams()
		proceed := make(chan struct{})
		near.onRead = func(deadline time.Time) {
			if deadline.IsZero() {
				<-proceed
			}
		}
		_, l, peer := pair(t, p2p.Config{})
		l.dial = func(context.Context, identity.RemoteIdentity, []p2p.Candidate) (p2p.RawStream, error) {
			return near, nil
		}
		s, err := peer.NewStream(t.Context())
		require.NoError(t, err)
		go s.SetReadDeadline(time.Time{})
		synctest.Wait()
		require.NoError(t, s.Close())
		// The goroutine of Close waits for a mutex, for which synctest.Wait
		// cannot wait.
		for range 10_000 {
			runtime.Gosched()
		}
		close(proceed)
		time.Sleep(drainTime + time.Second)
		synctest.Wait()
		require.EqualValues(t, 1, near.ends.Load(), "Close has finished")
		s.Reset(p2p.ErrCanceled)
	})
}

const drainTime = 5 * time.Second

func TestStreamReset(t *testing.T) {
	for code, want := range map[p2p.ResetCode]p2p.ResetCode{
		p2p.ErrCanceled:        p2p.ErrCanceled,
		p2p.ErrNoRoute:         p2p.ErrNoRoute,
		p2p.ErrShuttingDown:    p2p.ErrShuttingDown,
		p2p.ErrTunnelRefused:   p2p.ErrTunnelRefused,
		8:                      p2p.ErrCanceled,
		p2p.FirstAppCode - 1:   p2p.ErrCanceled,
		p2p.FirstAppCode:       p2p.FirstAppCode,
		0x123:                  0x123,
		p2p.LastAppCode:        p2p.LastAppCode,
		p2p.LastAppCode + 1:    p2p.ErrCanceled,
		p2p.ResetCode(1 << 31): p2p.ErrCanceled,
	} {
		t.Run(fmt.Sprintf("%#x", uint32(code)), func(t *testing.T) {
			out, in, _, _ := streamPair(t)
			pending := make(chan error, 1)
			go func() { pending <- readError(out) }()
			out.Reset(code)
			for err, remote := range map[error]bool{<-pending: false, readError(out): false, readError(in): true} {
				var reset *p2p.ResetError
				require.ErrorAs(t, err, &reset)
				require.Equal(t, p2p.ResetError{Code: want, Remote: remote}, *reset)
				require.ErrorIs(t, err, want)
			}
			_, err := in.Write([]byte("x"))
			require.ErrorIs(t, err, want)
			_, err = out.Write([]byte("x"))
			require.ErrorIs(t, err, want)
			require.ErrorIs(t, out.CloseWrite(), want)
			require.ErrorIs(t, out.SetReadDeadline(time.Time{}), want)
			require.NoError(t, out.Close())
			out.Reset(p2p.ErrBusy) // the first reset counts
			require.ErrorIs(t, readError(in), want)
		})
	}
}

func TestResetTexts(t *testing.T) {
	for code, text := range map[p2p.ResetCode]string{
		p2p.ErrCanceled: "p2p: canceled", p2p.ErrBusy: "p2p: busy: over a limit, try later",
		p2p.ErrShuttingDown: "p2p: shutting down", 8: "p2p: code 0x8",
		0x100: "p2p: application code 0x100", 0x1000: "p2p: code 0x1000", 1 << 31: "p2p: code 0x80000000",
	} {
		require.EqualError(t, code, text)
	}
	require.EqualError(t, &p2p.ResetError{Code: p2p.ErrBusy, Remote: true}, "p2p: stream reset by the peer: busy: over a limit, try later")
	require.EqualError(t, &p2p.ResetError{Code: 0x100}, "p2p: stream reset locally: application code 0x100")
}

// TestStreamResetAfterClose interrupts the work that Close has left to its
// goroutine.
func TestStreamResetAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, peer := pair(t, p2p.Config{})
		s, far := opened(t, l, peer)
		require.NoError(t, s.Close())
		synctest.Wait()
		s.Reset(p2p.ErrBusy)
		require.ErrorIs(t, readError(far), p2p.ErrBusy)
		require.ErrorIs(t, readError(s), net.ErrClosed)
	})
}

func TestStreamDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l, peer := pair(t, p2p.Config{})
		s, far := opened(t, l, peer)
		began := time.Now()
		require.NoError(t, s.SetReadDeadline(began.Add(time.Second)))
		require.ErrorIs(t, readError(s), os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		require.NoError(t, s.SetWriteDeadline(began.Add(2*time.Second)))
		n, err := s.Write(make([]byte, 2*fakeRoom))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, fakeRoom, n)
		require.Equal(t, 2*time.Second, time.Since(began))

		require.NoError(t, s.SetDeadline(time.Time{})) // the stream works again
		_, err = far.Write([]byte("x"))
		require.NoError(t, err)
		require.NoError(t, readError(s))
		_, err = io.CopyN(io.Discard, far, fakeRoom)
		require.NoError(t, err)
		_, err = s.Write([]byte("x"))
		require.NoError(t, err)
		s.Reset(p2p.ErrCanceled)
	})
}

// TestLostConnection checks that a lost connection does not look like the end
// of the stream.
func TestLostConnection(t *testing.T) {
	_, l, peer := pair(t, p2p.Config{})
	s, far := opened(t, l, peer)
	_, err := far.Write([]byte("half a mess"))
	require.NoError(t, err)
	far.lose(errTest)
	_, err = io.ReadAll(s)
	require.ErrorIs(t, err, errTest)
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, errTest)
	require.ErrorIs(t, s.Close(), errTest)
	require.Error(t, readError(s))
}

func TestHandlerResults(t *testing.T) {
	for name, test := range map[string]struct {
		handler func(ctx context.Context, s *p2p.Stream) error
		want    error
		logged  string
	}{
		"nil":           {func(context.Context, *p2p.Stream) error { return nil }, io.EOF, ""},
		"closed":        {func(_ context.Context, s *p2p.Stream) error { return s.Close() }, io.EOF, ""},
		"error":         {func(context.Context, *p2p.Stream) error { return errTest }, p2p.ErrHandlerFailed, ""},
		"code":          {func(context.Context, *p2p.Stream) error { return p2p.ErrBusy }, p2p.ErrBusy, ""},
		"wrapped code":  {func(context.Context, *p2p.Stream) error { return fmt.Errorf("no: %w", p2p.ResetCode(0x123)) }, p2p.ResetCode(0x123), ""},
		"invalid code":  {func(context.Context, *p2p.Stream) error { return p2p.ResetCode(0x99) }, p2p.ErrCanceled, ""},
		"reset":         {func(_ context.Context, s *p2p.Stream) error { s.Reset(p2p.ErrRefused); return nil }, p2p.ErrRefused, ""},
		"panic":         {func(context.Context, *p2p.Stream) error { panic("oh no") }, p2p.ErrHandlerFailed, "oh no"},
		"panicked code": {func(context.Context, *p2p.Stream) error { panic(p2p.ErrBusy) }, p2p.ErrHandlerFailed, "a handler panicked"},
		"nothing":       {func(context.Context, *p2p.Stream) error { var p *p2p.Peer; p.Name(); return nil }, p2p.ErrHandlerFailed, "nil pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logBuffer
				_, l, peer := pair(t, p2p.Config{Handler: p2p.HandlerFunc(test.handler), Logger: log.logger()})
				far := l.accept(peer.Identity())
				require.ErrorIs(t, readError(far), test.want)
				far.Close()
				synctest.Wait()
				if test.logged == "" {
					require.Empty(t, log.String())
				} else {
					require.Contains(t, log.String(), test.logged)
					require.Contains(t, log.String(), "stream_test.go", "the stack")
				}
				require.ErrorIs(t, readError(l.accept(peer.Identity())), test.want, "the node lives on")
			})
		})
	}
}

func TestNoHandler(t *testing.T) {
	var log logBuffer
	_, l, peer := pair(t, p2p.Config{Logger: log.logger()})
	for range 3 {
		require.ErrorIs(t, readError(l.accept(peer.Identity())), p2p.ErrRefused)
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Contains(t, log.String(), "set p2p.Config.Handler")
}

func TestStreamLimit(t *testing.T) {
	for name, test := range map[string]struct{ limit, want int }{
		"default": {0, 200},
		"3":       {3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				echo := p2p.HandlerFunc(func(_ context.Context, s *p2p.Stream) error {
					_, err := io.Copy(s, s)
					return err
				})
				_, l, peer := pair(t, p2p.Config{Handler: echo, MaxStreamsPerPeer: test.limit})
				var open []*fakeStream
				for range test.want {
					open = append(open, l.accept(peer.Identity()))
				}
				require.ErrorIs(t, readError(l.accept(peer.Identity())), p2p.ErrBusy)
				other := newID() // another peer is not affected
				l.connect(t, other)
				foreign := l.accept(other)
				served := func(s *fakeStream) {
					_, err := s.Write([]byte("x"))
					require.NoError(t, err)
					require.NoError(t, readError(s))
				}
				for _, s := range append(open, foreign) {
					served(s)
				}
				foreign.Close()
				// A stream makes room no matter how it ends.
				open[0].Close()
				open[1].Reset(p2p.ErrCanceled)
				open[2].lose(errTest)
				synctest.Wait()
				for range 3 {
					open = append(open, l.accept(peer.Identity()))
					served(open[len(open)-1])
				}
				require.ErrorIs(t, readError(l.accept(peer.Identity())), p2p.ErrBusy)
				for _, s := range open {
					s.Close()
				}
			})
		})
	}
	t.Run("none", func(t *testing.T) {
		served := make(chan struct{}, 300)
		_, l, peer := pair(t, p2p.Config{MaxStreamsPerPeer: -1, Handler: p2p.HandlerFunc(func(ctx context.Context, _ *p2p.Stream) error {
			served <- struct{}{}
			<-ctx.Done()
			return nil
		})})
		for range 300 {
			l.accept(peer.Identity()).Close()
		}
		for range 300 {
			<-served
		}
	})
}

// TestHandlerContext checks that a handler's context is that of the node: only
// a Read tells the handler that its peer has gone.
func TestHandlerContext(t *testing.T) {
	ended := make(chan error, 1)
	node, l, peer := pair(t, p2p.Config{Handler: p2p.HandlerFunc(func(ctx context.Context, s *p2p.Stream) error {
		<-ctx.Done()
		ended <- errors.Join(ctx.Err(), s.SetReadDeadline(time.Time{}), readError(s))
		return nil
	})})
	l.accept(peer.Identity()).Close()
	require.NoError(t, node.Shutdown(t.Context()))
	require.ErrorIs(t, <-ended, context.Canceled)
}

func ExampleResetCode() {
	err := fmt.Errorf("read: %w", &p2p.ResetError{Code: p2p.ErrBusy, Remote: true})
	fmt.Println(err)
	fmt.Println(errors.Is(err, p2p.ErrBusy))
	// Output:
	// read: p2p: stream reset by the peer: busy: over a limit, try later
	// true
}

// Done and Err report the first end that this side has made, in whichever way.
func TestStreamDone(t *testing.T) {
	_, l, peer := pair(t, p2p.Config{})
	for _, c := range []struct {
		end  func(*p2p.Stream)
		want error
	}{
		{func(s *p2p.Stream) { s.Close() }, net.ErrClosed},
		{func(s *p2p.Stream) { s.Reset(p2p.ErrBusy) }, p2p.ErrBusy},
	} {
		s, _ := opened(t, l, peer)
		require.NoError(t, s.Err())
		done := s.Done()
		select {
		case <-done:
			t.Fatal("done before its end")
		default:
		}
		c.end(s)
		<-done
		require.ErrorIs(t, s.Err(), c.want)
		s.Reset(p2p.ErrRefused)
		require.ErrorIs(t, s.Err(), c.want, "only the first end counts")
	}
}
