#!/bin/sh
# Runs all tests with the race detector. The end-to-end tests of the service run three times:
# with all other tests on the embedded database, and beside them on PostgreSQL and on
# replicas (LATCHKEY_TEST_STORES, internal/server/engines_test.go). RACE holds the flags of
# the race detector.
#
# Tests often wait, so more packages run at a time than there are processors, and those that
# take longest begin first.
set -eu
GO=${GO:-go}
RACE=${RACE:--race}
processors=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# By default each test binary waits a second at its end for reports of the race detector.
export GORACE="atexit_sleep_ms=100 ${GORACE-}"

outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT

# Everything that the runs share is compiled once, before they begin.
# shellcheck disable=SC2086 # RACE is a list
"$GO" test $RACE -vet=all -run '^$' ./internal/server >/dev/null

for stores in postgres replicas; do
	(
		# shellcheck disable=SC2086
		LATCHKEY_TEST_STORES=$stores "$GO" test $RACE -parallel 8 -timeout 10m ./internal/server >"$outputs/$stores" 2>&1 ||
			touch "$outputs/$stores.failed"
	) &
done
failed=0
slowest="./internal/store/postgres ./internal/cli ./internal/server ./internal/gateway ./internal/replicas"
# shellcheck disable=SC2086
"$GO" test $RACE -vet=all -timeout 10m -p "$((processors + 1))" $slowest ./... || failed=1
wait
for stores in postgres replicas; do
	printf 'end-to-end tests on %s:\n' "$stores"
	cat "$outputs/$stores"
	[ ! -e "$outputs/$stores.failed" ] || failed=1
done
exit "$failed"
