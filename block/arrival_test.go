package block

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zeebo/blake3"
)

// A chopped is a reader that returns at most a number of bytes at a time.
type chopped struct {
	io.Reader
	most int
}

func (c chopped) Read(p []byte) (int, error) {
	return c.Reader.Read(p[:min(len(p), 1+rand.IntN(c.most))])
}

// However long messages are, and in whatever pieces they arrive, their data and
// its hashes stay intact until the buffer is given back.
func TestRead(t *testing.T) {
	t.Parallel()
	sizes := []int{
		1, 5, 4096, readAhead, readAhead + 1, batchData - 1, batchData, batchData + 1, piece - 1, piece, piece + 1, len(buffer{}),
		len(buffer{}) + 1, 200_000, maxData - 1, maxData,
	}
	for _, most := range []int{100, 5000, 20_000, 300_000} {
		wire, _ := (&hello{}).AppendBinary(make([]byte, 0, 40*3*maxData))
		var want [][]byte
		var sums []hash
		for range 40 {
			chunk := blake3.New()
			for range 1 + rand.IntN(3) {
				b := noise[rand.IntN(maxData):][:sizes[rand.IntN(len(sizes))]]
				wire, _ = (&message{kind: kindData, size: uint32(len(b))}).AppendBinary(wire)
				wire, want = append(wire, b...), append(want, b)
				chunk.Write(b)
			}
			sums = append(sums, sum(chunk))
			wire, _ = (&message{kind: kindChunk}).AppendBinary(wire)
		}
		wire, _ = (&message{kind: kindDone}).AppendBinary(wire)
		a := newArrival(newTransfer(t.Context(), nil))
		a.limit = 4 * maxData
		a.in = bufio.NewReaderSize(chopped{bytes.NewReader(wire), most}, readAhead)
		go a.run()
		for b := range a.out {
			require.NoError(t, b.err)
			for _, it := range b.items {
				if n := len(it.data); n > 0 { // perhaps only a part of a message's data
					require.True(t, bytes.Equal(want[0][:n], it.data))
					if want[0] = want[0][n:]; len(want[0]) == 0 {
						want = want[1:]
					}
				}
				if it.kind == kindChunk {
					require.Equal(t, sums[0], it.sum)
					sums = sums[1:]
				}
			}
			if b.data != nil {
				clear(b.data)
				a.recycle(b.data)
			}
		}
		require.Empty(t, want)
		require.Empty(t, sums)
		require.Empty(t, a.room)
	}
}
