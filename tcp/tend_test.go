package tcp

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
)

// A peer that does not read is not taken for gone as long as it sends signs of
// life. The operating system alone could not tell these cases apart.
func TestStalled(t *testing.T) {
	const size = 32 << 20
	for name, patience := range map[string]time.Duration{"there": 3 * time.Second, "silent": 600 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			there := name == "there" // a busy machine keeps it waiting, too
			p := newPreyWith(t, Config{patience: patience, tend: patience / 4}, func(s *p2p.Stream) error {
				if _, err := s.Write(make([]byte, size)); err != nil {
					return err
				}
				return s.CloseWrite()
			})
			c := p.lane(t)
			_, err := c.Write(data("x"))
			require.NoError(t, err)
			for began := time.Now(); there && time.Since(began) < 3*patience/2; time.Sleep(patience / 16) {
				_, err := c.Write(appendHeader(nil, frameNone, 0))
				require.NoError(t, err)
			}
			if !there {
				require.ErrorIs(t, <-p.read, p2p.ErrConnectionLost)
				return
			}
			got := 0
			for {
				k, b := readFrame(t, c)
				if k == frameEnd {
					break
				}
				got += len(b)
				_, err := c.Write(appendHeader(nil, frameNone, 0))
				require.NoError(t, err)
			}
			require.Equal(t, size, got)
			require.Equal(t, io.EOF, <-p.read)
		})
	}
}

// A side that has no room for more data sends signs of life.
func TestStalledReader(t *testing.T) {
	over := make(chan struct{})
	p := newPreyWith(t, Config{tend: 50 * time.Millisecond}, func(*p2p.Stream) error {
		<-over // does not read
		return p2p.ErrCanceled
	})
	defer close(over)
	c := p.lane(t)
	_, err := c.Write(append(appendHeader(nil, frameData, maxData), make([]byte, maxData)...))
	require.NoError(t, err)
	_, err = c.Write(append(appendHeader(nil, frameData, maxData), make([]byte, maxData)...))
	require.NoError(t, err)
	for range 3 {
		k, _ := readFrame(t, c)
		require.Equal(t, frameNone, k)
	}
}

// Data that was written before a stream was closed arrives, even if the other
// side has ended its direction before and reads slowly. That side sends signs
// of life while it has no room, and an operating system whose side has closed
// would answer them with a reset.
func TestClosedWhileStalled(t *testing.T) {
	const size = 1 << 20
	for name, ends := range map[string]bool{"ended": true, "open": false} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{})
			p := newPreyWith(t, Config{patience: 30 * time.Second, tend: 50 * time.Millisecond}, func(s *p2p.Stream) error {
				defer close(closed)
				if ends {
					if _, err := io.ReadAll(s); err != nil {
						return err
					}
				}
				if _, err := s.Write(make([]byte, size)); err != nil {
					return err
				}
				return s.Close()
			})
			c := p.lane(t)
			_, err := c.Write(data("x"))
			require.NoError(t, err)
			if ends {
				_, err = c.Write(appendHeader(nil, frameEnd, 0))
				require.NoError(t, err)
			}
			<-closed
			for range 8 {
				_, err := c.Write(appendHeader(nil, frameNone, 0))
				require.NoError(t, err)
				time.Sleep(50 * time.Millisecond)
			}
			got := 0
			for {
				k, b := readFrame(t, c)
				if k == frameEnd {
					break
				}
				got += len(b)
			}
			require.Equal(t, size, got)
		})
	}
}
