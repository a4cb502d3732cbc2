#!/usr/bin/env bash
# Fetches what `make bench` compares with and the machine does not have: nginx into .cache/nginx, from Debian's packages, without
# installing it. With the argument "peers" also other gateways into .cache/peers, from PyPI and npm, in the versions that
# cmd/pointsman/bench/peers pins. What cannot be had is left out and said; its rows then say why they are empty.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache/peers
pins=cmd/pointsman/bench/peers

# once STAMP FILE: false if the file is that of the last successful run
once() { [ "$(cat "$1" 2>/dev/null)" != "$(cksum "$2")" ]; }

without() { echo "bench-setup: without $1: $2" >&2; }

if ! command -v nginx >/dev/null && [ ! -x /usr/sbin/nginx ] && [ ! -x .cache/nginx/usr/sbin/nginx ]; then
	rm -rf .cache/nginx
	mkdir -p .cache/nginx
	if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
		without nginx "there is no apt-get"
	elif ! { (cd .cache/nginx && apt-get download -q nginx) >.cache/apt.log 2>&1 || { apt-get update -q && cd .cache/nginx && apt-get download -q nginx; } >.cache/apt.log 2>&1; }; then
		without nginx "apt-get could not download it, see .cache/apt.log"
	elif dpkg -x .cache/nginx/nginx_*.deb .cache/nginx && ! .cache/nginx/usr/sbin/nginx -v 2>/dev/null; then
		rm -f .cache/nginx/usr/sbin/nginx
		without nginx "it needs libraries that are not there: install it"
	fi
fi
[ "${1:-}" = peers ] || exit 0

# python_peer NAME
python_peer() {
	local home=.cache/peers/$1 list=$pins/$1.txt
	once "$home/stamp" "$list" || return 0
	rm -rf "$home"
	if ! command -v python3 >/dev/null || ! python3 -c 'import venv' 2>/dev/null; then
		without "$1" "there is no python3 with venv"
	elif echo "bench-setup: installing $1 into $home" && python3 -m venv "$home" && "$home/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps -r "$list"; then
		cksum "$list" >"$home/stamp"
	else
		rm -rf "$home"
		without "$1" "pip failed, see above"
	fi
}
python_peer smg
python_peer litellm

home=.cache/peers/portkey
if ! command -v npm >/dev/null; then
	without portkey "there is no npm"
elif once "$home/stamp" "$pins/portkey/package-lock.json"; then
	echo "bench-setup: installing portkey into $home"
	rm -rf "$home"
	mkdir -p "$home"
	cp "$pins"/portkey/package*.json "$home"
	if npm --prefix "$home" ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved=true; then
		cksum "$pins/portkey/package-lock.json" >"$home/stamp"
	else
		rm -rf "$home"
		without portkey "npm failed, see above"
	fi
fi
