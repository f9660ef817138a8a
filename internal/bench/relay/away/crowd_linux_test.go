package away

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/netlab"
)

const (
	atOnce   = 8                // nodes of a crowd that start at the same time
	keptIdle = 60 * time.Second // enough for three keep-alives of each
)

// A crowdArgs is the number of nodes that are to have reservations.
type crowdArgs struct {
	Relay relayEntry
	Nodes int
}

// crowd starts nodes that get a reservation each, and keep it.
func (p *program) crowd(a crowdArgs) (none, error) {
	errs := make(chan error, a.Nodes)
	room := make(chan none, atOnce)
	var all sync.WaitGroup
	for range a.Nodes {
		room <- none{}
		all.Go(func() {
			defer func() { <-room }()
			seed := identity.New().PrivateKey().Seed()
			ctx, cancel := context.WithTimeout(context.Background(), startIn)
			defer cancel()
			n, err := startOurs(ctx, startArgs{Seed: seed, Relays: []relayEntry{a.Relay}, Only: true})
			if err != nil {
				errs <- err
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.nodes[n.id()] = n
		})
	}
	all.Wait()
	close(errs)
	var failed []error
	for err := range errs {
		failed = append(failed, err)
	}
	return none{}, errors.Join(failed...)
}

// reservations measures the cost of a reservation to the relay: to ours, and to
// go-libp2p's with the same clients.
func reservations(t *testing.T, r *results) {
	lab := netlab.New(t, 2)
	h := lab.Hosts[0]
	at := h.Public()
	nodes, idle := 1000, keptIdle
	if testing.Short() {
		nodes, idle = 8, 100*time.Millisecond
	}
	for range count(2) {
		var relays []*relayProcess
		var there []usage
		var crowds []*netlab.Process
		for i, stock := range []bool{false, true} {
			relay := startRelay(t, h, at, serverConfig{Stock: stock, Buffer: buffer, Port: port + i})
			clients := h.Start(t, none{})
			clients.Await(time.Time{}, "ready")
			come := func(n int) usage {
				for left := n; left > 0; left -= 100 { // each call has a time limit
					_, err := netlab.Call[none](clients, "crowd", crowdArgs{relay.relayEntry, min(left, 100)})
					require.NoError(t, err)
				}
				return relay.usage(t, true)
			}
			before := come(1) // excludes the costs that only the first one has
			after := come(nodes)
			each := func(f func(usage) float64, scale float64) float64 {
				return (f(after) - f(before)) / float64(nodes) * scale
			}
			name := side(stock)
			r.add(name+" take", (after.CPU-before.Looked).Seconds()/float64(nodes)*1e3)
			r.add(name+" heap", each(func(u usage) float64 { return u.Heap }, 1.0/1024))
			r.add(name+" stacks", each(func(u usage) float64 { return u.Stacks }, 1.0/1024))
			r.add(name+" resident", each(func(u usage) float64 { return u.Resident }, 1.0/1024))
			r.add(name+" goroutines", each(func(u usage) float64 { return u.Goroutines }, 1))
			relays, there, crowds = append(relays, relay), append(there, after), append(crowds, clients)
		}
		began := time.Now()
		for i, relay := range relays {
			there[i] = relay.usage(t, false)
		}
		time.Sleep(idle)
		for i, relay := range relays {
			now := relay.usage(t, false)
			r.add(side(i == 1)+" idle", (now.CPU-there[i].Looked).Seconds()/time.Since(began).Seconds()*1000/float64(nodes)*100)
		}
		for i, relay := range relays {
			crowds[i].Stop()
			relay.Stop()
		}
	}
}

func side(stock bool) string {
	if stock {
		return "stock"
	}
	return "metered"
}
