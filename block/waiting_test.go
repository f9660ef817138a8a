package block

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/proto"
)

// offerTo opens a stream from a given sender to a Receive that waits for its
// app, and writes b. It returns Receive's error, and the abort message that the
// sender gets.
func offerTo(t *testing.T, from string, b []byte, decide func(context.Context, *Offer) error) (<-chan error, <-chan message) {
	here, there := net.Pipe()
	ended, told := make(chan error, 1), make(chan message, 1)
	go func() {
		_, err := Receive(t.Context(), here, decide, nil, ReceiveOptions{From: from})
		here.Close()
		ended <- err
	}()
	go func() {
		d := proto.NewDecoder(there)
		var m message
		for m.DecodeFrom(d) == nil && m.kind != kindAbort {
		}
		there.Close()
		told <- m
	}()
	go there.Write(b)
	return ended, told
}

// The number of offers that wait for a decision is limited, over all transfers
// and for each sender, and the senders of those beyond are told why. A decision
// makes room.
func TestWaitingRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan error)
		decide := func(context.Context, *Offer) error { return <-answer }
		complete := say(hello{}, file("a", 1), kindOffered)
		open := say(hello{}, file("a", 1))
		var ended []<-chan error
		for i := range maxWaiting / 2 {
			from := fmt.Sprint("stranger ", i)
			for _, b := range [][]byte{complete, open} {
				e, _ := offerTo(t, from, b, decide)
				ended = append(ended, e)
			}
		}
		synctest.Wait()
		e, told := offerTo(t, "stranger 0", complete, decide)
		require.ErrorIs(t, <-e, ErrBusy)
		m := <-told
		require.Equal(t, codeOf(ErrBusy), m.code)
		require.Equal(t, "2 offers of yours are waiting already", m.reason)
		e, told = offerTo(t, "another", complete, decide)
		require.ErrorIs(t, <-e, ErrBusy)
		require.Contains(t, (<-told).reason, "16 offers")

		answer <- Refuse("no")
		synctest.Wait()
		e, _ = offerTo(t, "another", complete, decide)
		answer <- Refuse("no")
		go func() {
			for range maxWaiting/2 - 1 + 1 - 1 {
				answer <- Refuse("no")
			}
		}()
		require.ErrorIs(t, <-e, ErrRefused)
		for _, e := range ended { // the unfinished ones have ended, too
			require.Error(t, <-e)
		}
		synctest.Wait()
		require.Equal(t, waitingRoom{by: map[string]int{}}, waitingRoom{offers: waiting.offers, bytes: waiting.bytes, by: waiting.by})
	})
}

// All waiting offers together take at most 32 MiB.
func TestWaitingBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := say(folder(strings.Repeat("x", maxPath)))
		b := append(say(hello{}), bytes.Repeat(long, 11<<20/len(long)+1)...)
		var ended []<-chan error
		for i := range 3 {
			e, _ := offerTo(t, fmt.Sprint(i), b, nil)
			ended = append(ended, e)
			synctest.Wait()
		}
		require.ErrorIs(t, <-ended[2], ErrBusy)
		for _, e := range ended[:2] { // these two do not continue
			require.ErrorIs(t, <-e, ErrTimeout)
		}
		synctest.Wait()
		require.Zero(t, waiting.bytes)
	})
}

// An offer must arrive within 60 s, whatever its content, and be decided on
// within the time that the app sets.
func TestAnswerWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		here, there := net.Pipe()
		go io.Copy(io.Discard, there)
		go func() {
			there.Write(say(hello{}, file("a", 1)))
			for {
				if _, err := there.Write([]byte{0}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		_, err := Receive(t.Context(), here, nil, nil, ReceiveOptions{})
		require.ErrorIs(t, err, ErrUnanswered)
		require.InDelta(t, 60, time.Since(began).Seconds(), 5)
		here.Close()
		there.Close()
		synctest.Wait()
		time.Sleep(2 * time.Second) // simulated time, in which the other side notices
	})
	for _, test := range []struct{ within, took, want time.Duration }{
		{0, 2 * time.Minute, 60 * time.Second}, {0, 50 * time.Second, 0}, {time.Hour, 59 * time.Minute, 0}, {-1, 61 * time.Minute, 0}, {time.Second, time.Minute, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			here, there := net.Pipe()
			sent := make(chan error, 1)
			go func() {
				_, err := Send(t.Context(), here, []Source{{Name: "a", Reader: zeroReader{}, Size: 1}}, SendOptions{})
				here.Close()
				sent <- err
			}()
			_, err := Receive(t.Context(), there, func(ctx context.Context, o *Offer) error {
				select {
				case <-time.After(test.took):
				case <-ctx.Done():
				}
				o.Part(0, 0, 1, make(buf, 1))
				return nil
			}, nil, ReceiveOptions{AnswerWithin: test.within})
			there.Close()
			if test.want == 0 {
				require.NoError(t, err)
				require.NoError(t, <-sent)
				return
			}
			require.ErrorIs(t, err, ErrUnanswered)
			require.ErrorIs(t, <-sent, ErrUnanswered)
			require.InDelta(t, test.want.Seconds(), time.Since(began).Seconds(), 5)
		})
	}
}

// Before an offer is accepted, no tables are allocated for it.
func TestOfferIsCheap(t *testing.T) {
	o := newOffer()
	e := entry{kind: kindFile, path: "x"}
	require.NoError(t, o.add(&e))
	per := testing.AllocsPerRun(1000, func() {
		if err := o.add(&e); err != nil {
			t.Fatal(err)
		}
	})
	require.Less(t, per, 1.0)
	require.Nil(t, o.verdicts)
	for range o.All() {
	}
	require.Nil(t, o.verdicts)
	require.Empty(t, o.parts)
}

// insist acts as a receiver that wants everything and then sends the same
// message a thousand times, in a bubble. It returns the number of bytes from
// the sender, and the error of Send.
func insist(t *testing.T, sources []Source, entries int, m message) (int64, error) {
	here, there := net.Pipe()
	come := make(chan int64, 1)
	go func() {
		r := bufio.NewReader(there)
		d := proto.NewDecoder(r)
		new(hello).DecodeFrom(d)
		for range entries + 1 {
			new(entry).DecodeFrom(d)
		}
		go func() {
			n, _ := io.Copy(io.Discard, r)
			come <- n
		}()
		there.Write(append([]byte{byte(kindAnswer)}, strings.Repeat("\x01", entries)...))
		b, _ := m.AppendBinary(nil)
		for range 1000 {
			if _, err := there.Write(b); err != nil {
				return
			}
		}
	}()
	_, err := Send(t.Context(), here, sources, SendOptions{})
	here.Close()
	defer there.Close()
	return <-come, err
}

// A receiver cannot make a sender work without end.
func TestInsistent(t *testing.T) {
	files := fstest.MapFS{}
	for i := range 600 {
		files[fmt.Sprintf("%04d", i)] = &fstest.MapFile{}
	}
	many := []Source{{Name: "d", FS: files, Path: "."}}
	large := []Source{{Name: "large", Reader: zeroReader{}, Size: 1 << 20}}
	synctest.Test(t, func(t *testing.T) {
		_, err := insist(t, many, 601, message{kind: kindFailed, entry: 600})
		require.ErrorIs(t, err, ErrProtocol)
		come, err := insist(t, large, 1, message{kind: kindRepair})
		require.ErrorIs(t, err, ErrProtocol)
		require.LessOrEqual(t, come, int64(1<<20+4*(128<<10+100)))
	})

	l := newLot(0, 0)
	l.verdicts, l.end = []verdict{verdictWhole}, 1
	s := &sender{transfer: newTransfer(t.Context(), nil), list: spool{limit: maxList}}
	e := file("huge", 1<<40)
	_, err := s.list.add(&e)
	require.NoError(t, err)
	for i := range uint32(maxMended) {
		require.NoError(t, s.queue(l, request{0, i}))
	}
	require.ErrorIs(t, s.queue(l, request{0, maxMended}), ErrCorrupt)
}
