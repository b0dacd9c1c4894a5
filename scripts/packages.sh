#!/bin/sh
# Installs what some tests want beside Go, from the packages of Debian or Ubuntu,
# where that is allowed: the proxies that the session check is tried behind. Without
# them these tests say that they were skipped.
set -eu
missing=
for package in nginx caddy; do
	command -v "$package" >/dev/null || [ -x "/usr/sbin/$package" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
	echo "not installed:$missing; the tests that need them will be skipped" >&2
	exit 0
fi
# They are not to run as services here.
policy=/usr/sbin/policy-rc.d
[ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
apt-get update -qq
# shellcheck disable=SC2086 # a list
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
