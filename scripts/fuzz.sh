#!/bin/sh
# Runs every fuzz target of the tree for FUZZTIME. Go fuzzes one target of one package at a
# time, so the script lists them.
set -eu
GO=${GO:-go}
FUZZTIME=${FUZZTIME:-20s}
count=0
for package in $("$GO" list ./...); do
	directory=$("$GO" list -f '{{.Dir}}' "$package")
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$directory"/*_test.go 2>/dev/null | sed 's/^func //'); do
		echo "fuzzing $package $target for $FUZZTIME"
		"$GO" test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 1x "$package"
		count=$((count + 1))
	done
done
echo "$count fuzz targets found no failure"
test "$count" -gt 0
