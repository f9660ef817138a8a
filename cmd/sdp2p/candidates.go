package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/mdns"
	"github.com/sdp2p/p2p/quic"
)

// A target is what the argument means: a peer, or one of host and addr with a port.
type target struct {
	text string
	peer identity.RemoteIdentity
	host string
	addr netip.Addr
	port uint16
}

func parseTarget(text string) (*target, error) {
	id, err := identity.Parse(text)
	if err == nil {
		return &target{text: text, peer: id}, nil
	}
	if len(text) == identity.TextSize && !strings.ContainsAny(text, ".:") {
		return nil, fmt.Errorf("%q has the length of an identity: %w", text, err)
	}
	t := &target{text: text, host: text, port: quic.DefaultPort}
	if host, port, err := net.SplitHostPort(text); err == nil {
		if p, err := strconv.ParseUint(port, 10, 16); err == nil {
			t.host, t.port = host, uint16(p)
		}
	}
	if addr, err := netip.ParseAddr(strings.Trim(t.host, "[]")); err == nil {
		t.host, t.addr = "", addr.Unmap()
	}
	err = quic.New(quic.Config{}).SetManualPeers([]string{text}) // which knows the rules, and starts nothing
	if err != nil && !(t.addr.Is6() && t.addr.IsLinkLocalUnicast() && t.port != 0) {
		return nil, fmt.Errorf("%w; or the 43 characters of an identity", err)
	}
	return t, nil
}

// peer tries every address of the target.
func (d *doctor) peer(ctx context.Context, t *target) ([]check, *peerReport) {
	found, addrs := d.addresses(ctx, t)
	r := &peerReport{Asked: t.text, Candidates: make([]candidate, len(addrs))}
	checks := make([]check, len(addrs))
	var trying sync.WaitGroup
	room := make(chan struct{}, 8)
	for i, addr := range addrs {
		trying.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			checks[i], r.Candidates[i] = d.try(ctx, addr, t.peer)
		})
	}
	trying.Wait()
	r.Reached = slices.ContainsFunc(r.Candidates, func(c candidate) bool { return c.Reached })
	for i := range checks {
		if r.Reached && checks[i].Verdict == fail {
			checks[i].Verdict = warn // there is a way
		}
	}
	return append(found, checks...), r
}

// addresses returns where the target may be, and how that came out.
func (d *doctor) addresses(ctx context.Context, t *target) ([]check, []netip.AddrPort) {
	switch {
	case !t.peer.IsZero():
		return d.discover(ctx, t.peer)
	case t.host == "":
		return nil, []netip.AddrPort{netip.AddrPortFrom(t.addr, t.port)}
	}
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	addrs, err := d.lookup(ctx, t.host)
	if err != nil || len(addrs) == 0 {
		c := check{"peer", t.host, fail, "the name leads nowhere", ""}
		c.Advice = "Is it spelt right? Names that end in .local need Multicast DNS in this system; an IP address always works."
		var failed *net.DNSError
		switch {
		case errors.As(err, &failed) && failed.IsNotFound:
			c.Value = "there is no such name"
		case ctx.Err() != nil || errors.As(err, &failed) && failed.IsTimeout:
			c.Value = "no name server answers"
			c.Advice = "Is there a network, and is its name server (DNS) right? An IP address works without one."
		case err != nil:
			c.Value = err.Error()
		}
		return []check{c}, nil
	}
	var all []netip.AddrPort
	for _, a := range addrs {
		if addr := netip.AddrPortFrom(a.Unmap(), t.port); !slices.Contains(all, addr) {
			all = append(all, addr)
		}
	}
	return []check{{"peer", t.host, fine, counted(len(all), "address", "addresses"), ""}}, all
}

// discover looks for a peer as nodes do, and announces nothing: there is no listener to announce.
func (d *doctor) discover(ctx context.Context, id identity.RemoteIdentity) ([]check, []netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	c := check{"peer", id.String(), fail, "", ""}
	var cfg mdns.Config
	if d.on != "" {
		cfg.Interfaces = []string{d.on}
	}
	node, err := d.node(ctx, mdns.New(cfg))
	if err != nil {
		c.Value, c.Advice = fmt.Sprintf("discovery does not start: %v", err), "See the lines about multicast."
		return []check{c}, nil
	}
	defer shutdown(ctx, node)
	var addrs []netip.AddrPort
	discovered := false
	for range node.Watch(ctx) {
		if peer, ok := node.Peer(id); ok {
			discovered, addrs = true, nil
			for _, candidate := range peer.Info().Candidates {
				addrs = append(addrs, candidate.Addr)
			}
		}
	}
	switch {
	case len(addrs) > 0:
		c.Verdict, c.Value = fine, fmt.Sprintf("discovered, with %s", counted(len(addrs), "address", "addresses"))
	case discovered:
		c.Value = "discovered, but with no address that this host could dial"
		c.Advice = "Link-local IPv6 addresses do not count. Does the peer have another one, and is it in this network?"
	default:
		c.Value = fmt.Sprintf("nobody announced it in %v", d.wait)
		c.Advice = "Is it on, in this network, and is its discovery enabled, for this --app? See the lines about multicast, and run the doctor there too. " +
			"With its address (sdp2p doctor ADDRESS), discovery is not needed."
	}
	return []check{c}, addrs
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// node starts one of the doctor's own, with one hook.
func (d *doctor) node(ctx context.Context, hook p2p.Hook) (*p2p.P2P, error) {
	return p2p.Start(ctx, p2p.Config{
		App: d.app, Name: "sdp2p doctor", Hooks: []p2p.Hook{hook}, Logger: slog.New(slog.DiscardHandler),
	})
}

// shutdown ends a node, also if ctx has ended. There is nothing of its own that it could lose.
func shutdown(ctx context.Context, node *p2p.P2P) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = node.Shutdown(ctx)
}

// try tells whether a node is at an address, and if want is one, whether it is that.
func (d *doctor) try(ctx context.Context, addr netip.AddrPort, want identity.RemoteIdentity) (check, candidate) {
	c := check{"peer", addr.String(), fine, "", ""}
	there, err := d.reach(ctx, addr, want)
	result := candidate{Address: addr, Reached: err == nil, Milliseconds: float64(there.took.Microseconds()) / 1000}
	if !there.id.IsZero() {
		result.Identity, result.Fingerprint, result.Name = there.id, there.id.Fingerprint(), there.name
	}
	if err != nil {
		c.Verdict = fail
		c.Value, c.Advice = explain(addr, there, err)
		return c, result
	}
	c.Value = fmt.Sprintf("reached in %v", round(there.took))
	if there.rtt > 0 {
		c.Value += fmt.Sprintf(" (round trip %v)", round(there.rtt))
	}
	c.Value += ": " + there.String()
	return c, result
}

// A resident is who is at an address.
type resident struct {
	id   identity.RemoteIdentity
	name string
	took time.Duration
	rtt  time.Duration // 0 if unknown
}

func (r resident) String() string {
	if name := printable(r.name); name != "" {
		return fmt.Sprintf("%s, %v", name, r.id)
	}
	return r.id.String()
}

// nameTime is how long a peer that was reached may take to say its name.
const nameTime = time.Second

var errNoAnswer = errors.New("no answer")

// quietTime is for how long nothing may come from an address before the network is asked why.
const quietTime = 500 * time.Millisecond

// reach connects to an address by a node of its own, so that no other connection counts for this one. If want is not zero
// and somebody else is there, the error is [quic.ErrOtherPeer], and the resident who.
func (d *doctor) reach(ctx context.Context, addr netip.AddrPort, want identity.RemoteIdentity) (there resident, err error) {
	if a := addr.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		return there, quic.ErrLinkLocal
	}
	outer := ctx
	// Who is there is asked by a first handshake, and proved by a second one.
	ctx, cancel := context.WithTimeout(ctx, 2*d.wait)
	defer cancel()
	var network error
	var asking sync.WaitGroup
	asking.Go(func() {
		if network = ask(ctx, addr, min(quietTime, d.wait/2), d.wait+quietTime); network != nil {
			cancel() // there will be no answer
		}
	})
	there, err = d.meet(ctx, addr)
	switch {
	case err != nil && isSilence(err): // the network may still say why
	case err == nil, errors.Is(err, quic.ErrDisabled), errors.Is(err, p2p.ErrConnectionLost):
		cancel()
	default: // the system or somebody said something: is it the network?
		cancel()
		asking.Wait()
		if network == nil {
			network = ask(outer, addr, 0, quietTime)
		}
	}
	asking.Wait()
	switch {
	case err != nil && network != nil:
		return there, network
	case err == nil && !want.IsZero() && there.id != want:
		return there, quic.ErrOtherPeer
	}
	return there, err
}

// meet connects to whoever is at an address.
func (d *doctor) meet(ctx context.Context, addr netip.AddrPort) (there resident, err error) {
	listener := quic.New(quic.Config{DialTimeout: d.wait})
	node, err := d.node(ctx, listener)
	if err != nil {
		return there, err
	}
	defer shutdown(ctx, node)
	began := time.Now()
	if err := listener.SetManualPeers([]string{addr.String()}); err != nil {
		return there, err
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		m := listener.ManualPeers()[0]
		switch m.State {
		case quic.ManualReached:
			there.id, there.took = m.Identity, m.Since.Sub(began)
			if peer, ok := node.Peer(m.Identity); ok {
				said, stop := context.WithTimeout(ctx, nameTime)
				_, _ = peer.WaitMetadata(said) // the ancestor's nodes do not say it so
				stop()
				info := peer.Info()
				there.name = info.Name
				if len(info.Connections) > 0 {
					there.rtt = info.Connections[0].RTT
				}
			}
			return there, nil
		case quic.ManualFailed:
			there.took = m.Since.Sub(began)
			return there, m.Err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			there.took = time.Since(began)
			return there, errNoAnswer
		}
	}
}

// isSilence tells whether nothing was heard.
func isSilence(err error) bool {
	var late net.Error
	return errors.Is(err, errNoAnswer) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &late) && late.Timeout()
}

// ask tells what the network says to a packet, such as that the port is not open: that reaches a connected socket, but not
// those of QUIC. It begins after the time quiet, goes on until ctx or the time wait ends, and is then nil. What it sends is
// one byte, which no QUIC endpoint answers.
func ask(ctx context.Context, addr netip.AddrPort, quiet, wait time.Duration) error {
	end := time.Now().Add(wait)
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer conn.Close()
	hearErrors(conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for ctx.Err() == nil && time.Now().Before(end) {
		if err = conn.SetDeadline(time.Now().Add(min(quietTime, time.Until(end)))); err == nil {
			_, err = conn.Write([]byte{0})
		}
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
		if err != nil && !isSilence(err) && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// explain says why an address did not lead to the peer, and what to do.
func explain(addr netip.AddrPort, there resident, err error) (value, advice string) {
	switch {
	case errors.Is(err, quic.ErrOtherPeer):
		return "another peer is there: " + there.String(),
			"The address has passed on to another device, or somebody announces it falsely. Restart the app on the device that is looked for."
	case errors.Is(err, quic.ErrLinkLocal):
		return "not tried: a link-local IPv6 address needs the interface",
			"Name it, as in [fe80::1%eth0]:7373, or use another address of the peer: IPv4, or IPv6 that begins with 2, 3 or fd."
	case errors.Is(err, quic.ErrDisabled):
		return "not tried: this host does not have the address family", "Use another address of the peer, or enable the family in this system."
	case errors.Is(err, p2p.ErrConnectionLost):
		return "a node is there, but closes the connection", "The way to it works. Its app lets in only whom it knows (p2p.Config.Allow), which the doctor never is; or it was shutting down."
	case isAny(err, syscall.ECONNREFUSED, wsaReset):
		return fmt.Sprintf("refused: the host is there, but nothing on it listens on UDP port %d", addr.Port()),
			"Start the app there. Is it the right port? \"sdp2p scan\" in its network shows it."
	case isAny(err, syscall.ENETUNREACH, wsaNetUnreach):
		return "no route: this host is in no network that leads there", "Connect this host to the peer's network, or use an address of the peer in one that this host has."
	case isAny(err, syscall.EHOSTUNREACH, wsaHostUnreach):
		return "no host has that address", "Is the device on, in the same network, and has it still that address?"
	case isRefused(err):
		return "this host does not let packets out: " + err.Error(), "Its firewall has to " + strings.TrimPrefix(firewall(addr.Port()), "let it ")
	case isSilence(err):
		return fmt.Sprintf("no answer in %v", round(there.took)),
			fmt.Sprintf("Is the device on, the app running, and this its address? Does its firewall let UDP port %d in? Is Wi-Fi that keeps devices apart (guest network), or a VPN, in between? Run the doctor there.", addr.Port())
	}
	return err.Error(), "Something answers, but not as a node does: another program, or a device whose clock differs by more than an hour."
}
