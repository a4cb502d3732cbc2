#!/usr/bin/env bash
# Installs what the tests need beside Go, into directories that version control ignores: the official Python client into
# .cache/venv, the official Node client into examples/clients/node/node_modules, compilers for policies as toolchains.sh
# says. Versions are pinned, and nothing is done when they are there already. What cannot be had is left out and said, unless CI=true, where it is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache

# without NAME REASON
without() {
	if [ "${CI:-}" = true ]; then
		echo "set-up: $1 cannot be tested: $2" >&2
		exit 1
	fi
	echo "set-up: skipping $1: $2"
}

# once STAMP FILE...: false if the files are those of the last successful run
once() {
	local stamp=$1
	shift
	[ "$(cat "$stamp" 2>/dev/null)" != "$(cksum "$@")" ]
}

requirements=examples/clients/python/requirements.txt
if ! command -v python3 >/dev/null; then
	without "the Python client" "there is no python3"
elif ! python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
	without "the Python client" "python3 is older than 3.10 or has no venv"
elif once .cache/venv/stamp "$requirements"; then
	echo "set-up: installing the Python client into .cache/venv"
	rm -rf .cache/venv
	if python3 -m venv .cache/venv && .cache/venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r "$requirements"; then
		cksum "$requirements" >.cache/venv/stamp
	else
		rm -rf .cache/venv
		without "the Python client" "pip failed, see above"
	fi
fi

node=examples/clients/node
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
	without "the Node client" "there is no node or no npm"
elif ! node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)'; then
	without "the Node client" "node is older than 20"
elif once "$node/node_modules/.stamp" "$node/package-lock.json"; then
	echo "set-up: installing the Node client into $node/node_modules"
	if npm --prefix "$node" ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved=true; then
		cksum "$node/package-lock.json" >"$node/node_modules/.stamp"
	else
		rm -rf "$node/node_modules"
		without "the Node client" "npm failed, see above"
	fi
fi

source scripts/toolchains.sh
setup_c
setup_zig
setup_assemblyscript
setup_rust
