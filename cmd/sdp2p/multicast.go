package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sdp2p/p2p/internal/dns"
	"github.com/sdp2p/p2p/internal/dnssd"
)

// interfaces describes those that are up, and returns those that are to be used, and all addresses of this host.
func (d *doctor) interfaces(r *report) (used []dnssd.Interface, own map[netip.Addr]bool) {
	own = map[netip.Addr]bool{}
	all, err := d.network.Interfaces()
	if err != nil {
		r.Checks = append(r.Checks, check{"interfaces", "", fail, fmt.Sprintf("cannot be listed: %v", err),
			"The system refuses that: a sandbox, or on Android the permissions of the app."})
		return nil, own
	}
	slices.SortFunc(all, func(a, b dnssd.Interface) int { return cmp.Compare(a.Index, b.Index) })
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
		var addrs []string
		for _, p := range i.Addrs {
			own[p.Addr()] = true
			addrs = append(addrs, p.String())
		}
		why := ""
		switch {
		case !i.Up:
			continue
		case len(i.Addrs) == 0:
			why = "not used: it has no address"
		case d.on != "" && d.on != i.Name:
			why = "not checked"
		case d.on == "" && i.Loopback:
			why = "not used: loopback"
		case d.on == "" && i.PointToPoint:
			why = "not used: point-to-point, as most VPNs are"
		case d.on == "" && !i.Multicast:
			why = "not used: it does no multicast"
		default:
			why = "used"
			used = append(used, i)
		}
		r.Checks = append(r.Checks, check{"interfaces", i.Name, fine, strings.Join(append(addrs, why), ", "), ""})
	}
	switch {
	case len(used) > 0:
	case d.on != "":
		r.Checks = append(r.Checks, check{"interfaces", d.on, fail, "not there, not up, or without an address",
			"Switch it on or plug it in; there are: " + strings.Join(names, " ") + "."})
	default:
		r.Checks = append(r.Checks, check{"interfaces", "", fail, "none is up, has an address and does multicast",
			"Connect this host to a network by Wi-Fi or cable. Peers behind a VPN need an address that is typed in."})
	}
	return used, own
}

// An ear is what was heard on one interface over one family. It is under the mutex of its family's ears.
type ear struct {
	ifc    dnssd.Interface
	family dnssd.Family
	probe  []byte // a query that nobody else sends
	asked  time.Time
	err    error // why nothing can be sent or heard
	doing  string

	back    time.Duration // how long the query took to come back; 0 if it has not
	local   int           // packets of other programs on this host
	packets int           // packets of other devices
	sources map[netip.Addr]int
}

// maxSources bounds how many devices are told apart on one interface.
const maxSources = 256

// ears are those of one family, which share a socket as those of a discovery do.
type ears struct {
	family dnssd.Family
	own    map[netip.Addr]bool

	mu  sync.Mutex
	all []*ear
	err error // of the socket: it could not be opened, or has failed
}

// multicast asks on every interface, listens for the time that there is, and tells what came back and what others sent.
func (d *doctor) multicast(ctx context.Context, used []dnssd.Interface, own map[netip.Addr]bool) (checks []check, heard []source) {
	ctx, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	families := []*ears{{family: dnssd.IPv4, own: own}, {family: dnssd.IPv6, own: own}}
	var listening sync.WaitGroup
	for _, e := range families {
		for _, i := range used {
			if slices.ContainsFunc(i.Addrs, func(p netip.Prefix) bool { return p.Addr().Is4() == (e.family == dnssd.IPv4) }) {
				e.all = append(e.all, &ear{ifc: i, family: e.family, probe: probe(d.app), sources: map[netip.Addr]int{}})
			}
		}
		if len(e.all) > 0 {
			listening.Go(func() { e.listen(ctx, d.network) })
		}
	}
	listening.Wait()

	heard = []source{}
	for _, i := range used {
		others := false // on the interface: that one family is silent is common
		for _, e := range families {
			others = others || slices.ContainsFunc(e.all, func(x *ear) bool { return x.ifc.Index == i.Index && x.packets > 0 })
		}
		for _, e := range families {
			for _, x := range e.all {
				if x.ifc.Index == i.Index {
					checks = append(checks, x.check(cmp.Or(e.err, x.err), others))
					heard = append(heard, x.heard()...)
				}
			}
		}
	}
	return checks, heard
}

// probe returns a query for all services (RFC 6763 §9) and for the app's nodes, so that others have something to answer, and
// for a name that nobody has, by which it is known when it comes back.
func probe(app string) []byte {
	ask := func(name string, kind uint16) dns.Question {
		return dns.Question{Name: name, Type: kind, Class: dns.ClassINET}
	}
	b, err := (&dns.Message{Question: []dns.Question{
		ask("_services._dns-sd._udp.local.", dns.TypePTR), ask("_"+app+"._udp.local.", dns.TypePTR),
		ask("doctor-"+rand.Text()+"._"+app+"._udp.local.", dns.TypeTXT),
	}}).Pack()
	if err != nil {
		panic(err) // all names are valid
	}
	return b
}

// listen asks and listens until ctx is done. It asks with another socket than it listens with.
func (e *ears) listen(ctx context.Context, network dnssd.Network) {
	open := func(deliver func(dnssd.Packet)) dnssd.Conn {
		c, err := network.Open(e.family, deliver, e.fail)
		if err != nil {
			e.fail(err)
		}
		return c
	}
	in := open(e.hear)
	if in == nil {
		return
	}
	defer in.Close()
	out := open(func(dnssd.Packet) {})
	if out == nil {
		return
	}
	defer out.Close()
	for _, x := range e.all {
		if err := in.Join(x.ifc); err != nil {
			x.err, x.doing = err, "cannot join the multicast group"
		}
	}
	for pause := time.Second; ; pause *= 2 { // RFC 6762 §5.2
		for _, x := range e.all {
			if x.err != nil {
				continue
			}
			e.mu.Lock()
			x.asked = time.Now()
			e.mu.Unlock()
			if err := out.Send(x.probe, x.ifc, dnssd.Groups[e.family]); err != nil {
				x.err, x.doing = err, "cannot send"
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

func (e *ears) fail(err error) {
	if errors.Is(err, net.ErrClosed) {
		return // by listen
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = cmp.Or(e.err, err)
}

func (e *ears) hear(p dnssd.Packet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	from := p.Src.Addr().WithZone("")
	for _, x := range e.all {
		if e.own[from] && bytes.Equal(p.Data, x.probe) {
			if x.back == 0 && (p.Index == x.ifc.Index || p.Index == 0) { // not from another interface on the same network
				x.back = max(time.Since(x.asked), 1)
			}
			return
		}
	}
	i := slices.IndexFunc(e.all, func(x *ear) bool {
		if p.Index != 0 {
			return x.ifc.Index == p.Index
		}
		return slices.ContainsFunc(x.ifc.Addrs, func(prefix netip.Prefix) bool { return prefix.Contains(from) })
	})
	if i < 0 {
		return
	}
	x := e.all[i]
	if e.own[from] {
		x.local++
		return
	}
	x.packets++
	if _, known := x.sources[from]; known || len(x.sources) < maxSources {
		x.sources[from]++
	}
}

// heard returns what was heard of others, from the most talkative on.
func (x *ear) heard() (all []source) {
	for addr, n := range x.sources {
		all = append(all, source{x.ifc.Name, x.family.String(), addr, n})
	}
	slices.SortFunc(all, func(a, b source) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Source.Compare(b.Source))
	})
	return all
}

func (x *ear) check(err error, others bool) check {
	c := check{"multicast", x.ifc.Name + " " + x.family.String(), fail, "", ""}
	switch {
	case errors.Is(err, syscall.EAFNOSUPPORT):
		c.Verdict, c.Value = fine, "this host has no "+x.family.String()
		return c
	case x.ifc.Loopback && isAny(err, syscall.ENETUNREACH, wsaNetUnreach):
		c.Verdict, c.Value = fine, "loopback has no multicast by "+x.family.String()+", as is common"
		return c
	case isInUse(err):
		c.Value = "another program has UDP port 5353 for itself"
		c.Advice = "End it, or have it share the port. " + whoHas(dnssd.Port)
		return c
	case isRefused(err):
		c.Value, c.Advice = fmt.Sprintf("%s: %v", cmp.Or(x.doing, "no socket"), err),
			"This host does not let the program use UDP port 5353: "+firewall(dnssd.Port)
		return c
	case err != nil:
		c.Value = fmt.Sprintf("%s: %v", cmp.Or(x.doing, "no socket"), err)
		c.Advice = "Discovery does not work over this. Is the interface connected, and is there room for another group (net.ipv4.igmp_max_memberships)?"
		if runtime.GOOS != "linux" {
			c.Advice = "Discovery does not work over this. Is the interface connected, and may this program use the local network?"
		}
		return c
	case x.back == 0:
		c.Value = "own query does not come back; " + x.others()
		c.Advice = "Something on this host, most often its firewall, drops UDP port 5353: " + firewall(dnssd.Port)
		return c
	}
	c.Verdict, c.Value = fine, fmt.Sprintf("own query back after %v; %s", round(x.back), x.others())
	if !others && !x.ifc.Loopback {
		c.Verdict = warn
		c.Advice = "If there are other devices: Wi-Fi that keeps them apart (guest network, client isolation), a firewall here or there that " +
			"drops UDP port 5353 from outside, or a network with nobody else in it, such as a Docker bridge."
	}
	return c
}

func (x *ear) others() string {
	s := "nothing from others"
	if x.ifc.Loopback {
		s = "there are no others on loopback"
	}
	if all := x.heard(); len(all) > 0 {
		s = fmt.Sprintf("%d from %d others: ", x.packets, len(all))
		for i, o := range all[:min(len(all), 3)] {
			s += []string{"", ", "}[min(i, 1)] + fmt.Sprintf("%v (%d)", o.Source, o.Packets)
		}
		if len(all) > 3 {
			s += " …"
		}
	}
	if x.local > 0 {
		s += fmt.Sprintf("; %d from programs on this host", x.local)
	}
	return s
}

// round leaves what a person wants to know of a duration.
func round(d time.Duration) time.Duration {
	for unit := time.Second; unit > time.Microsecond; unit /= 10 {
		if d >= unit {
			return d.Round(unit / 100)
		}
	}
	return d.Round(time.Microsecond)
}
