#!/bin/sh
# Builds the four modules into the directory given, or beside this script. Needs the packages of package-lock.json.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "${1:-$here}" && pwd)
cd "$here"
for level in eco balanced precision custom; do
	node_modules/.bin/asc "src/$level.ts" --outFile "$out/$level.wasm" \
		-O3 --runtime stub --noAssert --use abort= --disable simd
done
