#!/bin/sh
# Installs the programs that some tests need, from the packages of Debian or Ubuntu: reverse
# proxies and database servers. It needs root and says what it installs. Without these
# programs the tests that need them are skipped, or fail if LATCHKEY_TEST_ENGINES is
# "required".
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
	echo "not installed:$missing; the tests that need them are skipped" >&2
	exit 0
fi
echo "installing with apt-get, for the tests that need them:$missing" >&2
# The packages must not start services, and postgresql must not create a database cluster.
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d/latchkey.conf
made=$clusters
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; made="$made $policy"; }
mkdir -p "${clusters%/*}"
echo 'create_main_cluster = false' >"$clusters"
# shellcheck disable=SC2064 # a list, as it is now
trap "rm -f $made" EXIT
apt-get update -qq || true # the known package lists may suffice
failed=
for package in $missing; do # one by one, because not every release has them all
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$package" >/dev/null ||
		failed="$failed $package"
done
[ -z "$failed" ] || {
	echo "not installed:$failed; the tests that need them are skipped" >&2
	[ "${LATCHKEY_TEST_ENGINES-}" != required ]
}
