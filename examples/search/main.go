// Search asks the devices on the network for names, and answers with those on
// its command line. Version 2 of the call has a limit; devices that speak only
// version 1, as with -old, still find others and are found.
//
//	go run ./examples/search [-old] [-for TEXT] [NAME...]
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"slices"
	"strings"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/call"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

//go:generate go -C ../../proto/protogen run . -dir ../../examples/search

// ErrEmpty says that the text to search for is empty.
const ErrEmpty = call.FirstAppCode + 1

const maxNames = 50

// A Query1 is the request of search/1.
//
//proto:message
type Query1 struct {
	Text string `proto:"max=64"`
}

// A Query is the request of search/2.
//
//proto:message
type Query struct {
	Text  string `proto:"max=64"`
	Limit uint8  `proto:"max=maxNames"`
}

// Names is the answer to both.
//
//proto:message
type Names struct {
	Names []string `proto:"count=u8,max=maxNames;max=200"`
}

func main() {
	old, text, on := flag.Bool("old", false, "speak version 1 only"), flag.String("for", "", "search for `TEXT`, once on each device"), []string(nil)
	flag.Func("on", "use only this network interface for discovery", func(s string) error { on = append(on, s); return nil })
	flag.Parse()
	versions, mux := call.Versions("search/1"), &p2p.Mux{}
	call.Handle(mux, "search/1", p2p.Anyone, func(_ context.Context, q Query1) (Names, error) { return find(q.Text, maxNames) })
	if !*old {
		versions = call.Versions("search/2", "search/1")
		call.Handle(mux, "search/2", p2p.Anyone, func(_ context.Context, q Query) (Names, error) { return find(q.Text, int(q.Limit)) })
	}
	ctx, hooks := context.Background(), []p2p.Hook{quic.New(quic.Config{}), mdns.New(mdns.Config{Interfaces: on})}
	node, err := p2p.Start(ctx, p2p.Config{App: "search", Metadata: versions.Metadata(), Handler: mux, Hooks: hooks})
	if err != nil {
		log.Fatal(err)
	}
	for peer := range node.Available(ctx) {
		var names Names
		err := versions.Try(peer, func(route string) (err error) {
			if route == "search/1" {
				names, err = call.Do[Names](ctx, peer, route, Query1{*text})
				return err
			}
			names, err = call.Do[Names](ctx, peer, route, Query{*text, 2})
			return err
		})
		fmt.Println(peer.Identity().Fingerprint(), names.Names, err)
	}
}

// find returns the names that contain a text.
func find(text string, limit int) (Names, error) {
	if text == "" {
		return Names{}, &call.Error{Code: ErrEmpty, Text: "say what to search for"}
	}
	found := slices.DeleteFunc(slices.Clone(flag.Args()), func(name string) bool { return !strings.Contains(name, text) })
	return Names{found[:min(len(found), limit)]}, nil
}
