#!/bin/sh
# Checks the systemd unit with systemd-analyze. The program need not be installed.
set -eu
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
sed 's#^ExecStart=/usr/local/bin/latchkey#ExecStart=/bin/true#' deploy/systemd/latchkey.service >"$directory/latchkey.service"
systemd-analyze verify "$directory/latchkey.service"
# 15 means an exposure of 1.5, which comes from the network.
systemd-analyze security --offline=true --threshold=15 "$directory/latchkey.service" >"$directory/found" || {
	cat "$directory/found" >&2
	exit 1
}
tail -n 1 "$directory/found"
