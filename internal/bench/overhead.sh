#!/bin/bash
# What counters, notes and labels of goroutines cost: the same benchmarks with and
# without them, in turns, ROUNDS times. It prints the processor's time for each
# operation, at both ends together and without what a run takes to begin, as
# medians, and the median of the ratios of the rounds; and the load of the machine.
set -eu
TIMEFORMAT="%U %S"
GO=${GO:-go}
ROUNDS=${ROUNDS:-9}
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for room in p2p quic; do
	path=./$room
	[ $room = p2p ] && path=.
	$GO test -c -o "$dir/$room.with" $path
	$GO test -c -tags sdp2p_uncounted -o "$dir/$room.without" $path
done
spend() { # how, room, benchmark, times: writes the seconds that a run takes
	{ time "$dir/$2.$1" -test.run '^$' -test.bench "^$3\$" -test.benchtime "$4x" >"$dir/out" 2>&1; } 2>"$dir/time"
	awk '{ print $1 + $2 }' "$dir/time"
}
run() { # round, how, room, benchmark, times
	echo "$4 $2 $1 $(spend "$2" "$3" "$4" "$5") $(cat "$dir/begin.$4") $5" |
		awk '{ printf "%s %s %s %.0f\n", $1, $2, $3, ($4 - $5) * 1e9 / $6 }' >>"$dir/all"
}
begin() { # room, benchmark: what a run takes with one operation, at least
	for _ in 1 2 3; do for how in with without; do spend $how "$1" "$2" 1; done; done | sort -g | head -1 >"$dir/begin.$2"
}
begin quic BenchmarkExchange
begin quic BenchmarkBulk
begin p2p BenchmarkDiscoverExpire # which knows 10,000 peers before it begins
for round in $(seq "$ROUNDS"); do
	order="with without"
	[ $((round % 2)) = 0 ] && order="without with"
	for how in $order; do run "$round" "$how" quic BenchmarkExchange "${EXCHANGES:-5000}"; done
	for how in $order; do run "$round" "$how" quic BenchmarkBulk "${MEBIBYTES:-500}"; done
	for how in $order; do run "$round" "$how" p2p BenchmarkDiscoverExpire "${EVENTS:-1000000}"; done
done
echo "load: $(cut -d' ' -f1-3 /proc/loadavg)"
sort "$dir/all" | awk '
	function median(list, n,    i, j, t) {
		for (i = 1; i <= n; i++) for (j = i + 1; j <= n; j++) if (list[j] < list[i]) { t = list[i]; list[i] = list[j]; list[j] = t }
		return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
	}
	{ v[$1, $2, $3] = $4; names[$1]; rounds[$3] }
	END {
		for (name in names) {
			n = 0
			for (r in rounds) if ((name, "with", r) in v && (name, "without", r) in v) {
				n++; a[n] = v[name, "with", r]; b[n] = v[name, "without", r]; q[n] = a[n] / b[n]
			}
			median(a, n); median(b, n) # they are in order from here on
			printf "%s: %.0f ns with, %.0f ns without, ratio %.3f (%.3f to %.3f), of the least %.3f, %d rounds\n", name, median(a, n), median(b, n), median(q, n), q[1], q[n], a[1] / b[1], n
		}
	}'
