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

allow() { # room, the rooms that it may import
	room=$1
	shift
	for used in $($GO list -f '{{join .Imports "\n"}}' "./$room" | grep "^$module" || true); do
		name=${used#"$module"}
		name=${name#/}
		ok=no
		for allowed in "$@"; do
			[ "${name:-p2p}" = "$allowed" ] && ok=yes
		done
		[ $ok = yes ] || complain "$room must not import ${name:-the root package}"
	done
}

allow . identity proto internal/turn
allow identity internal/secretfile
allow proto
allow mdns p2p identity proto internal/dnssd internal/metadata
allow mdns/scan p2p identity internal/dns internal/metadata
allow quic p2p identity proto internal/backoff internal/netmon internal/carrier internal/metadata internal/multistream internal/junction internal/reach internal/v1 internal/v1/intro
allow tunnel identity internal/hidden internal/turn
allow block identity proto
allow library p2p identity proto tunnel internal/backoff internal/hidden internal/secretfile internal/text library/roster
allow library/roster identity proto internal/text
allow library/session p2p identity proto library tunnel
allow pairing p2p identity proto tunnel library library/roster internal/hidden internal/reach internal/text
allow pairing/qr
allow relay/token identity proto internal/hidden
allow relay/server identity relay/token internal/circuit
allow relay/server/daemon identity relay/server relay/token
allow cmd/sdp2p p2p identity library mdns mdns/scan quic relay/server relay/server/daemon relay/token internal/dns internal/dnssd
allow p2ptest p2p identity
allow internal/dnssd internal/dns internal/backoff internal/netmon
allow internal/dns
allow internal/backoff
allow internal/reach
allow internal/turn
allow internal/text
allow internal/hidden
allow internal/secretfile
allow internal/v1 proto
allow internal/v1/intro p2p identity proto internal/backoff internal/metadata internal/v1
allow internal/metadata p2p proto
allow internal/messagetest proto
allow internal/netlab
allow internal/netmon
allow internal/carrier
allow internal/multistream
allow internal/portmap internal/backoff
allow internal/junction identity
allow internal/circuit identity proto relay/token internal/hidden
allow internal/relaytest identity internal/circuit
allow relay p2p identity quic relay/token internal/backoff internal/carrier internal/circuit internal/hidden internal/junction internal/multistream internal/portmap
allow relay/ancestor p2p identity proto relay internal/circuit internal/junction internal/metadata internal/multistream internal/v1 internal/v1/intro

# An app that uses only the core and the test network links no networking library.
for heavy in libp2p quic-go miekg hashicorp; do
	if $GO list -deps . ./identity ./proto ./p2ptest | grep -q "/$heavy/"; then
		complain "the core depends on $heavy"
	fi
done
# Only a program that registers the listener for it links Noise and yamux.
for heavy in go-libp2p/p2p/security/noise go-yamux go-libp2p/p2p/muxer; do
	if $GO list -deps ./relay ./quic ./library | grep -q "/$heavy"; then
		complain "the relay client depends on $heavy"
	fi
done
# Only a program that scans links a client that knows every type of DNS record.
for heavy in miekg hashicorp; do
	if $GO list -deps ./mdns | grep -q "/$heavy/"; then
		complain "mdns depends on $heavy"
	fi
done
# go-libp2p is composed by hand: its root package and config bring in all of its transports.
for banned in '^github.com/libp2p/go-libp2p$' '^github.com/libp2p/go-libp2p/config$' '^github.com/pion/' webtransport-go websocket '^go.uber.org/fx'; do
	if $GO list -deps ./... | grep -E "$banned"; then
		complain "$banned must not be linked"
	fi
done
# The transport stays replaceable: no type of it in an exported signature.
for room in . quic mdns mdns/scan p2ptest relay relay/ancestor relay/server relay/token; do
	if $GO doc -all "./$room" | grep -E 'peer\.ID|Multiaddr|network\.(Conn|Stream|Network)|\*?swarm\.|dns\.(Msg|RR)|quicgo\.'; then
		complain "$room exports a type of a networking library"
	fi
done
exit $status
