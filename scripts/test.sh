#!/usr/bin/env bash
# Runs every test: scripts/test-setup.sh, go vet, then the tests, those of packages with concurrency under the race
# detector, and the built binary: scripts/smoke.sh, `pointsman demo` and, under CI=true, `make bench-against`. Says of each test that was skipped why, and ends
# with a line that counts; under CI=true a skipped test is a failure.
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
# Ten times as slow under the race detector, which has nothing to see there: functions without a goroutine, and keys that are sealed by one that takes its time on purpose.
sequential="^$module/(engine/dialect|policies/signing)$"
# Likewise tests of the store that write for long, or whose writing is done by processes of their own.
volume='^Test(LogPlateau|LogBytesPerRequest|BodiesQuota|FullDisk|SumsKill|Repair|F30PowerLoss|F39TakingOver)$'
status=0
: >.cache/tests.json
# run FLAG... -- PACKAGE...
run() {
	$summary --jsonfile .cache/run.json -- -timeout 30m "$@" || status=1
	cat .cache/run.json >>.cache/tests.json
}
# The store, which waits for the disk for minutes, is among the last by name and goes first, beside those that keep a processor busy.
run "${race[@]}" -skip "$volume" $(go list ./... | grep -E "$concurrent" | grep -vE "$sequential" | tac)
run -run "$volume" ./storage/badgerdb
run $(go list ./... | grep -vE "$concurrent") $(go list ./... | grep -E "$sequential")

# The binary as a user gets it. Tests are counted with their subtests, each of these as one.
# binary NAME COMMAND...
binaries=0 broken=0
binary() {
	local name=$1 began=$SECONDS
	shift
	if "$@" >".cache/$name.log" 2>&1; then
		echo "$name: ok, $((SECONDS - began)) s"
		binaries=$((binaries + 1))
	else
		cat ".cache/$name.log"
		echo "$name: failed"
		broken=$((broken + 1)) status=1
	fi
}
binary tools go test -C tools ./... # a module of its own
binary build make -s build # optimized by the profile, as the ratios recorded are of
binary smoke env POINTSMAN=bin/pointsman scripts/smoke.sh
binary demo env -i PATH="$PATH" HOME="${HOME:-/}" bin/pointsman demo # without the machine's provider keys
# Another build meets the same machine. Recorded ratios are alike on machines of one kind only, and not from hour to hour: for a checkout without its history.
if [ "${CI:-}" = true ]; then
	sync # what the tests wrote is not to be written beside it
	if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = false ]; then
		binary bench-against make -s bench-against
	else
		echo "bench-check: without the history there is no build to compare with: the recorded ratios tell only large regressions"
		binary bench-check bin/pointsman bench check cmd/pointsman/bench/baseline.json
	fi
fi

# count ACTION: tests; and packages that failed without a failed test, which did not build or ended early
count() {
	awk -v action="\"Action\":\"$1\"" '
		!index($0, action) { next }
		match($0, /"Package":"[^"]*"/) { package = substr($0, RSTART, RLENGTH) }
		/"Test":/ { n++; tested[package] = 1; next }
		action ~ /fail/ && !tested[package] { n++ }
		END { print n + 0 }' .cache/tests.json
}
passed=$(($(count pass) + binaries)) failed=$(($(count fail) + broken))
skipped=$(count skip)
if [ "${CI:-}" = true ] && [ "$skipped" != 0 ]; then
	echo "test: $skipped tests were skipped, which CI=true does not allow" >&2
	status=1
elif [ "$skipped" = 0 ]; then
	echo "test: nothing was skipped"
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
