package tcp

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// If a peer keeps a lane and does not read, changes of metadata do not pile up
// for it; once it reads, it gets the last one.
func TestUnreadMetadata(t *testing.T) {
	p := newPreyWith(t, Config{patience: time.Hour}, nil)
	c, err := p.dial(t, p.key, nil)
	require.NoError(t, err)
	_, err = c.Write(helloFrame(t, forPeer))
	require.NoError(t, err)
	k, _ := readFrame(t, c)
	require.Equal(t, frameHello, k)
	before, most := runtime.NumGoroutine(), 0
	const changes = 1000
	for i := range changes {
		require.NoError(t, p.node.UpdateMetadata(func(m map[string]string) {
			for j := range 30 {
				m[fmt.Sprint("key", j)] = strings.Repeat(fmt.Sprint(changes+i), 50)
			}
		}))
		most = max(most, runtime.NumGoroutine())
	}
	require.Less(t, most, before+20)
	for last := strings.Repeat(fmt.Sprint(2*changes-1), 50); ; {
		k, b := readFrame(t, c)
		require.Equal(t, frameHello, k)
		h, err := decodeHello(b)
		require.NoError(t, err)
		if h.metadata["key0"] == last {
			break
		}
	}
}
