package tunnel

import (
	"bytes"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/sdp2p/p2p/internal/soak"
)

// TestMain lowers rapid's number of checks, unless the command line gives one.
func TestMain(m *testing.M) {
	soak.Checks(40, 100)
	os.Exit(m.Run())
}

// Data that is written in any pieces, with any deadlines, over a stream with
// any buffer, arrives complete and in order, followed by the end.
func TestModel(t *testing.T) {
	whole := pattern(8 * 3 * MaxData)
	rapid.Check(t, func(rt *rapid.T) {
		room := rapid.SampledFrom([]int{1 << 18, 40000, 117, 20}).Draw(rt, "room")
		piece := rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(0, 3*MaxData),
			rapid.SampledFrom([]int{MaxData - 1, MaxData, MaxData + 1, 2 * MaxData}))
		most := 8
		if room < 200 {
			most = 2 // there are so many small steps
		}
		type plan struct {
			writes, reads []int
			pause         []bool // a deadline strikes before some writes
			close         bool
		}
		var plans [2]plan
		for i := range plans {
			plans[i] = plan{
				rapid.SliceOfN(piece, 0, most).Draw(rt, "writes"),
				rapid.SliceOfN(piece, 1, 8).Draw(rt, "reads"),
				rapid.SliceOfN(rapid.Bool(), 8, 8).Draw(rt, "deadlines"),
				rapid.Bool().Draw(rt, "close"),
			}
		}
		synctest.Test(t, func(t *testing.T) {
			ends := [2]*Conn{}
			a, b := link(room)
			ends[0], ends[1] = newWorld(t).open(t, a, b)
			var sent, got [2][]byte
			done := make(chan struct{})
			for side, c := range ends {
				p := plans[side]
				go func() {
					defer func() { done <- struct{}{} }()
					for k, size := range p.writes {
						all := whole[len(sent[side]):][:size]
						if p.pause[k] {
							c.SetWriteDeadline(time.Now().Add(time.Microsecond))
						}
						n, err := c.Write(all)
						sent[side] = append(sent[side], all[:n]...)
						if err != nil && !(p.pause[k] && isTimeout(err)) {
							t.Error(err)
						}
						c.SetWriteDeadline(time.Time{})
					}
					if err := c.CloseWrite(); err != nil {
						t.Error(err)
					}
				}()
				go func() {
					defer func() { done <- struct{}{} }()
					for k := 0; ; k++ {
						if p.pause[k%len(p.pause)] {
							c.SetReadDeadline(time.Now().Add(time.Microsecond))
						}
						buf := make([]byte, max(1, p.reads[k%len(p.reads)]))
						n, err := c.Read(buf)
						got[1-side] = append(got[1-side], buf[:n]...)
						if err == io.EOF {
							return
						}
						if err != nil && !isTimeout(err) {
							t.Error(err)
							return
						}
						c.SetReadDeadline(time.Time{})
					}
				}()
			}
			for range 4 {
				<-done
			}
			for side, c := range ends {
				if plans[side].close {
					require.NoError(t, c.Close())
					<-c.Done()
				} else {
					c.Abort(io.EOF)
				}
				require.True(t, bytes.Equal(sent[side], got[side]), "side %d: %d bytes, not %d", side, len(got[side]), len(sent[side]))
			}
		})
	})
}

// A record allocates nothing, in either direction. (With the race detector,
// sync.Pool drops items at random.)
func TestAllocations(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("with the race detector")
	}
	i, r, _, _ := opened(t, 1<<18)
	large := pattern((batch+1)*MaxData - 1) // the most that is sealed at once
	require.Zero(t, testing.AllocsPerRun(50, func() {
		i.Write(large)
		io.ReadFull(r, large)
	}))
	out, in := pattern(MaxData), make([]byte, MaxData)
	for _, size := range []int{MaxData, MaxData / 2} { // without and with a buffer in between
		require.Zero(t, testing.AllocsPerRun(200, func() {
			i.Write(out)
			for range MaxData / size {
				r.Read(in[:size])
			}
		}), size)
		require.Zero(t, testing.AllocsPerRun(200, func() {
			r.Write(out)
			for range MaxData / size {
				i.Read(in[:size])
			}
		}), size)
	}
	require.Equal(t, out[MaxData/2:], in[:MaxData/2])
}

// Tunnels that share pooled buffers never see each other's bytes.
func TestBuffersApart(t *testing.T) {
	const tunnels = 8
	done := make(chan error, 2*tunnels)
	for k := range tunnels {
		i, r, _, _ := opened(t, 5000)
		all := bytes.Repeat([]byte{byte(k + 1)}, 300000)
		go func() {
			_, err := i.Write(all)
			i.Close()
			done <- err
		}()
		go func() {
			var got []byte
			var err error
			for buf := make([]byte, 1000); err == nil; {
				var n int
				n, err = r.Read(buf)
				got = append(got, buf[:n]...)
			}
			if !bytes.Equal(got, all) {
				t.Errorf("tunnel %d: other bytes", k)
			}
			if err == io.EOF {
				err = nil
			}
			done <- err
		}()
	}
	for range 2 * tunnels {
		require.NoError(t, until(t, done))
	}
}
