#!/bin/sh
# Runs every fuzz target of the module for FUZZTIME.
set -eu
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-10s}
for package in $($GO list ./...); do
	for target in $($GO test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		echo "== $package $target"
		$GO test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 10x "$package"
	done
done
