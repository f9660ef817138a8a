package block_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sdp2p/p2p/block"
)

// A receiver looks at an offer, and then receives all of it, or the entries
// that it wants.
func Example() {
	ctx := context.Background()
	here, there := net.Pipe() // in an app, a *p2p.Stream or a *tunnel.Conn
	go func() {
		notes := strings.NewReader("bring bread")
		_, err := block.Send(ctx, here, []block.Source{
			{Name: "notes.txt", Reader: notes, Size: notes.Size()},
			{Name: "movie.mkv", Reader: strings.NewReader(strings.Repeat("x", 1<<20)), Size: 1 << 20},
		}, block.SendOptions{})
		if err != nil {
			fmt.Println(err)
		}
		here.Close()
	}()

	downloads, _ := os.MkdirTemp("", "downloads-")
	defer os.RemoveAll(downloads)
	root, err := os.OpenRoot(downloads)
	if err != nil {
		panic(err)
	}
	defer root.Close()
	decide := func(ctx context.Context, o *block.Offer) error {
		fmt.Printf("%d files, %d bytes\n", o.Files, o.Bytes)
		for f := range o.All() {
			if f.Size > 1000 {
				o.Skip(f.Index)
			}
		}
		return nil // or block.Refuse("no, thanks")
	}
	result, err := block.Receive(ctx, there, decide, root, block.ReceiveOptions{
		Received: func(f block.File, path string) { fmt.Printf("%s is in its place\n", path) },
	})
	var peer *block.PeerError
	if errors.As(err, &peer) {
		fmt.Printf("the sender says %v: %q\n", peer.Err, peer.Reason)
	}
	there.Close()
	content, _ := os.ReadFile(filepath.Join(downloads, "notes.txt"))
	fmt.Printf("%d file: %s\n", result.Files, content)
	fmt.Println("left out:", result.Skipped[0].Path)
	// Output:
	// 2 files, 1048587 bytes
	// notes.txt is in its place
	// 1 file: bring bread
	// left out: movie.mkv
}

// A sender keeps a transfer going until it is complete, over as many streams as
// that takes; the receiver's handler of the first stream reports it.
func ExampleTransfer() {
	downloads, _ := os.MkdirTemp("", "downloads-")
	defer os.RemoveAll(downloads)
	root, err := os.OpenRoot(downloads)
	if err != nil {
		panic(err)
	}
	defer root.Close()
	var transfers block.Transfers
	received := make(chan int, 1)
	serve := func(ctx context.Context, stream net.Conn) { // the handler of the route "files"
		opts := block.ReceiveOptions{From: "alice"} // with a *p2p.Stream, From is not needed
		result, err := transfers.Receive(ctx, stream, nil, root, opts)
		if errors.Is(err, block.ErrContinued) {
			return
		}
		received <- result.Files
	}

	streams := 0
	transfer := block.Transfer{
		Open: func(ctx context.Context) (net.Conn, error) { // in an app, block.To(peer, "files")
			here, there := net.Pipe()
			go serve(ctx, there)
			if streams++; streams == 1 {
				here.Close() // the stream is lost
			}
			return here, nil
		},
		Lost: func(err error, next time.Duration) { fmt.Printf("lost, again in %v\n", next) },
	}
	notes := strings.NewReader("bring bread")
	sources := []block.Source{{Name: "notes.txt", Reader: notes, Size: notes.Size()}}
	result, err := transfer.Send(context.Background(), sources, block.SendOptions{})
	fmt.Printf("%d file sent over %d streams, %v\n", result.Files, streams, err)
	<-received // nothing arrived over the first stream
	fmt.Printf("%d file received\n", <-received)
	// Output:
	// lost, again in 100ms
	// 1 file sent over 2 streams, <nil>
	// 1 file received
}
