package library_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// A holding is a stream that holds back the last byte of the first message, and
// records when it sent it.
type holding struct {
	*p2p.Stream
	hold time.Duration
	sent time.Time
}

func (s *holding) Write(b []byte) (int, error) {
	last := len(b) - 1
	if _, err := s.Stream.Write(b[:last]); err != nil {
		return 0, err
	}
	time.Sleep(s.hold)
	s.sent = time.Now()
	_, err := s.Stream.Write(b[last:])
	return len(b), err
}

// refusal opens a tunnel that must be refused, and returns how long the refusal
// took after the last byte.
func (d *device) refusal(t testing.TB, to *device, r library.Record, hold time.Duration) (time.Duration, error) {
	s, session := d.stream(t, to.id.Remote())
	h := &holding{Stream: s, hold: hold}
	session.Stream = h
	_, err := tunnel.Open(t.Context(), session, tunnel.NewCredential(r.ID, d.instance, r.Secret.Bytes()),
		tunnel.Member{Instance: to.own(), Node: to.id.Remote()})
	if !errors.Is(err, p2p.ErrTunnelRefused) {
		return 0, fmt.Errorf("the tunnel was not refused: %w", err)
	}
	return time.Since(h.sent), nil
}

// TestRefusalTimes: the time that a refusal takes does not show whether the
// library exists, whether or not the first message came in one piece.
func TestRefusalTimes(t *testing.T) {
	const tries, delay = 40, 10 * time.Millisecond
	for name, hold := range map[string]time.Duration{"at once": 0, "held": 5 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, network *p2ptest.Network) {
				b, stranger := newDevice(), newDevice()
				b.cfg.Limits = plenty
				b.start(t, network, p2p.Config{Logger: slog.New(&b.log)})
				stranger.start(t, network, p2p.Config{})
				network.Link(b.Identity(), stranger.Identity()).SetDelay(delay)
				kinds := refused(t, b)
				pass(time.Second)
				var all sync.WaitGroup
				for i := range 2 * tries {
					all.Go(func() {
						took, err := stranger.refusal(t, b, kinds[i%2], hold)
						if err != nil || took != delay+250*time.Millisecond+delay {
							t.Errorf("kind %d: refused after %v, %v", i%2, took, err)
						}
					})
				}
				all.Wait()
				pass(time.Second)
				require.Equal(t, tries, b.log.count(tunnel.ErrUnauthorized))
				require.Equal(t, tries, b.log.count(tunnel.ErrHandshake))
			})
		})
	}
}

// refused gives a device two libraries, and returns the records for two kinds
// of refusal: that of a library on the device in which a stranger is no member,
// and that of a library that does not exist there.
func refused(t testing.TB, d *device) [2]library.Record {
	here := d.add(t, newDevice()).record()
	d.add(t)
	return [2]library.Record{here, {ID: uuid.New(), Secret: library.NewSecret()}}
}

// BenchmarkRefusal measures, over QUIC, how long each of the two kinds of
// refusal takes, in random order.
func BenchmarkRefusal(b *testing.B) {
	for i, name := range []string{"no member", "no such library"} {
		b.Run(name, func(b *testing.B) {
			to, stranger := newDevice(), newDevice()
			to.cfg.Limits = plenty
			addr := to.startQUIC(b)
			stranger.startQUIC(b)
			meets(b, stranger.P2P, to.id.Remote(), addr)
			r := refused(b, to)[i]
			for b.Loop() {
				_, err := stranger.refusal(b, to, r, 0)
				require.NoError(b, err)
			}
		})
	}
}
