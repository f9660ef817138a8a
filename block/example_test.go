package block_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/sdp2p/p2p/block"
)

// A receiver looks at what is offered, and then gets it, or what it wants of it.
func Example() {
	ctx := context.Background()
	here, there := net.Pipe() // a *p2p.Stream or a *tunnel.Conn
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
