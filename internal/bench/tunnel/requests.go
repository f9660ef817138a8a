package tunnel

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/sdp2p/p2p/internal/bench/race"
	"github.com/sdp2p/p2p/internal/bench/report"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/library/session"
	"github.com/sdp2p/p2p/tunnel"
)

const (
	sessionName = "streams of a session"
	requestSize = 100
	replySize   = 1 << 10
)

// answer serves one request.
func answer(c io.ReadWriter) error {
	if _, err := io.ReadFull(c, make([]byte, requestSize)); err != nil {
		return err
	}
	_, err := c.Write(make([]byte, replySize))
	return err
}

// serveRequests has a library answer requests, each in a tunnel, and in a
// session.
func serveRequests(l *library.Library) {
	l.Handle("request", func(_ context.Context, c *tunnel.Conn) error { return answer(c) })
	var routes session.Mux
	routes.Handle("request", func(_ context.Context, c *session.Conn) error { return answer(c) })
	l.Handle(session.Route, routes.Serve)
}

// request asks, and reads the answer to its end.
func request(c net.Conn) error {
	defer c.Close()
	if _, err := c.Write(make([]byte, requestSize)); err != nil {
		return err
	}
	_, err := io.CopyN(io.Discard, c, replySize)
	return err
}

// requests compares tunnels for requests with a session.
func requests(ctx context.Context, t *report.Table, rounds int) error {
	s, err := newStreams(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	from, to := s.nodes[0].libraries.All()[0], s.nodes[1].libraries.All()[0]
	serveRequests(to)
	kept := session.New(from, to.Instance())
	defer kept.Close()
	for _, n := range []int{1, 10, 40} {
		batch := func(name string, do func() error) race.Contender {
			return race.Repeat(name, func() error { return atOnce(n, do) })
		}
		wall, cpu, err := race.Race{Rounds: rounds, Length: streamLength}.RunCPU(ctx,
			batch("a tunnel each", func() error {
				c, err := from.Open(ctx, to.Instance(), "request")
				if err != nil {
					return err
				}
				return request(c)
			}),
			batch(sessionName, func() error {
				c, err := kept.Open(ctx, "request")
				if err != nil {
					return err
				}
				return request(c)
			}))
		if err != nil {
			return err
		}
		f := report.Figure{What: fmt.Sprintf("requests in a tunnel each, at once: %d", n), Unit: "ms", Digits: 2, Peer: sessionName}
		f.Ours, f.Theirs = wall[0].Scaled(1e-6), wall[1].Scaled(1e-6)
		t.Add(f)
		f.What = "… CPU of both sides"
		f.Ours, f.Theirs = cpu[0].Scaled(1e-6), cpu[1].Scaled(1e-6)
		t.Add(f)
	}
	return nil
}

// atOnce does something n times at once.
func atOnce(n int, do func() error) error {
	var all sync.WaitGroup
	failed := make(chan error, n)
	for range n {
		all.Go(func() {
			if err := do(); err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}
