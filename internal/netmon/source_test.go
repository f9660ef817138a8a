package netmon

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The system's source agrees with package net about this computer.
func TestSystem(t *testing.T) {
	var s Snapshot
	list, err := net.Interfaces()
	require.NoError(t, err)
	for range 100 { // other tests' interfaces come and go
		s, err = Shared().Snapshot()
		require.NoError(t, err)
		again, err := net.Interfaces()
		require.NoError(t, err)
		if slices.EqualFunc(list, again, func(a, b net.Interface) bool { return a.Name == b.Name && a.Flags == b.Flags }) {
			break
		}
		list = again
	}
	require.Len(t, s.Interfaces, len(list))
	for _, n := range list {
		i := s.find(n.Index)
		require.NotNil(t, i, n.Name)
		require.Equal(t, n.Name, i.Name)
		require.Equal(t, n.MTU, i.MTU)
		require.Equal(t, n.Flags, i.Flags)
	}
	lo := s.Interfaces[slices.IndexFunc(s.Interfaces, func(i Interface) bool { return i.Flags&net.FlagLoopback != 0 })]
	require.Contains(t, lo.Prefixes, netip.MustParsePrefix("127.0.0.1/8"))
	require.False(t, lo.Physical)
}

// The process's monitor starts and ends, and its clocks advance.
func TestShared(t *testing.T) {
	for range 3 {
		s := Shared().Subscribe()
		Shared().Poke()
		require.Equal(t, Address|Route, (<-s.C).Kind&(Address|Route))
		s.Close()
	}
	source := newSystem()
	before := source.Clocks()
	time.Sleep(time.Millisecond)
	after := source.Clocks()
	require.Greater(t, after.Awake, before.Awake)
	require.Greater(t, after.Boot+after.Wall, before.Boot+before.Wall)
}

// BenchmarkSnapshot measures a look at the network. Looks are made only after
// events, or every 2 s if the system reports none.
func BenchmarkSnapshot(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Shared().Snapshot(); err != nil {
			b.Fatal(err)
		}
	}
}
