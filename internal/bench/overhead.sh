#!/bin/bash
# What counters, notes and labels of goroutines cost: the same benchmarks with and
# without them, in turns, ROUNDS times. It prints the processor's time for each
# operation, at both ends together, as medians, and the median of the ratios of the
# rounds; and the load of the machine.
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
run() { # round, how, room, benchmark, times
	{ time "$dir/$3.$2" -test.run '^$' -test.bench "^$4\$" -test.benchtime "$5x" >"$dir/out" 2>&1; } 2>"$dir/time"
	awk -v round="$1" -v how="$2" -v name="$4" -v times="$5" '{ printf "%s %s %s %.0f\n", name, how, round, ($1 + $2) * 1e9 / times }' "$dir/time" >>"$dir/all"
}
for round in $(seq "$ROUNDS"); do
	order="with without"
	[ $((round % 2)) = 0 ] && order="without with"
	for how in $order; do run "$round" "$how" quic BenchmarkExchange "${EXCHANGES:-5000}"; done
	for how in $order; do run "$round" "$how" quic BenchmarkBulk "${MEBIBYTES:-500}"; done
	for how in $order; do run "$round" "$how" p2p BenchmarkDiscoverExpire "${EVENTS:-300000}"; done
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
