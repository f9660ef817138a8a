package tcp

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

var errTest = errors.New("what the test wants")

// A fakeStream counts how often it was reset.
type fakeStream struct {
	p2p.RawStream
	resets atomic.Int32
}

func (s *fakeStream) Reset(p2p.ResetCode) { s.resets.Add(1) }

// after returns a function that gives s or err after d.
func after(d time.Duration, s *fakeStream, err error) openFunc {
	return func(ctx context.Context) (p2p.RawStream, error) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, &p2p.DialError{Err: context.Cause(ctx)}
		}
		if err != nil {
			return nil, &p2p.DialError{Err: err}
		}
		return s, nil
	}
}

func TestEither(t *testing.T) {
	const soon, never = 10 * time.Millisecond, time.Hour
	for name, c := range map[string]struct {
		first        time.Duration
		firstErr     error
		second       time.Duration
		secondErr    error
		wantSecond   bool
		wantErr      bool
		took         time.Duration
		secondDialed bool

		loserAnswered bool
	}{
		"an answer in time":                     {first: soon, second: soon, took: soon},
		"an answer when the other has begun":    {first: 900 * time.Millisecond, second: soon, took: 900 * time.Millisecond, secondDialed: true, loserAnswered: true},
		"silence":                               {first: never, second: soon, took: time.Second, wantSecond: true, secondDialed: true},
		"silence, and a slow alternative":       {first: never, second: 2 * time.Second, took: 2400 * time.Millisecond, wantSecond: true, secondDialed: true},
		"a failure":                             {first: soon, firstErr: errTest, second: soon, took: 2 * soon, wantSecond: true, secondDialed: true},
		"silence, and an alternative's failure": {first: 3 * time.Second, second: soon, secondErr: errTest, took: 3 * time.Second, secondDialed: true},
		"two failures":                          {first: soon, firstErr: errTest, second: soon, secondErr: errTest, took: 2 * soon, wantErr: true, secondDialed: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := &fakeStream{}, &fakeStream{}
				dialed, second := false, after(c.second, two, c.secondErr)
				id := identity.New().Remote()
				began := time.Now()
				s, err := either(t.Context(), id, after(c.first, one, c.firstErr), func(ctx context.Context) (p2p.RawStream, error) {
					dialed = true
					return second(ctx)
				})
				require.Equal(t, c.took, time.Since(began))
				synctest.Wait()
				require.Equal(t, c.secondDialed, dialed)
				if c.wantErr {
					var failed *p2p.DialError
					require.ErrorIs(t, err, errTest)
					require.ErrorAs(t, err, &failed)
					require.Equal(t, id, failed.Peer)
					return
				}
				require.NoError(t, err)
				winner, loser := one, two
				if c.wantSecond {
					winner, loser = two, one
				}
				require.Same(t, winner, s)
				require.Zero(t, winner.resets.Load())
				require.Equal(t, c.loserAnswered, loser.resets.Load() == 1, "a stream that is not needed must be reset")
			})
		})
	}
}
