#!/bin/sh
# Imports go one way: each room may use those named here, and nothing else of this module. Tests are free.
set -eu
GO=${GO:-go}
module=$($GO list -m)
status=0

complain() {
	echo "imports: $*" >&2
	status=1
}

# What each package of the module imports of it: "room used used ...".
imports=$($GO list -f '{{.ImportPath}}{{range .Imports}} {{.}}{{end}}' ./... | awk -v module="$module" '
	function room(path) { return path == module ? "p2p" : substr(path, length(module) + 2) }
	{
		line = room($1)
		for (i = 2; i <= NF; i++) if (index($i "/", module "/") == 1) line = line " " room($i)
		print line
	}')

allow() { # room, the rooms that it may import
	room=$1
	[ "$room" = . ] && room=p2p
	shift
	if ! used=$(echo "$imports" | grep "^$room\( \|$\)"); then
		complain "there is no package $room"
		return
	fi
	for name in ${used#"$room"}; do
		case " $* " in
		*" $name "*) ;;
		*) complain "$room must not import $name" ;;
		esac
	done
}

allow . identity proto internal/backlog internal/labels internal/text internal/turn
allow identity internal/secretfile
allow proto
allow mdns p2p identity proto internal/dnssd internal/junction internal/metadata
allow mdns/scan p2p identity internal/dns internal/metadata internal/tags
allow quic p2p identity proto internal/qlogged internal/labels internal/certificate internal/cause internal/backoff internal/netmon internal/carrier internal/metadata internal/multistream internal/junction internal/reach internal/v1 internal/v1/intro
allow quic/qlog identity internal/qlogged
allow internal/qlogged identity
allow quic/gather internal/carrier
allow tcp p2p identity proto internal/labels internal/certificate internal/metadata internal/turn
allow tunnel identity internal/hidden internal/turn
allow call p2p identity proto internal/text
allow contact p2p identity tunnel library internal/dnssd internal/junction internal/shown internal/tags
allow block p2p identity proto internal/backoff internal/text
allow library p2p identity proto tunnel internal/backlog internal/backoff internal/cause internal/hidden internal/secretfile internal/text library/roster
allow library/roster identity proto internal/text
allow library/session p2p identity proto library tunnel internal/backlog
allow pairing p2p identity proto tunnel library library/roster internal/hidden internal/junction internal/reach internal/text
allow pairing/qr
allow relay/token identity proto internal/hidden
allow relay/server identity relay/token internal/circuit
allow relay/server/daemon identity relay/server relay/token
allow cmd/sdp2p p2p identity library mdns mdns/scan quic relay relay/server relay/server/daemon relay/token internal/circuit internal/dns internal/dnssd internal/text relay/directory
allow metrics p2p
allow debugpage p2p identity
allow p2ptest p2p identity
allow internal/dnssd internal/dns internal/backoff internal/netmon
allow internal/dns
allow internal/backlog identity
allow internal/backoff
allow internal/cause
allow internal/labels identity
allow internal/reach
allow internal/turn
allow internal/text
allow internal/hidden
allow internal/secretfile
allow internal/v1 proto
allow internal/v1/intro p2p identity proto internal/backoff internal/metadata internal/v1
allow internal/metadata p2p proto
allow internal/messagetest identity proto
allow internal/described/node proto
allow internal/described/roster identity proto
allow internal/described/pairing identity proto
allow internal/described/block proto
allow internal/described/relay identity proto
allow internal/described/call proto
allow internal/described/everything identity proto
allow internal/certificate
allow internal/netlab
allow internal/netmon
allow internal/carrier
allow internal/multistream
allow internal/portmap internal/backoff
allow internal/junction identity internal/tags
allow internal/tags identity
allow internal/shown internal/dnssd internal/junction internal/tags
allow internal/circuit identity proto relay/token internal/hidden
allow internal/faulttest p2p identity library library/roster quic relay relay/server relay/token
allow internal/relaytest identity internal/circuit internal/v1 internal/v1/intro proto
allow relay p2p identity quic relay/token internal/cause internal/backoff internal/carrier internal/circuit internal/hidden internal/junction internal/multistream internal/portmap
allow relay/directory p2p identity proto relay internal/backoff internal/secretfile
allow relay/ancestor p2p identity proto relay internal/circuit internal/junction internal/metadata internal/multistream internal/v1 internal/v1/intro

# What describes the SDK's messages for protogen is for tests.
if echo "$imports" | grep -v '^internal/described' | grep ' internal/described'; then
	complain "a package imports what is for tests"
fi
# An app that uses only the core and the test network links no networking library.
links=$($GO list -deps . ./identity ./proto ./p2ptest)
for heavy in libp2p quic-go miekg hashicorp; do
	if echo "$links" | grep -q "/$heavy/"; then
		complain "the core depends on $heavy"
	fi
done
# Only a program that registers the listener for it links Noise and yamux.
links=$($GO list -deps ./relay ./quic ./library)
for heavy in go-libp2p/p2p/security/noise go-yamux go-libp2p/p2p/muxer; do
	if echo "$links" | grep -q "/$heavy"; then
		complain "the relay client depends on $heavy"
	fi
done
# The relays of an app come from the web only if it registers the hook for that.
if $GO list -f '{{join .Imports "\n"}}' . ./identity ./proto ./quic ./mdns ./library ./pairing ./relay ./relay/token ./internal/... | grep -q '^net/http$'; then
	complain "only relay/directory and what serves pages import net/http"
fi
# Only a program that writes qlogs links their encoders.
if $GO list -deps ./examples/chat ./quic | grep "^$module/quic/qlog"; then
	complain "a program that writes no qlog links its encoders"
fi
# Only a program that serves the page of a node links it.
if $GO list -deps ./examples/chat ./examples/drop ./cmd/sdp2p | grep "^$module/debugpage"; then
	complain "a program that does not serve the page links it"
fi
# Only a program that scans links a client that knows every type of DNS record.
links=$($GO list -deps ./mdns)
for heavy in miekg hashicorp; do
	if echo "$links" | grep -q "/$heavy/"; then
		complain "mdns depends on $heavy"
	fi
done
# go-libp2p is composed by hand: its root package and config bring in all of its transports.
links=$($GO list -deps ./...)
for banned in '^github.com/libp2p/go-libp2p$' '^github.com/libp2p/go-libp2p/config$' '^github.com/pion/' webtransport-go websocket '^go.uber.org/fx'; do
	if echo "$links" | grep -E "$banned"; then
		complain "$banned must not be linked"
	fi
done
# The transport stays replaceable: no type of it in an exported signature.
for room in . quic quic/qlog tcp mdns mdns/scan p2ptest relay relay/ancestor relay/directory relay/server relay/token; do
	if $GO doc -all "./$room" | grep -E 'peer\.ID|Multiaddr|network\.(Conn|Stream|Network)|\*?swarm\.|dns\.(Msg|RR)|quicgo\.'; then
		complain "$room exports a type of a networking library"
	fi
done
exit $status
