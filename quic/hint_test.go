package quic_test

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/internal/turn"
	v1 "github.com/sdp2p/p2p/internal/v1"
	"github.com/sdp2p/p2p/proto"
	"github.com/sdp2p/p2p/quic"
)

// A late peer speaks version 1, but does not say so until it is told to.
type late struct {
	*foreigner
	n      *node
	peer   *p2p.Peer
	answer chan struct{}              // when closed, the peer says what it speaks
	asked  chan string                // protocols that were asked for
	silent atomic.Pointer[chan error] // may be nil; gets each stream's begin and end
}

// newLate returns a late peer that a node takes for a version 2 peer. It sends
// a greeting on each stream, and then echoes.
func newLate(t *testing.T) *late {
	f := &late{
		foreigner: newForeigner(t, ed25519Key(t, randomBytes(32))), n: start(t, p2p.Config{}, quic.Config{}),
		answer: make(chan struct{}), asked: make(chan string, 64),
	}
	f.mux.AddHandlerWithFunc("/any", func(protocol string) bool {
		f.asked <- protocol
		if protocol == "/sdp2p/2/meta" {
			select {
			case <-f.answer:
			case <-t.Context().Done():
			}
		}
		return false
	}, nil)
	f.mux.AddHandler("/sdp2p/1", func(_ string, s io.ReadWriteCloser) error {
		d := proto.NewDecoder(s)
		var mode v1.Mode
		var hello v1.Hello
		if err := errors.Join(mode.DecodeFrom(d), hello.DecodeFrom(d)); err != nil {
			return err
		}
		if told := f.silent.Load(); told != nil {
			*told <- nil
			_, err := io.Copy(io.Discard, s)
			*told <- err
			return err
		}
		answer, _ := v1.Metadata{"name": "late"}.AppendBinary(nil)
		s.Write(append(answer, "hi "...))
		io.Copy(s, s)
		return s.Close()
	})
	f.peer = f.n.discovers(t, f.foreigner, 2)
	return f
}

// open opens a stream to a peer that is expected to speak version 2.
func (f *late) open(t testing.TB) *p2p.Stream {
	t.Helper()
	s, err := f.peer.NewStream(within(t))
	require.NoError(t, err)
	return s
}

// tells lets the peer say what it speaks, and waits until the node knows.
func (f *late) tells(t *testing.T) {
	close(f.answer)
	require.Eventually(t, func() bool {
		s := f.open(t)
		defer s.Reset(p2p.ErrCanceled)
		return s.Version() == 1
	}, patience, time.Millisecond)
}

// never requires that the peer was not asked for a protocol.
func (f *late) never(t testing.TB, protocol string) {
	t.Helper()
	for len(f.asked) > 0 {
		require.NotEqual(t, protocol, <-f.asked)
	}
}

// If a peer that is expected to speak version 2 turns out not to before the
// stream was first used, the stream becomes one of version 1.
func TestWrongHint(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(t *testing.T, s *p2p.Stream){
		"write": func(t *testing.T, s *p2p.Stream) { exchangeLate(t, s, "hello") },
		"read": func(t *testing.T, s *p2p.Stream) {
			got := make([]byte, 3)
			_, err := io.ReadFull(s, got)
			require.NoError(t, err)
			require.Equal(t, "hi ", string(got))
			require.NoError(t, s.CloseWrite())
			_, err = s.Read(got)
			require.Equal(t, io.EOF, err)
		},
		"close": func(t *testing.T, s *p2p.Stream) {
			require.NoError(t, s.CloseWrite())
			got, err := io.ReadAll(s)
			require.NoError(t, err)
			require.Equal(t, "hi ", string(got))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLate(t)
			s := f.open(t)
			require.Equal(t, 2, s.Version())
			f.tells(t)
			use(t, s)
			require.Equal(t, 1, s.Version())
			require.True(t, f.peer.Verified())
			require.NoError(t, s.Close())
			f.never(t, "/sdp2p/2")
		})
	}
}

func exchangeLate(t testing.TB, s *p2p.Stream, text string) {
	t.Helper()
	_, err := io.WriteString(s, text)
	require.NoError(t, err)
	exchangeRest(t, s, "hi "+text)
}

// While the introduction goes on, calls that lose nothing by waiting for it do
// so.
func TestWrongHintIsAwaited(t *testing.T) {
	t.Parallel()
	f := newLate(t)
	read, ended, both := f.open(t), f.open(t), f.open(t)
	got := make(chan string, 3)
	go func() {
		b, err := io.ReadAll(io.LimitReader(read, 3))
		got <- string(b)
		if err != nil {
			t.Error(err)
		}
	}()
	require.NoError(t, ended.CloseWrite())
	require.NoError(t, both.SetReadDeadline(turn.Past))
	_, err := both.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	f.tells(t)
	require.Equal(t, "hi ", receive(t, got))
	rest, err := io.ReadAll(ended)
	require.NoError(t, err)
	require.Equal(t, "hi ", string(rest))
	require.NoError(t, both.SetReadDeadline(time.Time{}))
	exchangeLate(t, both, "and more")
	for _, s := range []*p2p.Stream{read, ended, both} {
		require.NoError(t, s.Close())
	}
	f.never(t, "/sdp2p/2")
}

// Deadlines that were set before also apply to the stream of version 1.
func TestWrongHintKeepsDeadlines(t *testing.T) {
	t.Parallel()
	f := newLate(t)
	s := f.open(t)
	f.tells(t)
	require.NoError(t, s.SetWriteDeadline(turn.Past))
	_, err := s.Write([]byte("a"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, s.SetReadDeadline(turn.Past))
	require.NoError(t, s.SetWriteDeadline(time.Time{}))
	_, err = s.Write([]byte("b"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, s.SetReadDeadline(time.Time{}))
	exchangeRest(t, s, "hi b")

	f = newLate(t)
	s = f.open(t)
	require.NoError(t, s.SetWriteDeadline(turn.Past))
	f.tells(t)
	_, err = io.ReadFull(s, make([]byte, 3)) // settles which version the stream has
	require.NoError(t, err)
	_, err = s.Write([]byte("c"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	exchangeRest(t, s, "")
}

func exchangeRest(t testing.TB, s *p2p.Stream, want string) {
	t.Helper()
	require.NoError(t, s.CloseWrite())
	got, err := io.ReadAll(s)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	require.NoError(t, s.Close())
}

// If the app has sent bytes already, the stream fails, nothing is sent again,
// and the error says what to do. The node remembers the peer's version for
// good.
func TestWrongHintTooLate(t *testing.T) {
	t.Parallel()
	f := newLate(t)
	s, other := f.open(t), f.open(t)
	_, err := s.Write([]byte("secret"))
	require.NoError(t, err)
	_, err = s.Read(make([]byte, 1))
	require.ErrorContains(t, err, "does not speak")
	require.ErrorContains(t, err, "a new stream will")
	s.Close()

	errs := make(chan error, 2) // while the introduction goes on
	ctx := within(t)
	go func() {
		s, err := f.peer.NewStream(ctx)
		if err == nil && s.Version() != 1 {
			err = errors.New("it is opened before it is known how")
		}
		if err == nil {
			_, err = s.Write([]byte("y"))
			s.Reset(p2p.ErrCanceled)
		}
		errs <- err
	}()
	go func() {
		_, err := other.Write([]byte("x"))
		errs <- err
	}()
	time.AfterFunc(50*time.Millisecond, func() { close(f.answer) }) // the two wait by then, or learn it later
	require.NoError(t, receive(t, errs))
	require.NoError(t, receive(t, errs))
	exchangeRest(t, other, "hi x")

	require.NoError(t, f.ClosePeer(f.Peers()[0]))
	until(t, f.n, func() bool { return !f.peer.Connected() })
	s = f.open(t)
	require.Equal(t, 1, s.Version(), "also on another connection, although its hint is the same")
	exchangeLate(t, s, "and again")
}

// If a stream ends before its version is settled, its pending calls return.
func TestWrongHintUndecided(t *testing.T) {
	t.Parallel()
	f := newLate(t)
	results := make(chan error, 3)
	read := func(s *p2p.Stream) { _, err := s.Read(make([]byte, 1)); results <- err }
	one, two := f.open(t), f.open(t)
	go read(one)
	one.Reset(p2p.FirstAppCode)
	var reset *p2p.ResetError
	require.ErrorAs(t, receive(t, results), &reset)
	require.Equal(t, p2p.FirstAppCode, reset.Code)

	go read(two)
	receive(t, f.asked) // the peer has the connection, too
	require.NoError(t, f.ClosePeer(f.Peers()[0]))
	require.ErrorIs(t, receive(t, results), p2p.ErrConnectionLost)
	two.Close()
}

// If it ends while a stream of version 1 is being opened, they return as well.
func TestWrongHintWhileOpening(t *testing.T) {
	t.Parallel()
	f := newLate(t)
	one := f.open(t)
	f.tells(t)
	told := make(chan error, 2)
	f.silent.Store(&told)
	wrote := make(chan error, 1)
	go func() { _, err := one.Write([]byte("x")); wrote <- err }()
	require.NoError(t, receive(t, told))
	one.Reset(p2p.FirstAppCode)
	var reset *p2p.ResetError
	require.ErrorAs(t, receive(t, wrote), &reset)
	require.Equal(t, p2p.FirstAppCode, reset.Code)
	require.Error(t, receive(t, told))
}
