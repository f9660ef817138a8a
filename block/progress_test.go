package block_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/block"
)

// A user who takes long to decide does not end the transfer, and progress is
// reported at most every 100 ms.
func TestSlowDecisionAndProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		var reports []time.Time
		var last block.Progress
		content := random(3<<20, 1)
		ended := make(chan error, 1)
		go func() {
			_, err := block.Send(t.Context(), here, []block.Source{{Name: "f", Reader: slow{bytes.NewReader(content)}, Size: 3 << 20}}, block.SendOptions{Progress: func(p block.Progress) {
				reports = append(reports, time.Now())
				last = p
			}})
			ended <- err
		}()
		got := make(writerAt, len(content))
		_, err := block.Receive(t.Context(), there, func(ctx context.Context, o *block.Offer) error {
			time.Sleep(10 * time.Minute)
			o.Part(0, 0, 3<<20, got)
			return nil
		}, nil, block.ReceiveOptions{AnswerWithin: -1})
		require.NoError(t, err)
		require.NoError(t, <-ended)
		require.True(t, bytes.Equal(content, got))
		for i := 1; i < len(reports)-1; i++ {
			require.GreaterOrEqual(t, reports[i].Sub(reports[i-1]), 100*time.Millisecond)
		}
		require.Greater(t, len(reports), 8)
		require.EqualValues(t, 3<<20, last.Bytes)
		require.Equal(t, last.Bytes, last.Verified)
		require.Equal(t, last.TotalBytes, last.Bytes)
		require.Equal(t, 1, last.Files)
		here.Close()
		there.Close()
	})
}

// slow is a disk that takes 150 ms for each read.
type slow struct{ io.ReaderAt }

func (s slow) ReadAt(b []byte, at int64) (int, error) {
	time.Sleep(150 * time.Millisecond)
	return s.ReaderAt.ReadAt(b, at)
}
