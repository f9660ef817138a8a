// Grpc shows gRPC between two devices: its connections are streams between
// nodes that have authenticated each other. One device serves, and the other
// calls it; both are nodes of this program, and find each other on the loopback
// interface.
//
//	go run .
//
// It is a module of its own, so that apps without gRPC do not depend on it.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

const route = "grpc"

// serve serves the health service, which every gRPC program has, on a listener.
// Between devices of one user, the listener is that of a library.
func serve(l net.Listener, called func(by identity.RemoteIdentity)) *grpc.Server {
	server := grpc.NewServer(grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			if caller, ok := peer.FromContext(ctx); ok {
				if addr, ok := caller.Addr.(identity.Addr); ok {
					called(addr.Identity)
				}
			}
			return handle(ctx, request)
		}))
	healthpb.RegisterHealthServer(server, health.NewServer())
	go server.Serve(l)
	return server
}

// dialer has the signature of the node's and of a library's DialContext.
type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// connect returns a client for a peer. It does not resolve names, nor encrypt
// again.
func connect(dial dialer, host string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+host,
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var mux p2p.Mux
	l := mux.Listen(route, p2p.Anyone)
	laptop, phone := start(ctx, "laptop", &mux), start(ctx, "phone", nil)
	defer laptop.Shutdown(ctx)
	defer phone.Shutdown(ctx)
	server := serve(l, func(by identity.RemoteIdentity) { fmt.Println("called by", by.Fingerprint()) })
	defer server.GracefulStop() // before the node's Shutdown: calls are answered

	for found := range phone.Available(ctx) {
		if found.Identity() == laptop.Identity() {
			break
		}
	}
	conn, err := connect(phone.DialContext(route), laptop.Identity().Host())
	check(err)
	defer conn.Close()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	check(err)
	fmt.Printf("%s is %v\n", laptop.Identity().Fingerprint(), answer.Status)
}

func start(ctx context.Context, name string, handler p2p.Handler) *p2p.P2P {
	node, err := p2p.Start(ctx, p2p.Config{
		App: "grpc", Name: name, Handler: handler,
		Hooks: []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: mdns.Loopback()})},
	})
	check(err)
	return node
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
