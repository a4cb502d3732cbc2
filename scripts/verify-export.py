#!/usr/bin/env python3
"""Verifies what `pointsman ledger export` wrote, with nothing of Pointsman: every hash, every running balance, every sum.

    verify-export.py FILE...      .jsonl or .csv; the parts of one export in their order

The chain can be verified from position 1 only. docs/ledger.md says what a hash is made of. Exits with 1 at the first fault.
"""

import csv
import hashlib
import json
import sys

KINDS = {"grant": 1, "hold": 2, "settle": 3, "expire": 4, "interrupt": 5, "late": 6, "extend": 7, "transfer": 8}
TEXTS = {"account", "kind", "request", "reference", "reason", "key", "team", "hash"}


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def varint(n):
    return uvarint(n << 1 if n >= 0 else (-n << 1) - 1)


def text(s):
    b = s.encode()
    return uvarint(len(b)) + b


def encoding(e):
    out = bytes([KINDS[e["kind"]]]) + text(e["account"]) + uvarint(e["seq"]) + uvarint(e["previous"]) + varint(e["time_ms"])
    out += bytes.fromhex(e["request"])
    for name in ("reference", "reason", "key", "team"):
        out += text(e[name])
    out += bytes([e["tier"]])
    for name in ("amount", "charged", "loss", "posted", "held", "overdraft"):
        out += varint(e[name])
    out += uvarint(e["open_holds"])
    if e["kind"] == "hold":
        out += varint(e["expires_ms"])
    return out


def lines(path):
    with open(path, newline="", encoding="utf-8") as f:
        if path.endswith(".csv"):
            for row in csv.DictReader(f):
                yield {k: v if k in TEXTS else int(v) for k, v in row.items()}
        else:
            for line in f:
                yield json.loads(line)


def main(paths):
    before, position = bytes(32), 0
    accounts = {}  # id -> seq, position, hash, posted, held, open holds
    sums = {"issued": 0, "revenue": 0, "loss": 0}
    for path in paths:
        for e in lines(path):
            seq, previous, chain, posted, held, holds = accounts.get(e["account"], (0, 0, bytes(32), 0, 0, 0))

            def check(right, what):
                if not right:
                    sys.exit(f"position {e['position']} (account {e['account']} seq {e['seq']}): {what}")

            check(e["position"] == position + 1, f"follows position {position}")
            check((e["seq"], e["previous"]) == (seq + 1, previous), f"the account's line before it is seq {seq} at position {previous}")
            made = hashlib.sha256(e["position"].to_bytes(8, "big") + before + chain + encoding(e)).hexdigest()
            check(made == e["hash"], f"hash {e['hash']} should be {made}")
            kind = e["kind"]
            if kind in ("grant", "transfer"):
                posted += e["amount"]
                if kind == "grant":
                    sums["issued"] -= e["amount"]
            elif kind in ("hold", "extend"):
                held += e["amount"]
                holds += kind == "hold"
            elif kind != "late":
                held -= e["amount"]
                holds -= 1
            posted -= e["charged"]
            sums["revenue"] += e["charged"] + e["loss"]
            sums["loss"] -= e["loss"]
            check((posted, held, holds) == (e["posted"], e["held"], e["open_holds"]), "its balance does not follow from the lines before it")
            position, before = e["position"], bytes.fromhex(made)
            accounts[e["account"]] = (e["seq"], position, before, posted, held, holds)
    total = sum(a[3] for a in accounts.values())
    if total + sum(sums.values()) != 0:
        sys.exit(f"balances and system accounts sum to {total + sum(sums.values())}, not 0")
    print(f"export ok: {position} lines, {len(accounts)} accounts, posted {total} micro-credits, head {before.hex()}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
