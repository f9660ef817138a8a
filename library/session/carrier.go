package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-yamux/v5"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	// A tunnel that reaches its maximum age would cut its streams.
	retireAge = tunnel.MaxAge - time.Hour

	maxWindow  = 4 << 20  // of a stream; yamux begins with 256 KiB
	maxMemory  = 96 << 20 // of the windows of all streams: MaxStreams times 256 KiB, and some
	finishTime = 5 * time.Second

	frameSize = 16 << 10 // so that no stream holds up the others for long
)

// config returns the configuration of both sides. The connection below detects
// that the peer is gone, and measures the round trip.
func config() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive, c.MeasureRTTInterval = false, tunnel.MaxAge
	c.ConnectionWriteTimeout = tunnel.MaxAge
	c.AcceptBacklog, c.MaxIncomingStreams = MaxStreams, MaxStreams
	c.MaxStreamWindowSize, c.MaxMessageSize = maxWindow, frameSize
	c.LogOutput = io.Discard // errors reach the streams
	return c
}

// A carrier is a tunnel with its streams, on the side that opens them.
type carrier struct {
	tunnel *tunnel.Conn
	mux    *yamux.Session
	born   time.Time
	slots  chan struct{} // holds a value for each stream

	mu      sync.Mutex // guards what follows
	streams int
	retired bool        // ends with its last stream
	idle    *time.Timer // ends it; runs while there are no streams
}

func newCarrier(c *tunnel.Conn) (*carrier, error) {
	m, err := yamux.Client(c, config(), newMemory())
	if err != nil {
		return nil, err
	}
	k := &carrier{tunnel: c, mux: m, born: time.Now(), slots: make(chan struct{}, MaxStreams)}
	k.idle = time.AfterFunc(IdleTime, k.endIdle)
	return k, nil
}

// stream opens a stream, once there is a place.
func (k *carrier) stream(ctx context.Context) (*Conn, error) {
	select {
	case k.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-k.mux.CloseChan():
		return nil, p2p.ErrConnectionLost
	}
	k.mu.Lock()
	k.streams++
	k.idle.Stop()
	k.mu.Unlock()
	s, err := k.mux.OpenStream(ctx)
	if err != nil {
		k.release()
		return nil, err
	}
	return newConn(s, k.tunnel, k.release), nil
}

// release frees the place of a stream.
func (k *carrier) release() {
	<-k.slots
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.streams--; k.streams > 0 {
		return
	}
	if k.retired {
		k.end()
		return
	}
	k.idle.Reset(IdleTime)
}

// retire reports whether the tunnel is too old for another stream.
func (k *carrier) retire() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.born) < retireAge {
		return false
	}
	k.retired = true
	if k.streams == 0 {
		k.end()
	}
	return true
}

func (k *carrier) endIdle() {
	k.mu.Lock()
	idle := k.streams == 0
	k.mu.Unlock()
	if idle {
		k.end()
	}
}

// end ends the tunnel and its streams, once the data of closed streams has
// arrived. Since yamux would drop data that waits to be sent, end first opens a
// stream that names no route: its refusal shows that everything before it has
// arrived.
func (k *carrier) end() {
	k.idle.Stop()
	go func() {
		defer k.mux.Close()
		defer time.AfterFunc(finishTime, func() { k.mux.Close() }).Stop()
		if s, err := k.mux.OpenStream(context.Background()); err == nil && s.CloseWrite() == nil {
			_, _ = s.Read(make([]byte, 1))
		}
	}()
}

// newMemory returns a function that bounds the windows of a session's streams.
func newMemory() func() (yamux.MemoryManager, error) { return (&memory{most: maxMemory}).span }

var errMemory = errors.New("session: the windows of its streams are as large as they may get")

type memory struct {
	most int

	mu   sync.Mutex
	used int
}

// span returns the part of another stream.
func (m *memory) span() (yamux.MemoryManager, error) { return &span{memory: m}, nil }

// A span is the part of a stream.
type span struct {
	*memory
	taken int
}

func (s *span) ReserveMemory(size int, _ uint8) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used+size > s.most {
		return errMemory
	}
	s.used += size
	s.taken += size
	return nil
}

func (s *span) ReleaseMemory(size int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= size
	s.taken -= size
}

func (s *span) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= s.taken
	s.taken = 0
}
