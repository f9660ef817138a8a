package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// A code names what is the matter, for programs.
type code string

const (
	codeOK           code = "ok"
	codeUnlisted     code = "unlisted"
	codeNoInterface  code = "no-interface"
	codeMTU          code = "mtu"
	codeContainer    code = "container"
	codeNAT          code = "nat"
	codePortTaken    code = "port-taken"
	codeRefused      code = "socket-refused"
	codeBlockedIn    code = "blocked-in"
	codeBlockedOut   code = "blocked-out"
	codeMemberships  code = "memberships"
	codeDeaf         code = "deaf"
	codeAppDeaf      code = "app-deaf"
	codeMute         code = "mute"
	codeSnooping     code = "snooping"
	codeSpanningTree code = "spanning-tree"
	codeUnheard      code = "unheard"
	codeLoopback     code = "loopback"
	codeBuffers      code = "buffers"
	codeNoGSO        code = "no-gso"
	codeClock        code = "clock"
	codeClockSteps   code = "clock-steps"
	codeNoName       code = "no-name"
	codeNoNameServer code = "no-name-server"
	codeNoDiscovery  code = "no-discovery"
	codeUnannounced  code = "unannounced"
	codeNoAddress    code = "no-address"
	codeOtherPeer    code = "other-peer"
	codeNoZone       code = "no-zone"
	codeNoFamily     code = "no-family"
	codeCloses       code = "closes"
	codeNoRoute      code = "no-route"
	codeNoHost       code = "no-host"
	codeClosed       code = "closed"
	codeFirewall     code = "firewall"
	codeRouter       code = "router"
	codeSilent       code = "silent"
	codeHandshake    code = "handshake"
	codeForeign      code = "foreign"
)

// codes describe themselves in the help. They stay as they are.
var codes = []struct {
	code  code
	about string
}{
	{codeOK, "nothing"},
	{codeUnlisted, "the system does not list its interfaces"},
	{codeNoInterface, "this host is in no network"},
	{codeMTU, "packets of the size that QUIC begins with do not fit, on an interface or on the way"},
	{codeContainer, "this is a container, in a network of its own"},
	{codeNAT, "this is a virtual machine or WSL, in a network of its own"},
	{codePortTaken, "another program has the UDP port"},
	{codeRefused, "the system refuses a socket"},
	{codeBlockedIn, "this host drops what comes in"},
	{codeBlockedOut, "this host drops what goes out"},
	{codeMemberships, "the system's limit of multicast groups is reached: the interface is deaf"},
	{codeDeaf, "the multicast group cannot be joined: the interface is deaf"},
	{codeAppDeaf, "the node that has the UDP port is deaf on the interface"},
	{codeMute, "multicast cannot be sent"},
	{codeSnooping, "unicast works, and multicast of others does not arrive"},
	{codeSpanningTree, "nothing was heard, and the interface is younger than a switch may take"},
	{codeUnheard, "nothing was heard"},
	{codeLoopback, "the loopback interface does not work"},
	{codeBuffers, "small socket buffers"},
	{codeNoGSO, "no segmentation by the kernel"},
	{codeClock, "the clock is wrong"},
	{codeClockSteps, "the clock jumped"},
	{codeNoName, "there is no such host name"},
	{codeNoNameServer, "no name server answers"},
	{codeNoDiscovery, "discovery does not start"},
	{codeUnannounced, "nobody announces the peer"},
	{codeNoAddress, "the peer announces no address that could be dialed"},
	{codeOtherPeer, "another peer is there"},
	{codeNoZone, "a link-local address without its interface"},
	{codeNoFamily, "this host does not have the address family"},
	{codeCloses, "the peer closes the connection"},
	{codeNoRoute, "no route of this host leads there"},
	{codeNoHost, "no device has the address"},
	{codeClosed, "nothing listens at the port, or a firewall says so"},
	{codeFirewall, "a firewall rejects the packets, or drops them although the device is there"},
	{codeRouter, "a router on the way rejects the packets: a firewall, or it knows no way"},
	{codeSilent, "no answer, and no sign of the device"},
	{codeHandshake, "a node answers, but no handshake gets through"},
	{codeForeign, "what answers is no node of this version"},
}

// codesHelp lists the codes.
func codesHelp() string {
	var b strings.Builder
	for _, c := range codes {
		fmt.Fprintf(&b, "    %-15s %s\n", c.code, c.about)
	}
	return b.String()
}

// Windows has numbers of its own for what its sockets say, and package syscall
// does not translate them.
const (
	wsaAccess      = syscall.Errno(10013)
	wsaTooLarge    = syscall.Errno(10040)
	wsaInUse       = syscall.Errno(10048)
	wsaNetUnreach  = syscall.Errno(10051)
	wsaReset       = syscall.Errno(10054) // of UDP: nobody has the port
	wsaNoBuffers   = syscall.Errno(10055)
	wsaHostUnreach = syscall.Errno(10065)
)

func isAny(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

func isInUse(err error) bool { return isAny(err, syscall.EADDRINUSE, wsaInUse) }

func isNoFamily(err error) bool { return isAny(err, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL) }

func isNoRoute(err error) bool { return isAny(err, syscall.ENETUNREACH, wsaNetUnreach) }

// isRefused tells whether the system refuses something by a rule: a firewall's,
// or for want of permission.
func isRefused(err error) bool { return isAny(err, syscall.EPERM, syscall.EACCES, wsaAccess) }

// letIn says how to let packets for a UDP port in.
func letIn(system string, port uint16) string {
	switch system {
	case "linux":
		return fmt.Sprintf("let it in, by \"ufw allow %d/udp\", \"firewall-cmd --add-port=%d/udp\", or a rule \"udp dport %d accept\" of nftables.", port, port, port)
	case "darwin":
		return "System Settings, Network, Firewall: allow the app; and Privacy & Security, Local Network."
	case "windows":
		return "Windows Security, Firewall: allow the app in private networks, and make this network a private one."
	}
	return fmt.Sprintf("let %d/udp in.", port)
}

// letOut says how to let packets to a UDP port out.
func letOut(system string, port uint16) string {
	switch system {
	case "linux":
		return fmt.Sprintf("let it out, by \"ufw allow out %d/udp\", or a rule \"udp dport %d accept\" in the nftables chain that has the hook output; "+
			"a unit of systemd may have IPAddressDeny.", port, port)
	case "darwin":
		return "System Settings, Privacy & Security, Local Network: allow the app; and look for a filter of outgoing connections, such as a security program's."
	case "windows":
		return fmt.Sprintf("Windows Defender Firewall with Advanced Security, Outbound Rules: no rule may block UDP to port %d for the app.", port)
	}
	return fmt.Sprintf("let UDP to port %d out.", port)
}

// whoHas says how to find out which program has a UDP port.
func whoHas(system string, port uint16) string {
	switch system {
	case "linux":
		return fmt.Sprintf("\"ss -ulpn sport = :%d\" names it.", port)
	case "windows":
		return fmt.Sprintf("\"netstat -abn -p UDP\" names it, with port %d.", port)
	}
	return fmt.Sprintf("\"lsof -nP -iUDP:%d\" names it.", port)
}

// system is what the advice is for.
const system = runtime.GOOS
