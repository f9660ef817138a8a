package turn

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTurn(t *testing.T) {
	turn := New()
	require.True(t, turn.TakeNow())
	require.False(t, turn.TakeNow())
	turn.Release()
	turn.Take()
	turn.Release()
	require.True(t, turn.TakeNow())
}

// A bubble's clock advances while a call waits for its turn.
func TestTurnInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turn := New()
		turn.Take()
		go func() {
			time.Sleep(time.Hour)
			turn.Release()
		}()
		turn.Take()
	})
}

func TestEnd(t *testing.T) {
	var end End
	first, second := errors.New("first"), errors.New("second")
	calls := 0
	set := func() error { calls++; return second }

	require.NoError(t, end.Reason())
	require.Equal(t, second, end.Before(set))
	require.True(t, end.Begin(first))
	require.False(t, end.Begin(second))
	require.Equal(t, first, end.Reason())
	require.Equal(t, first, end.Before(set))
	require.Equal(t, 1, calls, "the user's deadlines have no effect after the end")
	end.Do(func() { calls++ })
	require.Equal(t, 2, calls)
}

// The end reaches callers that asked before it and callers that ask after it,
// however they race with it.
func TestEndDone(t *testing.T) {
	var end End
	done := end.Done()
	select {
	case <-done:
		t.Fatal("over before its end")
	default:
	}
	end.Begin(net.ErrClosed)
	end.Begin(net.ErrClosed)
	<-done
	<-end.Done()

	for range 1000 {
		var end End
		go end.Begin(net.ErrClosed)
		go end.Begin(net.ErrClosed)
		<-end.Done()
		require.Error(t, end.Reason())
	}
}

// Whatever deadline the user sets while a stream ends, that of the end is the
// last.
func TestEndRace(t *testing.T) {
	for range 1000 {
		var end End
		var deadline time.Time
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = end.Before(func() error { deadline = time.Time{}; return nil })
		}()
		end.Begin(errors.New("over"))
		end.Do(func() { deadline = Past })
		<-done
		require.Equal(t, Past, deadline)
	}
}

func TestAllocations(t *testing.T) {
	var end End
	turn := New()
	deadline := time.Now()
	set := func(t time.Time) error { deadline = t; return nil }
	require.Zero(t, testing.AllocsPerRun(100, func() {
		turn.Take()
		_ = end.Reason()
		_ = end.Before(func() error { return set(Past) })
		turn.Release()
	}))
	require.Equal(t, Past, deadline)
}
