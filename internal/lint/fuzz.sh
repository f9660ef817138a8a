#!/bin/sh
# Runs every fuzz target of the module for FUZZTIME. Of what protogen has generated,
# one package has all that it can generate, and stands for the examples; the SDK's
# messages are fuzzed as they are by hand.
set -eu
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-10s}
for package in $($GO list ./... | grep -Ev '/internal/described/(block|call|grown|node|pairing|relay|roster)|/examples/(clipboard|devices|search)'); do
	for target in $($GO test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		$GO test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$package"
	done
done
