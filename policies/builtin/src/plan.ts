// The plan under construction. Verdicts have a fixed place; header and steps are written right before them at the end,
// when their number is known, and the explanation behind them.

import { Number, ascii, level, levelLength, whole } from "./config";
import * as h from "./host";
import { Reason } from "./host";

// The best candidates so far, best first.
const ENTRY = 16;
const CANDIDATE = 0, RANK = 4, SCORE = 8, REASON = 12; // u32, u32, f32, u32
const entries: usize = memory.data(ENTRY * h.MAX_STEPS);

const MAX_TEXT = 512;
const MAX_NAME: u32 = 160;

const at = ascii(" at "), comma = ascii(", "), quality = ascii(" credits, quality ");

let verdicts: usize = 0, room: u32 = 0;
let limit: u32 = 0, candidates: u32 = 0;
let end: usize = 0; // where the explanation grows

/** How many candidates the plan has. */
export let chosen: u32 = 0;

/** Makes room for a plan about so many candidates. */
export function reserve(count: u32): void {
  if (verdicts != 0 && count <= room) return;
  room = count * 2;
  const ahead: u32 = h.P_SIZE + h.MAX_STEPS * h.STEP_SIZE;
  verdicts = heap.alloc(ahead + room * h.VERDICT_SIZE + MAX_TEXT) + ahead;
}

export function begin(count: u32, steps: u32): void {
  candidates = count;
  limit = steps < 1 ? 1 : steps > h.MAX_STEPS ? h.MAX_STEPS : steps;
  chosen = 0;
}

/** Notes why a candidate is out. */
export function exclude(i: u32, why: u32): void {
  store<u64>(verdicts + i * h.VERDICT_SIZE, <u64>why << 32);
}

/** The reason noted for a candidate. */
export function verdict(i: u32): u32 { return load<u16>(verdicts + i * h.VERDICT_SIZE, 4); }

/** The candidate of a step. */
export function candidate(step: u32): u32 { return load<u32>(entries + step * ENTRY, CANDIDATE); }

/** Takes a candidate into the plan if it is among the best: by the lower rank, then by the higher score, then by order. */
// @ts-ignore: decorator
@inline export function consider(i: u32, rank: u32, score: f32, reason: u32): void {
  store<u64>(verdicts + i * h.VERDICT_SIZE, <u64>Reason.Outranked << 32 | <u64>reinterpret<u32>(score));
  if (chosen < limit || precedes(rank, score, entries + (limit - 1) * ENTRY)) insert(i, rank, score, reason);
}

// @ts-ignore: decorator
@inline function precedes(rank: u32, score: f32, e: usize): bool {
  const r = load<u32>(e, RANK);
  return rank < r || (rank == r && score > load<f32>(e, SCORE));
}

// insert puts a candidate where it belongs; what then finds no room is dropped.
function insert(i: u32, rank: u32, score: f32, reason: u32): void {
  if (chosen < limit) chosen++;
  let e = entries + (chosen - 1) * ENTRY;
  for (; e > entries && precedes(rank, score, e - ENTRY); e -= ENTRY) {
    store<u64>(e, load<u64>(e - ENTRY));
    store<u64>(e, load<u64>(e - ENTRY, 8), 8);
  }
  store<u32>(e, i, CANDIDATE);
  store<u32>(e, rank, RANK);
  store<f32>(e, score, SCORE);
  store<u32>(e, reason, REASON);
}

/** Writes the plan and says where it lies. */
export function answer(best: usize, blob: usize, worst: i64): u64 {
  const start = verdicts - chosen * h.STEP_SIZE - h.P_SIZE;
  for (let n: u32 = 0; n < chosen; n++) {
    const e = entries + n * ENTRY, i = load<u32>(e, CANDIDATE), s = start + h.P_SIZE + n * h.STEP_SIZE;
    store<u64>(s, <u64>i | <u64>whole(Number.Attempts) << 16 | <u64>whole(Number.TimeoutMs) << 32);
    store<u32>(s, <u32>whole(Number.HedgeMs), 8);
    store<f32>(s, load<f32>(e, SCORE), 12);
    store<u64>(s, load<u32>(e, REASON), 16);
    store<u32>(verdicts + i * h.VERDICT_SIZE, (n + 1) << 16, 4);
  }
  beginText();
  name(blob + load<u32>(best, h.C_NAME), load<u16>(best, h.C_NAME_LEN));
  copy(at, 4);
  name(blob + load<u32>(best, h.C_PROVIDER), load<u16>(best, h.C_PROVIDER_LEN));
  copy(comma, 2);
  millionths(worst);
  copy(quality, 18);
  hundredths(load<f32>(best, h.C_QUALITY));
  return finish(start, h.ANSWER, load<u32>(entries, REASON), candidates, 0);
}

/** Writes a plan that refuses the request and says where it lies. */
export function reject(reason: u32, status: u32, text: string): u64 {
  chosen = 0;
  const withVerdicts = status != 400; // else no candidate was looked at
  beginText();
  literal(text);
  return finish(verdicts - h.P_SIZE, h.REJECT, reason, withVerdicts ? candidates : 0, status);
}

function finish(start: usize, kind: u32, reason: u32, verdictCount: u32, status: u32): u64 {
  const text = verdicts + candidates * h.VERDICT_SIZE;
  store<u32>(start, h.VERSION | h.P_SIZE << 16);
  store<u32>(start, kind | reason << 16, 4);
  store<u32>(start, chosen | h.STEP_SIZE << 16, 8);
  store<u32>(start, verdictCount | h.VERDICT_SIZE << 16, 12);
  store<u32>(start, <u32>(text - start), 16);
  store<u32>(start, <u32>(end - text), 20);
  store<u32>(start, kind == h.ANSWER ? <u32>whole(Number.MaxOutput) : 0, 24);
  store<u32>(start, status, 28);
  return <u64>start << 32 | <u64>(end - start);
}

/** Answers what this module is. */
export function describe(text: string): u64 {
  reserve(0);
  const start = verdicts;
  end = start;
  literal(text);
  return <u64>start << 32 | <u64>(end - start);
}

function beginText(): void {
  end = verdicts + candidates * h.VERDICT_SIZE;
  copy(level, levelLength);
}

// @ts-ignore: decorator
@inline function copy(from: usize, length: u32): void {
  memory.copy(end, from, length);
  end += length;
}

function literal(text: string): void {
  for (let i = 0, n = text.length; i < n; i++) byte(text.charCodeAt(i));
}

// @ts-ignore: decorator
@inline function byte(c: u32): void { store<u8>(end++, c); }

// name appends a name, cut before the character that would make it too long.
function name(from: usize, length: u32): void {
  if (length > MAX_NAME) {
    length = MAX_NAME;
    while (length > 0 && (load<u8>(from + length) & 0xc0) == 0x80) length--;
  }
  copy(from, length);
}

function digits(value: u64): void {
  if (value >= 10) digits(value / 10);
  byte(0x30 + <u32>(value % 10));
}

function millionths(value: i64): void {
  if (value < 0) {
    byte(0x2d);
    value = -value;
  }
  digits(<u64>value / 1000000);
  let rest = <u32>(<u64>value % 1000000);
  if (rest == 0) return;
  byte(0x2e);
  for (let place: u32 = 100000; rest > 0; place /= 10) {
    byte(0x30 + rest / place);
    rest %= place;
  }
}

function hundredths(value: f32): void {
  const bounded = value > 0 ? (value < 1 ? <f64>value : 1) : 0;
  const n = <u32>(bounded * 100 + 0.5);
  byte(0x30 + n / 100);
  byte(0x2e);
  byte(0x30 + n / 10 % 10);
  byte(0x30 + n % 10);
}
