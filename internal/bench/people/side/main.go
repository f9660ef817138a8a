// Command side is one side of what is measured:
//
//	side receive WAY KEY DIR     a node that receives into DIR; it prints its port
//	side send WAY KEY ADDR PATH  sends PATH to the node at ADDR; it prints the
//	                             network of each stream
//	side serve ADDR DIR          a TLS server that takes uploads into DIR
//
// A way is what connects nodes. KEY is the file with the node's identity.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/block"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tcp"
)

const (
	route    = "people"
	patience = 20 * time.Second
)

// connecting returns the hooks of a way. Peers are where the others are.
func connecting(way string, peers []string) (*quic.Listener, []p2p.Hook, error) {
	l := quic.New(quic.Config{ManualPeers: peers, IdleTimeout: -1, TellStrangers: quic.Everything})
	switch way {
	case "quic":
		return l, []p2p.Hook{l}, nil
	case "lane":
		lanes := tcp.New(tcp.Config{})
		lanes.Expect() // the other one, which is known in no other way here
		return l, []p2p.Hook{l, lanes}, nil
	}
	return nil, nil, fmt.Errorf("there is no way %q", way)
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 4 && args[0] == "receive":
		return receive(ctx, args[1], args[2], args[3])
	case len(args) == 5 && args[0] == "send":
		return send(ctx, args[1], args[2], args[3], args[4])
	case len(args) == 3 && args[0] == "serve":
		return serve(args[1], args[2])
	}
	return errors.New("usage: side receive WAY KEY DIR | send WAY KEY ADDR PATH | serve ADDR DIR")
}

func start(ctx context.Context, way, key string, mux *p2p.Mux, peers ...string) (*p2p.P2P, *quic.Listener, error) {
	l, hooks, err := connecting(way, peers)
	if err != nil {
		return nil, nil, err
	}
	id, err := identity.LoadOrCreate(key)
	if err != nil {
		return nil, nil, err
	}
	node, err := p2p.Start(ctx, p2p.Config{
		App: "people", Identity: id, Handler: mux, Logger: slog.New(slog.DiscardHandler), Hooks: hooks,
	})
	return node, l, err
}

func receive(ctx context.Context, way, key, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	var transfers block.Transfers
	var mux p2p.Mux
	mux.HandleFunc(route, p2p.Anyone, func(ctx context.Context, s *p2p.Stream) error {
		_, err := transfers.Receive(ctx, s, nil, root, block.ReceiveOptions{
			Modes: true, Times: true, Trusted: true, Existing: block.Replace,
		})
		if err != nil && !errors.Is(err, block.ErrContinued) {
			fmt.Fprintln(os.Stderr, err)
		}
		return nil
	})
	_, l, err := start(ctx, way, key, &mux)
	if err != nil {
		return err
	}
	port, _ := l.Port()
	fmt.Println(port)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func send(ctx context.Context, way, key, to, path string) error {
	node, _, err := start(ctx, way, key, new(p2p.Mux), to)
	if err != nil {
		return err
	}
	defer node.Shutdown(ctx)
	finding, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for peer := range node.Available(finding) {
		if _, err := peer.WaitMetadata(finding); err != nil { // which says where lanes are
			return err
		}
		to := block.To(peer, route)
		over := block.Transfer{Open: func(ctx context.Context) (net.Conn, error) {
			s, err := to(ctx)
			if err == nil {
				local, _ := s.(*p2p.Stream).Endpoints()
				fmt.Println(local.Network())
			}
			return s, err
		}}
		_, err := over.Send(ctx, block.Paths(path), block.SendOptions{})
		return err
	}
	return errors.New("nobody is found at " + to)
}

// serve takes uploads, one file each. HTTP/1.1 is the faster version for that.
func serve(addr, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		return err
	}
	s := http.Server{
		Addr: addr, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f, err := root.Create(path.Base(r.URL.Path))
			if err == nil {
				_, err = io.Copy(f, r.Body)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}),
	}
	return s.ListenAndServeTLS("", "")
}
