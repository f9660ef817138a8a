package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// A code names a finding, for programs.
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
	codeNoContact    code = "no-contact"
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
	codeLaneClosed   code = "lane-closed"
	codeLaneSilent   code = "lane-silent"
	codeForeign      code = "foreign"
	codeNoToken      code = "no-token"
	codeTokenWanted  code = "token-wanted"
	codeTokenNode    code = "token-node"
	codeTokenRelay   code = "token-relay"
	codeTokenTime    code = "token-time"
	codeTokenAltered code = "token-altered"
	codeTokenIssuer  code = "token-issuer"
	codeTokenRevoked code = "token-revoked"
	codeTokenRights  code = "token-rights"
	codeQuota        code = "quota"
	codeRelaySilent  code = "relay-silent"
	codeRelayFails   code = "relay-fails"
	codeRelayRefuses code = "relay-refuses"
	codeSymmetric    code = "symmetric"
	codeUncalled     code = "uncalled"
	codeRelayed      code = "relayed"
)

// codes describes the codes for the help. The codes must not change.
var codes = []struct {
	code  code
	about string
}{
	{codeOK, "nothing"},
	{codeUnlisted, "the system does not list its interfaces"},
	{codeNoInterface, "this host is in no network"},
	{codeMTU, "packets of the size that QUIC begins with do not fit an interface or the path"},
	{codeContainer, "this is a container, in a network of its own"},
	{codeNAT, "this is a virtual machine or WSL, in a network of its own"},
	{codePortTaken, "another program has the UDP port"},
	{codeRefused, "the system refuses a socket"},
	{codeBlockedIn, "this host drops incoming packets"},
	{codeBlockedOut, "this host drops outgoing packets"},
	{codeMemberships, "the system's limit of multicast groups is reached: the interface is deaf"},
	{codeDeaf, "the multicast group cannot be joined: the interface is deaf"},
	{codeAppDeaf, "the node that has the UDP port is deaf on the interface"},
	{codeMute, "multicast cannot be sent"},
	{codeSnooping, "unicast works, but multicast from others does not arrive"},
	{codeSpanningTree, "nothing was heard, and the switch may not forward yet"},
	{codeUnheard, "nothing was heard"},
	{codeLoopback, "the loopback interface does not work"},
	{codeBuffers, "small socket buffers"},
	{codeNoGSO, "no segmentation by the kernel"},
	{codeClock, "the clock is wrong"},
	{codeClockSteps, "the clock jumped"},
	{codeNoContact, "the contact is absent, or does not have this node as a contact"},
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
	{codeClosed, "nothing listens at the port, or a firewall pretends so"},
	{codeFirewall, "a firewall rejects the packets, or drops them although the device is there"},
	{codeRouter, "a router on the path rejects the packets: a firewall, or no route"},
	{codeSilent, "no answer, and no sign of the device"},
	{codeLaneClosed, "nothing listens at the TCP port of its lanes, or a firewall pretends so"},
	{codeLaneSilent, "no answer from the TCP port of its lanes"},
	{codeHandshake, "a node answers, but no handshake succeeds"},
	{codeForeign, "something answers that is not a node of this version"},
	{codeNoToken, "the file has no relay token"},
	{codeTokenWanted, "the relay requires a token, and was shown none"},
	{codeTokenNode, "the token is another node's"},
	{codeTokenRelay, "the token is for another relay"},
	{codeTokenTime, "the token has expired, or is not yet valid, or a clock is wrong"},
	{codeTokenAltered, "the token was altered after its issuer signed it"},
	{codeTokenIssuer, "the relay does not know the token's issuer"},
	{codeTokenRevoked, "the token was revoked"},
	{codeTokenRights, "the token does not have a right: to be called, or to call"},
	{codeQuota, "the account has used up its quota"},
	{codeRelaySilent, "the relay does not answer"},
	{codeRelayFails, "something answers that is not the relay, or no connection can be made"},
	{codeRelayRefuses, "the relay refuses a reservation"},
	{codeSymmetric, "the router uses another port for each destination: few direct paths"},
	{codeUncalled, "the peer cannot be called through the relays"},
	{codeRelayed, "the connection with the peer stays relayed"},
}

// codesHelp lists the codes.
func codesHelp() string {
	var b strings.Builder
	for _, c := range codes {
		fmt.Fprintf(&b, "    %-15s %s\n", c.code, c.about)
	}
	return b.String()
}

// Windows has its own numbers for errors of sockets, which package syscall does
// not translate.
const (
	wsaAccess      = syscall.Errno(10013)
	wsaTooLarge    = syscall.Errno(10040)
	wsaInUse       = syscall.Errno(10048)
	wsaNetUnreach  = syscall.Errno(10051)
	wsaReset       = syscall.Errno(10054) // of UDP: nothing listens at the port
	wsaRefused     = syscall.Errno(10061) // of TCP: the same
	wsaNoBuffers   = syscall.Errno(10055)
	wsaHostUnreach = syscall.Errno(10065)
)

func isAny(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

func isInUse(err error) bool { return isAny(err, syscall.EADDRINUSE, wsaInUse) }

func isNoFamily(err error) bool { return isAny(err, syscall.EAFNOSUPPORT, syscall.EADDRNOTAVAIL) }

func isNoRoute(err error) bool { return isAny(err, syscall.ENETUNREACH, wsaNetUnreach) }

// isRefused reports whether the system refuses something by a rule, such as a
// firewall's, or for lack of permission.
func isRefused(err error) bool { return isAny(err, syscall.EPERM, syscall.EACCES, wsaAccess) }

// letIn says how to let packets to a UDP port in.
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

// system is the system that the advice is for.
const system = runtime.GOOS
