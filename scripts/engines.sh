#!/bin/sh
# Runs the end-to-end tests of the service again on each engine beside the embedded
# database, at the same time, because they mostly wait. LATCHKEY_TEST_STORES selects the
# engine (internal/server/engines_test.go). RACE holds the flags of the race detector.
set -eu
GO=${GO:-go}
outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
for stores in postgres replicas; do
	(
		LATCHKEY_TEST_STORES=$stores "$GO" test ${RACE:--race} -timeout 10m ./internal/server >"$outputs/$stores" 2>&1 ||
			touch "$outputs/$stores.failed"
	) &
done
wait
failed=0
for stores in postgres replicas; do
	printf 'end-to-end tests on %s:\n' "$stores"
	cat "$outputs/$stores"
	[ ! -e "$outputs/$stores.failed" ] || failed=1
done
exit "$failed"
