#!/bin/sh
# Installs what some tests want beside Go, from the packages of Debian or Ubuntu,
# where that is allowed: the proxies that the session check is tried behind, and the
# database servers that the stores are tried on. Without them these tests say that
# they were skipped.
set -eu
missing=
for package in nginx caddy haproxy postgresql redis-server redis-sentinel pgbouncer; do
	case $package in
	postgresql) set -- postgres /usr/lib/postgresql/*/bin/postgres ;; # not on the PATH
	*) set -- "$package" "/usr/sbin/$package" ;;
	esac
	command -v "$1" >/dev/null || [ -x "$2" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "not installed:$missing; the tests that need them will be skipped" >&2
	exit 0
fi
# They are not to run as services here, and no database is to be made for everybody.
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d/latchkey.conf
made=$clusters
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made="$made $policy"; }
mkdir -p "${clusters%/*}"
echo 'create_main_cluster = false' >"$clusters"
# shellcheck disable=SC2064 # a list, as it is now
trap "rm -f $made" EXIT
apt-get update -qq || true # what is known already may do
failed=
for package in $missing; do # one by one, since not every release has them all
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null ||
		failed="$failed $package"
done
[ -z "$failed" ] || {
	echo "could not be installed:$failed; the tests that need them will be skipped" >&2
	[ "${LATCHKEY_TEST_ENGINES-}" != required ]
}
