#!/usr/bin/env bash
# Starts a fresh gateway on free ports with a temporary data directory, runs the ten checks of `pointsman doctor` on it,
# sends one request, stops it and proves its ledger. Needs bash and Go, or a built gateway: POINTSMAN=path scripts/smoke.sh
set -euo pipefail
cd "$(dirname "$0")/.."

binary=${POINTSMAN:-bin/pointsman}
[ -n "${POINTSMAN:-}" ] || go build -o "$binary" ./cmd/pointsman
home=$(mktemp -d)
pid=
cleanup() {
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
	rm -rf "$home"
}
trap cleanup EXIT
fail() {
	echo "smoke: $*" >&2
	[ ! -s "$home/log" ] || tail -n 20 "$home/log" >&2
	exit 1
}

# The machine's own settings and keys stay out of it.
for name in $(compgen -e | grep -E '^POINTSMAN_|_API_KEY$|_(BASE_URL|API_BASE)$|^HF_TOKEN$' || true); do unset "$name"; done

"$binary" serve --data "$home/data" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 >"$home/banner" 2>"$home/log" &
pid=$!
for _ in $(seq 200); do
	grep -q '^ *Try:' "$home/banner" && break
	kill -0 "$pid" 2>/dev/null || fail "the gateway ended at once"
	sleep 0.05
done
api=$(sed -n 's|^ *api  *\(http://[^/]*\)/v1$|\1|p' "$home/banner")
admin=$(sed -n 's|^ *admin  *\(http://.*\)$|\1|p' "$home/banner")
key=$(sed -n 's|^ *\(pm-[^ ]*\)$|\1|p' "$home/banner")
[ -n "$api" ] && [ -n "$admin" ] && [ -n "$key" ] || fail "the banner is incomplete: $(cat "$home/banner")"

"$binary" doctor --url "$api" --admin-url "$admin" --data "$home/data" || fail "the doctor found something"

body='{"model":"eco","messages":[{"role":"user","content":"Hello"}]}'
exec 3<>"/dev/tcp/127.0.0.1/${api##*:}"
printf 'POST /v1/chat/completions HTTP/1.1\r\nHost: smoke\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
	"$key" "${#body}" "$body" >&3
answer=$(cat <&3)
exec 3>&-
case $answer in
"HTTP/1.1 200 OK"*'"choices"'*) ;;
*) fail "the request was answered: $answer" ;;
esac

kill -TERM "$pid"
wait "$pid" || fail "the gateway did not stop cleanly"
pid=
"$binary" ledger verify --data "$home/data" || fail "the ledger does not verify"
echo "smoke: ok"
