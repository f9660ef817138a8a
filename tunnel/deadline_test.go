package tunnel

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A read deadline does no harm, at whatever byte of a record it strikes; nor
// does a Read when no data is there.
func TestReadDeadlineAnywhere(t *testing.T) {
	for _, nothing := range []bool{false, true} {
		for _, buffer := range []int{5, 3} {
			bothWays(t, func(t *testing.T, c *Conn, _, theirs *end, out, _ *refDirection) {
				record := append(out.seal(0, data), out.seal(2, nil)...)
				var got []byte
				for k := range record {
					require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Second)))
					b := make([]byte, buffer)
					n, err := c.Read(b)
					got = append(got, b[:n]...)
					if n == 0 {
						require.ErrorIs(t, err, os.ErrDeadlineExceeded)
						require.True(t, isTimeout(err))
					}
					if nothing {
						n, err = c.Read(nil)
						require.Zero(t, n)
						require.NoError(t, err, "byte %d", k)
					}
					theirs.Write(record[k : k+1])
				}
				theirs.CloseWrite()
				require.NoError(t, c.SetReadDeadline(time.Time{}))
				rest, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Equal(t, "hello", string(append(got, rest...)))
			})
		}
	}
}

// A write deadline does no harm: sealed data counts as written, and leaves with
// the next call of Write, CloseWrite or Close.
func TestWriteDeadlineAnywhere(t *testing.T) {
	for name, next := range map[string]func(c *Conn) (more string, err error){
		"Write":      func(c *Conn) (string, error) { _, err := c.Write([]byte("more")); c.Close(); return "more", err },
		"CloseWrite": func(c *Conn) (string, error) { return "", c.CloseWrite() },
		"Close":      func(c *Conn) (string, error) { return "", c.Close() },
	} {
		for size, sealed := range map[int]int{
			50: 50, 70000: 70000, (batch+1)*MaxData - 1: (batch+1)*MaxData - 1, (batch+1)*MaxData + 5000: batch * MaxData,
		} {
			for _, room := range []int{1, 2, 3, 4, 20, 49, 68} {
				t.Run(name, func(t *testing.T) {
					tunneled(t, room, func(t *testing.T, i, r *Conn, a, b *end) {
						all := pattern(size)
						require.NoError(t, i.SetWriteDeadline(time.Now().Add(time.Second)))
						n, err := i.Write(all)
						require.ErrorIs(t, err, os.ErrDeadlineExceeded)
						require.Equal(t, sealed, n)
						again, err := i.Write(all)
						require.ErrorIs(t, err, os.ErrDeadlineExceeded)
						require.Zero(t, again, "the rest of the record is still there")
						if size > 50 { // only the place where it struck matters
							a.out.grow(size)
						}
						read := make(chan string)
						go func() {
							got, err := io.ReadAll(r)
							if err != nil {
								t.Error(err)
							}
							read <- string(got)
						}()
						require.NoError(t, i.SetWriteDeadline(time.Time{}))
						more, err := next(i)
						require.NoError(t, err)
						require.Equal(t, string(all[:n])+more, <-read)
					})
				})
			}
		}
	}
}

// A deadline in the past stops calls at once; a deadline centuries ahead does
// not.
func TestDeadlineExtremes(t *testing.T) {
	tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
		for _, past := range []time.Time{time.Unix(1, 0), time.Unix(-1e9, 0), time.Now(), time.Now().Add(-1)} {
			require.NoError(t, i.SetDeadline(past))
			n, err := i.Write(data)
			require.Zero(t, n)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			_, err = i.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		require.NoError(t, i.SetDeadline(time.Time{}))
		_, err := i.Write(data)
		require.NoError(t, err)
	})
}

func TestDeadlineFarAway(t *testing.T) {
	tunneled(t, 1<<16, func(t *testing.T, i, r *Conn, a, b *end) {
		for _, future := range []time.Time{time.Now().Add(1<<63 - 1), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)} {
			require.NoError(t, i.SetDeadline(future))
			_, err := i.Write(data)
			require.NoError(t, err, future)
		}
	})
}
