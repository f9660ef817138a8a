package library_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/quic"
	"github.com/sdp2p/p2p/tunnel"
)

// processEnv is set to make the test binary act as a device that takes orders
// from its standard input.
const processEnv = "SDP2P_TEST_LIBRARY_DEVICE"

// An order is a line sent to a process.
type order struct {
	Node, Instance []byte                    // seeds; only in the first order, like the record
	Record         string                    // in base64
	Addrs          map[string]netip.AddrPort // of the other devices, by node
	Open           string                    // the instance to open a tunnel to
	Remove         string                    // the instance to remove
}

// A report is a line from a process.
type report struct {
	Port uint16    // the port on which it listens
	Open bool      // whether a tunnel was opened
	Cut  time.Time // when a tunnel was lost
	Done time.Time // when the removal began
	Err  string
}

// beProcess acts as a device.
func beProcess() {
	out := json.NewEncoder(os.Stdout)
	say := func(r report) { _ = out.Encode(r) }
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	if err := obey(in, say); err != nil && err != io.EOF {
		say(report{Err: err.Error()})
	}
}

func obey(in *json.Decoder, say func(report)) error {
	var o order
	if err := in.Decode(&o); err != nil {
		return err
	}
	node, lib, err := joined(o, say)
	if err != nil {
		return err
	}
	ctx := context.Background()
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return err
		}
		var id identity.RemoteIdentity
		switch {
		case o.Addrs != nil:
			for other, addr := range o.Addrs {
				if id, err = identity.Parse(other); err == nil {
					err = node.Register(ctx, &book{found: id, via: []p2p.Candidate{{Kind: p2p.Direct, Addr: addr}}})
				}
			}
		case o.Open != "":
			if id, err = identity.Parse(o.Open); err == nil {
				err = hold(ctx, lib, id, say)
			}
		case o.Remove != "":
			began := time.Now()
			if id, err = identity.Parse(o.Remove); err == nil {
				err = lib.Remove(id, library.RemoveOptions{})
			}
			say(report{Done: began})
		}
		if err != nil {
			return err
		}
	}
}

// hold opens a tunnel, and reports when it was opened and when it was lost.
func hold(ctx context.Context, lib *library.Library, to identity.RemoteIdentity, say func(report)) error {
	c, err := lib.Open(ctx, to, "echo")
	if err != nil {
		return err
	}
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return err
	}
	say(report{Open: true})
	_, _ = c.Read(make([]byte, 1))
	say(report{Cut: time.Now()})
	return nil
}

// joined starts a device with the library of the first order.
func joined(o order, say func(report)) (*p2p.P2P, *library.Library, error) {
	id, err := identity.FromSeed(o.Node)
	if err != nil {
		return nil, nil, err
	}
	instance, err := identity.FromSeed(o.Instance)
	if err != nil {
		return nil, nil, err
	}
	text, err := base64.StdEncoding.DecodeString(o.Record)
	if err != nil {
		return nil, nil, err
	}
	record, err := library.DecodeRecord(text)
	if err != nil {
		return nil, nil, err
	}
	listener, libraries := quic.New(quic.Config{}), library.New(library.Config{})
	var mux p2p.Mux
	mux.Handle(library.Route, p2p.Anyone, libraries)
	node, err := p2p.Start(context.Background(), p2p.Config{App: "test", Identity: id, Handler: &mux, Hooks: []p2p.Hook{listener, libraries}})
	if err != nil {
		return nil, nil, err
	}
	lib, err := libraries.Add(record, instance)
	if err != nil {
		return nil, nil, err
	}
	lib.Handle("echo", func(_ context.Context, c *tunnel.Conn) error { _, err := io.Copy(c, c); return err })
	port, _ := listener.Port()
	say(report{Port: port})
	return node, lib, nil
}

// A process is the parent's handle of a device.
type process struct {
	t   *testing.T
	in  *json.Encoder
	out *json.Decoder
}

func startProcess(t *testing.T) *process {
	cmd := exec.Command(os.Args[0])
	// Without this option, each process takes a second longer to end.
	cmd.Env = append(os.Environ(), processEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close() // this ends the process
		cmd.Wait()
	})
	return &process{t, json.NewEncoder(in), json.NewDecoder(out)}
}

func (p *process) order(o order) { require.NoError(p.t, p.in.Encode(o)) }

func (p *process) report() (r report) {
	require.NoError(p.t, p.out.Decode(&r))
	require.Empty(p.t, r.Err)
	return r
}

// TestRemovalIsFast: a removal on one device cuts the tunnels of all others
// that are connected: over QUIC, between five processes. The time that this
// takes is logged.
func TestRemovalIsFast(t *testing.T) {
	devices := newDevices(5)
	of := newCharter(t, devices[0])
	for _, d := range devices[1:] {
		of.join(d, library.RoleMember)
	}
	record, err := of.record().Encode()
	require.NoError(t, err)
	var all []*process
	addrs := map[string]netip.AddrPort{}
	for _, d := range devices {
		p := startProcess(t)
		p.order(order{
			Node: d.id.PrivateKey().Seed(), Instance: d.instance.PrivateKey().Seed(), Record: base64.StdEncoding.EncodeToString(record),
		})
		addrs[d.id.Remote().String()] = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p.report().Port)
		all = append(all, p)
	}
	for i, p := range all {
		others := map[string]netip.AddrPort{}
		for j, d := range devices {
			if id := d.id.Remote().String(); i != j {
				others[id] = addrs[id]
			}
		}
		p.order(order{Addrs: others})
	}
	gone := devices[4].own().String()
	for i, p := range all[:4] {
		if i > 0 {
			p.order(order{Open: gone})
			require.True(t, p.report().Open)
		}
	}
	all[0].order(order{Remove: gone})
	began := all[0].report().Done
	var took []time.Duration
	for _, p := range all[1:4] {
		took = append(took, p.report().Cut.Sub(began))
	}
	t.Logf("from the removal to the end of the tunnels of the others: %v", fmt.Sprint(took))
	for _, d := range took {
		require.Less(t, d, 30*time.Second, "it takes some milliseconds on an idle machine")
	}
}
