package main

import (
	"context"
	"crypto/rand"
	"net"
	"net/netip"
	"syscall"
	"time"
)

const (
	// knockSmall is a size that fits everywhere. A packet that a node
	// answers with a stateless reset is larger than 42 bytes.
	knockSmall = 48
	// knockLarge is the size of the packets that QUIC begins with, which no
	// path may refuse (RFC 9000 §14).
	knockLarge = 1200

	// quietTime is how long an address may stay silent before the network is
	// asked why.
	quietTime = 500 * time.Millisecond
)

// knockAt sends packets of one size to an address and returns the outcome: an
// answer, or an error of the system or the network, such as that the port is
// not open. Such errors reach a connected socket, but not those of QUIC.
//
// The packets look like those of a connection that the node there has lost (RFC
// 9000 §10.3): it answers them with a few bytes, and keeps no state. knockAt
// begins after the time quiet, and ends with the first answer or error, with
// ctx, or after the time wait.
func knockAt(ctx context.Context, addr netip.AddrPort, size int, quiet, wait time.Duration) (k knock) {
	end := time.Now().Add(wait)
	if !sleep(ctx, quiet) {
		return k
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr))
	if err != nil {
		k.doing, k.err = routing, err
		return k
	}
	defer conn.Close()
	hearErrors(conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	for ctx.Err() == nil && time.Now().Before(end) {
		did, err := knockOnce(conn, size, min(quietTime, time.Until(end)))
		switch {
		case !isSilence(err) && !stop(): // it may be closed
			return k
		case err == nil:
			k.sent, k.answered = k.sent+1, true
			return k
		case isSilence(err):
			k.sent++
		default:
			k.doing, k.err, k.reject = did, err, told(conn)
			return k
		}
	}
	return k
}

// knockOnce sends one packet and waits for an answer.
func knockOnce(conn *net.UDPConn, size int, wait time.Duration) (doing, error) {
	packet := make([]byte, size)
	rand.Read(packet)
	packet[0] = packet[0]&0x3f | 0x40 // a short header (RFC 9000 §17.3)
	if err := conn.SetDeadline(time.Now().Add(wait)); err != nil {
		return sending, err
	}
	if _, err := conn.Write(packet); err != nil {
		return sending, err
	}
	_, err := conn.Read(make([]byte, 2048))
	return hearing, err
}

// A class is a class of ICMP messages.
type class int

const (
	otherwise   class = iota
	prohibited        // by an administrator: a firewall
	closedPort        // nothing listens, or a firewall pretends so
	noHost            // no device has the address, or a firewall pretends so
	noWay             // no route leads there, or a firewall pretends so
	tooLarge          // for the path
	goingRound        // in a loop
	unsupported       // the host does not support UDP: a firewall pretends so
)

// meanings are the meanings of the codes of ICMP (RFC 792, RFC 1812 §5.2.7.1)
// and ICMPv6 (RFC 4443 §3).
var meanings = map[bool]map[[2]uint8]struct {
	class class
	text  string
}{
	false: {
		{3, 0}:  {noWay, "network unreachable"},
		{3, 1}:  {noHost, "host unreachable"},
		{3, 2}:  {unsupported, "protocol unreachable"},
		{3, 3}:  {closedPort, "port unreachable"},
		{3, 4}:  {tooLarge, "fragmentation needed"},
		{3, 5}:  {noWay, "source route failed"},
		{3, 6}:  {noWay, "network unknown"},
		{3, 7}:  {noHost, "host unknown"},
		{3, 8}:  {noHost, "host isolated"},
		{3, 9}:  {prohibited, "network prohibited"},
		{3, 10}: {prohibited, "host prohibited"},
		{3, 11}: {noWay, "network unreachable for this service"},
		{3, 12}: {noHost, "host unreachable for this service"},
		{3, 13}: {prohibited, "administratively prohibited"},
		{3, 14}: {prohibited, "precedence violation"},
		{3, 15}: {prohibited, "precedence cutoff"},
		{11, 0}: {goingRound, "time exceeded"},
	},
	true: {
		{1, 0}: {noWay, "no route"},
		{1, 1}: {prohibited, "administratively prohibited"},
		{1, 2}: {noWay, "beyond scope"},
		{1, 3}: {noHost, "address unreachable"},
		{1, 4}: {closedPort, "port unreachable"},
		{1, 5}: {prohibited, "source address failed policy"},
		{1, 6}: {prohibited, "reject route"},
		{2, 0}: {tooLarge, "packet too big"},
		{3, 0}: {goingRound, "hop limit exceeded"},
		{4, 1}: {unsupported, "unrecognized next header"},
	},
}

// class returns the class of the message.
func (r *reject) class() class { return meanings[r.v6][[2]uint8{r.kind, r.code}].class }

// String describes the message.
func (r *reject) String() string {
	if text := meanings[r.v6][[2]uint8{r.kind, r.code}].text; text != "" {
		return text
	}
	return "unreachable"
}

// isTooLarge reports whether packets did not fit.
func (k *knock) isTooLarge() bool {
	return k.reject != nil && k.reject.class() == tooLarge || isAny(k.err, syscall.EMSGSIZE, wsaTooLarge)
}
