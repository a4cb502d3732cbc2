#!/usr/bin/env bash
# Runs every test: scripts/test-setup.sh, go vet, then the tests, those of packages with concurrency under the race
# detector. Ends with a line for each test that was skipped and why; under CI=true a skipped test is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
summary="go tool -modfile=tools/go.mod gotestsum --format standard-quiet"

scripts/test-setup.sh
echo "vet"
go vet ./...

# The race detector needs cgo and a C compiler.
race=()
if [ "$(go env CGO_ENABLED)" = 1 ] && command -v "$(go env CC)" >/dev/null; then
	race=(-race)
elif [ "${CI:-}" = true ]; then
	echo "test: the race detector needs a C compiler" >&2
	exit 1
else
	echo "test: running without the race detector: there is no C compiler"
fi
module=$(go list -m)
# The plugin host is left out of it: its tests hold real processes to real times.
concurrent="^$module/(engine|policies|storage)(/|$)"
status=0
: >.cache/tests.json
# run FLAG... -- PACKAGE...
run() {
	$summary --jsonfile .cache/run.json -- -timeout 8m "$@" || status=1
	cat .cache/run.json >>.cache/tests.json
}
run "${race[@]}" $(go list ./... | grep -E "$concurrent")
run $(go list ./... | grep -vE "$concurrent")

skipped=$(grep -c '"Action":"skip".*"Test":' .cache/tests.json || true)
if [ "${CI:-}" = true ] && [ "$skipped" != 0 ]; then
	echo "test: $skipped tests were skipped, which CI=true does not allow" >&2
	status=1
elif [ "$skipped" = 0 ]; then
	echo "test: nothing was skipped"
fi
exit "$status"
