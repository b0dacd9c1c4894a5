#!/bin/sh
# Runs the end-to-end tests of the service once more on each engine beside the
# embedded database, at the same time: they mostly wait. LATCHKEY_TEST_STORES says
# which (internal/server/engines_test.go).
set -eu
GO=${GO:-go}
outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
for stores in postgres replicas; do
	(
		LATCHKEY_TEST_STORES=$stores "$GO" test -race -timeout 10m ./internal/server >"$outputs/$stores" 2>&1 ||
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
