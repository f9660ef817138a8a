package p2p_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
)

// BenchmarkPublish sends events to subscribers that read them, and to at most
// one more that is stuck. A listener address that comes and goes is the
// cheapest change that is reported.
func BenchmarkPublish(b *testing.B) {
	for _, subscribers := range []int{1, 10, 100} {
		for _, stuck := range []int{0, 1} {
			b.Run(fmt.Sprintf("subscribers=%d/stuck=%d", subscribers, stuck), func(b *testing.B) {
				l := &fakeListener{fakeHook: fakeHook{name: "wire"}}
				node := start(b, p2p.Config{}, l)
				where := addr("192.0.2.1:1")
				var readers []*p2p.Subscription
				for range subscribers {
					readers = append(readers, node.Subscribe())
				}
				for range stuck {
					sub := node.Subscribe()
					defer sub.Close()
				}
				// This fills the queue of the stuck subscriber; the others
				// begin with an empty one.
				for range queueSize {
					l.scope.AddAddr(where)
					l.scope.RemoveAddr(where)
				}
				for _, sub := range readers {
					drain(sub)
				}
				const batch = 100 // less than half a queue, so that a reader never gets a Resync
				b.ReportAllocs()
				for b.Loop() {
					for range batch / 2 {
						l.scope.AddAddr(where)
						l.scope.RemoveAddr(where)
					}
					b.StopTimer()
					for _, sub := range readers {
						drain(sub)
					}
					b.StartTimer()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch*subscribers), "ns/event/subscriber")
			})
		}
	}
}

const known = 10_000

// typical returns what a discovery usually reports about a peer.
func typical(i int) (map[string]string, []p2p.Candidate) {
	return map[string]string{
			"name": fmt.Sprintf("Laptop %d", i), "operating_system": "macos", "os": "MacOS", "device_model": "MacBook Pro", "version": "0.1.0",
		}, []p2p.Candidate{
			direct(fmt.Sprintf("10.0.%d.%d:7373", i>>8, i&255)), direct(fmt.Sprintf("[fd00::%x]:7373", i)),
		}
}

// crowded returns a node that knows many peers, and an identity that it does
// not know.
func crowded(b *testing.B) (*p2p.P2P, *fakeHook, identity.RemoteIdentity) {
	mdns := &fakeHook{name: "mdns"}
	node := start(b, p2p.Config{MaxPeers: -1}, mdns)
	for i := range known {
		metadata, candidates := typical(i)
		if err := mdns.scope.Discovered(newID(), metadata, candidates); err != nil {
			b.Fatal(err)
		}
	}
	return node, mdns, newID()
}

func BenchmarkPeers(b *testing.B) {
	node, _, _ := crowded(b)
	b.ReportAllocs()
	for b.Loop() {
		if len(node.Peers()) != known {
			b.Fatal("peers are missing")
		}
	}
}

func BenchmarkDiscoverExpire(b *testing.B) {
	node, mdns, id := crowded(b)
	metadata, candidates := typical(known)
	sub := node.Subscribe()
	defer sub.Close()
	go func() {
		for range sub.C {
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		mdns.scope.Discovered(id, metadata, candidates)
		mdns.scope.Expired(id)
	}
}

func BenchmarkDiscoverAgain(b *testing.B) {
	_, mdns, id := crowded(b)
	metadata, candidates := typical(known)
	mdns.scope.Discovered(id, metadata, candidates)
	b.ReportAllocs()
	for b.Loop() {
		mdns.scope.Discovered(id, metadata, candidates)
	}
}

// BenchmarkEvict discovers peers when the table is full.
func BenchmarkEvict(b *testing.B) {
	mdns := &fakeHook{name: "mdns"}
	start(b, p2p.Config{}, mdns)
	ids := make([]identity.RemoteIdentity, 2048)
	for i := range ids {
		ids[i] = newID()
	}
	metadata, candidates := typical(0)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		mdns.scope.Discovered(ids[i%len(ids)], metadata, candidates)
		i++
	}
}

// BenchmarkHeap measures the memory kept for each peer, with its metadata and
// candidates.
func BenchmarkHeap(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		before := heap()
		node, _, _ := crowded(b)
		b.ReportMetric(float64(heap()-before)/known, "B/peer")
		runtime.KeepAlive(node)
	}
}
