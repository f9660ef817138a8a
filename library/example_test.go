package library_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/p2ptest"
	"github.com/sdp2p/p2p/tunnel"
)

// Two devices have a library, and one asks the other for something in it. The network is one in memory; a program uses
// quic.New and a discovery such as mdns.New instead of its hooks.
func Example() {
	ctx := context.Background()
	network := p2ptest.NewNetwork(p2ptest.Config{})
	photos := library.Record{ID: uuid.New(), Name: "Photos", Secret: library.NewSecret()}

	// What has to be known of a device before: the keys, which an app keeps in files (identity.LoadOrCreate).
	type device struct{ node, instance identity.Identity }
	laptop, phone := device{identity.New(), identity.New()}, device{identity.New(), identity.New()}

	start := func(self, other device) (*p2p.P2P, *library.Library) {
		libraries := library.New(library.Config{})
		var mux p2p.Mux
		mux.Handle(library.Route, p2p.Anyone, libraries) // the tunnel authenticates
		node, err := p2p.Start(ctx, p2p.Config{
			App: "example", Identity: self.node, Handler: &mux, Hooks: append(network.Hooks(), libraries),
		})
		if err != nil {
			panic(err)
		}
		r := photos.Clone()
		r.Members = []library.Member{{Instance: other.instance.Remote(), Node: other.node.Remote(), Name: "my other device"}}
		l, err := libraries.Add(r, self.instance)
		if err != nil {
			panic(err)
		}
		return node, l
	}
	server, served := start(laptop, phone)
	defer server.Shutdown(ctx)
	served.Handle("title", func(_ context.Context, c *tunnel.Conn) error {
		_, err := io.WriteString(c, "A cat in the sun")
		return err
	})
	client, opened := start(phone, laptop)
	defer client.Shutdown(ctx)

	for peer := range client.Available(ctx) {
		if peer.Identity() == laptop.node.Remote() {
			break
		}
	}
	c, err := opened.Open(ctx, laptop.instance.Remote(), "title")
	if err != nil {
		panic(err)
	}
	defer c.Close()
	title, err := io.ReadAll(c)
	fmt.Println(string(title), err)
	// Output: A cat in the sun <nil>
}

// A store keeps the records of a user's libraries in a folder, one file each.
type store struct{ folder string }

func (s store) file(id uuid.UUID) string { return filepath.Join(s.folder, id.String()+".json") }

// save replaces the file of a record as a whole: after a crash there is the old one or the new one. Nobody else can read it.
func (s store) save(r library.Record) (err error) {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.folder, ".record-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), s.file(r.ID)); err != nil {
		return err
	}
	if runtime.GOOS == "windows" { // which cannot sync a folder
		return nil
	}
	d, err := os.Open(s.folder)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s store) load(id uuid.UUID) (r library.Record, err error) {
	b, err := os.ReadFile(s.file(id))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// What an app keeps of a library is a record, as JSON, written atomically.
func ExampleRecord() {
	folder, err := os.MkdirTemp("", "libraries")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(folder)
	records := store{folder}

	libraries := library.New(library.Config{Changed: func(r library.Record) { // by itself: a new secret
		if err := records.save(r); err != nil {
			fmt.Println(err)
		}
	}})
	l, err := libraries.Add(library.Record{ID: uuid.New(), Name: "Photos", Secret: library.NewSecret()}, identity.New())
	if err != nil {
		panic(err)
	}
	member := library.Member{Instance: identity.New().Remote(), Node: identity.New().Remote(), Name: "Bob's phone"}
	if err := l.AddMember(member); err != nil {
		panic(err)
	}
	if err := records.save(l.Record()); err != nil { // by the user
		panic(err)
	}

	r, err := records.load(l.ID())
	fmt.Println(r.Name, r.Secret, r.Members[0].Name, err)
	again, err := library.New(library.Config{}).Add(r, identity.New()) // after a restart; the key comes from its file
	fmt.Println(again.Record().Secret == l.Record().Secret, err)
	files, _ := os.ReadDir(folder)
	fmt.Println(len(files), "file")
	// Output:
	// Photos a secret Bob's phone <nil>
	// true <nil>
	// 1 file
}
