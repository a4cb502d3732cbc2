#!/usr/bin/env bash
# Installs what the tests need beside Go, into directories that version control ignores: the official clients in Python into
# .cache/venv, frameworks on them into .cache/frameworks, those in JavaScript into examples/clients/judges/node/node_modules,
# those in Go into Go's caches; gRPC for the example plugins in Python and JavaScript into .cache/plugins-python and
# examples/provider-node/node_modules; schemathesis into .cache/schemathesis; pyarrow into .cache/parquet; strace on Linux; compilers for policies as toolchains.sh says.
# Versions are pinned, and nothing is done when they are there already. What cannot be had is left out and said, unless
# CI=true, where it is a failure.
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

# setup_python WHAT VENV REQUIREMENTS
setup_python() {
	if ! command -v python3 >/dev/null; then
		without "$1" "there is no python3"
	elif ! python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
		without "$1" "python3 is older than 3.10 or has no venv"
	elif once "$2/stamp" "$3"; then
		echo "set-up: installing $1 into $2"
		rm -rf "$2"
		if python3 -m venv "$2" && "$2/bin/pip" install --quiet --disable-pip-version-check --no-compile --no-deps -r "$3"; then
			cksum "$3" >"$2/stamp"
		else
			rm -rf "$2"
			without "$1" "pip failed, see above"
		fi
	fi
}

# setup_node WHAT DIRECTORY
setup_node() {
	if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
		without "$1" "there is no node or no npm"
	elif ! node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)'; then
		without "$1" "node is older than 20"
	elif once "$2/node_modules/.stamp" "$2/package-lock.json"; then
		echo "set-up: installing $1 into $2/node_modules"
		if npm --prefix "$2" ci --silent --no-audit --no-fund --omit-lockfile-registry-resolved=true; then
			cksum "$2/package-lock.json" >"$2/node_modules/.stamp"
		else
			rm -rf "$2/node_modules"
			without "$1" "npm failed, see above"
		fi
	fi
}

# setup_go WHAT STAMP DIRECTORY
setup_go() {
	if once "$2" "$3/go.sum"; then
		echo "set-up: building $1"
		# Built as TestOfficialClients builds it, which then takes no time.
		if go -C "$3" build -gcflags='github.com/openai/openai-go/v3/...=-N -l' -o /dev/null .; then
			cksum "$3/go.sum" >"$2"
		else
			without "$1" "go failed, see above"
		fi
	fi
}

judges=examples/clients/judges
setup_python "the Python clients" .cache/venv "$judges/python/requirements.txt"
setup_python "the Python frameworks" .cache/frameworks "$judges/python/requirements-frameworks.txt"
setup_node "the JavaScript clients" "$judges/node"
setup_go "the Go clients" .cache/judges-go "$judges/go"
setup_python "what the Python plugin needs" .cache/plugins-python examples/provider-python/requirements.txt
setup_python "what checks the OpenAPI documents" .cache/schemathesis cmd/pointsman/testdata/openapi/requirements.txt
setup_python "what reads Parquet files" .cache/parquet cmd/pointsman/testdata/parquet/requirements.txt
setup_node "what the Node plugin needs" examples/provider-node

source scripts/toolchains.sh
if [ "$(uname)" = Linux ] && ! command -v strace >/dev/null && ! packages strace; then
	without "failing system calls" "there is no strace, and it cannot be installed: apt-get install strace"
fi
setup_c
setup_zig
setup_assemblyscript
setup_rust
