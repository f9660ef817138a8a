#!/bin/sh
# A small program with QUIC and local discovery, stripped, takes at most 12.8 MiB,
# and nothing in it looks for methods by reflection, except by constant names: one
# such call, and the linker keeps every exported method of all that it links, which
# is 1.7 MiB. protobuf before 1.36.12 leads to one in Go 1.26's reflect.
set -eu
GO=${GO:-go}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
CGO_ENABLED=0 $GO build -trimpath -ldflags '-s -w -dumpdep' -o "$dir/chat" ./examples/chat 2>"$dir/links" || {
	cat "$dir/links" >&2
	exit 1
}
size=$(wc -c <"$dir/chat")
echo "examples/chat: $size bytes"
if grep -e '-> .*<ReflectMethod>' "$dir/links" >&2; then
	echo "these look for methods by reflection: the linker drops no exported ones" >&2
	exit 1
fi
[ "$size" -le $((1280 * (1 << 20) / 100)) ] || { echo "more than 12.8 MiB" >&2; exit 1; }
if $GO version -m "$dir/chat" | grep -E 'pion|websocket|webtransport|go.uber.org/fx'; then
	echo "modules that a small program must not link" >&2
	exit 1
fi
