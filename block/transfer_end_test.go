package block

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The sender's last message does not arrive in time.
func TestLastWord(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		m := play(t, dir, []Source{slowly(&wantedFile{path: "top/a", size: 10})}, 0, ReceiveOptions{}, func(m *match) {
			m.here.before = func() {
				if m.here.referee.state[senders] == sEnded {
					time.Sleep(10 * time.Second)
				}
			}
		})
		require.NoError(t, m.sendErr)
		require.NoError(t, m.err)
	})
}

// Nothing follows a last message, even if the peer reads it so late that a keep
// is due, and if the app cancels meanwhile.
func TestNothingBehindLastWord(t *testing.T) {
	for range 3000 {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(keepAlive+time.Second, cancel)
			tr := newTransfer(ctx, here)
			tr.start(&tr.talks, tr.talk)
			go func() {
				tr.finish(message{kind: kindDone})
				tr.talks.Wait()
				here.Close()
			}()
			time.Sleep(2 * keepAlive)
			heard, err := io.ReadAll(there)
			require.NoError(t, err)
			require.Equal(t, []byte{byte(kindDone)}, heard)
		})
	}
}

// A receiver that is canceled while the sender's first bytes arrive reads no
// more once it has returned.
func TestCancelAtHello(t *testing.T) {
	for range 300 {
		synctest.Test(t, func(t *testing.T) {
			here, there := net.Pipe()
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			go func() {
				here.Write(say(hello{}, file("a", 1)))
				here.Close()
			}()
			_, err := Receive(ctx, there, nil, nil, ReceiveOptions{})
			require.Error(t, err)
			there.Close()
		})
	}
}
