// The parameters of the built-in policies, and how their text is read. Numbers are kept in millionths, exactly.

import { log } from "./host";

export const enum Number {
  MinQuality, // least quality of a candidate, 0..1
  MaxCredits, // credits a request should not exceed; dearer candidates come after the others
  MaxOutput, // output tokens that are reserved for when the request gives no limit
  MaxSteps, // candidates in a plan
  Attempts, // of each step
  TimeoutMs, // of each step, 0: the gateway's default
  HedgeMs, // of each step, 0: never
  InstantTokens, // an instant answer is given by a free model if it is shorter than this
  SpendShare, // of the credits left that a request should not exceed
  FreeAccounts, // 1: accounts of the free tier get free models only
  Named, // 1: the request names its model
  PriorLatency, // how fast a candidate counts that was never measured, 0..1
  LoadHalf, // requests under way at which the load counts half
  Quality, // weights of the score from here on
  Price,
  Latency,
  Errors,
  Load,
  Provider,
  Warm,
  Task,
  Degraded,
  Count,
}

const numberNames: StaticArray<string> = [
  "min_quality", "max_credits", "max_output", "max_steps", "attempts", "timeout_ms", "hedge_ms", "instant_tokens",
  "spend_share", "free_accounts", "named", "prior_latency", "load_half", "weight_quality", "weight_price",
  "weight_latency", "weight_errors", "weight_load", "weight_provider", "weight_warm", "weight_task", "penalty_degraded",
];

export const enum Tiers {
  Band, // of the power level
  OwnKey, // in which an own key is preferred
  Eco, // where a named model may fall back to, by the level of the request
  Balanced,
  Precision,
  Count,
}

const tierNames: StaticArray<string> = ["band", "own_key_tiers", "eco_band", "balanced_band", "precision_band"];

const MILLION: i64 = 1000000;
const MAX_PROVIDERS: u32 = 16;
const MAX_NAME: u32 = 64;

const micros = new StaticArray<i64>(Number.Count);
const floats = new StaticArray<f64>(Number.Count);
const wholes = new StaticArray<i64>(Number.Count);
const masks = new StaticArray<u32>(Tiers.Count);

/** The name of the level and a colon, which explanations begin with. */
export const level: usize = memory.data(MAX_NAME + 2);
export let levelLength: u32 = 0;

/** The latency objective of requests that have none. */
export let objective: u32 = 3;

const providers: usize = memory.data(MAX_PROVIDERS * MAX_NAME);
const providerLengths = new StaticArray<u32>(MAX_PROVIDERS);
let providerCount: u32 = 0;

// @ts-ignore: decorator
@inline export function number(n: i32): f64 { return unchecked(floats[n]); }
// @ts-ignore: decorator
@inline export function whole(n: i32): i64 { return unchecked(wholes[n]); }
// @ts-ignore: decorator
@inline export function micro(n: i32): i64 { return unchecked(micros[n]); }
// @ts-ignore: decorator
@inline export function tiers(n: i32): u32 { return unchecked(masks[n]); }

/** Reads the parameters that a level starts from. They are ASCII. */
export function defaults(text: string): void {
  configure(ascii(text), text.length);
}

/** A copy of the text with one byte a character. */
export function ascii(text: string): usize {
  const at = heap.alloc(text.length);
  for (let i = 0; i < text.length; i++) store<u8>(at + i, <u8>text.charCodeAt(i));
  return at;
}

/** Reads lines of key=value. Returns 0, or the number of the line that is wrong. */
export function configure(at: usize, length: u32): i32 {
  const end = at + length;
  let line = 0;
  while (at < end) {
    line++;
    let stop = at;
    while (stop < end && load<u8>(stop) != 0x0a) stop++;
    let equals = at;
    while (equals < stop && load<u8>(equals) != 0x3d) equals++;
    if (equals == stop || !parameter(at, <u32>(equals - at), equals + 1, <u32>(stop - equals - 1))) {
      log(3, at, <u32>(stop - at));
      return line;
    }
    at = stop + 1;
  }
  return 0;
}

function parameter(key: usize, keyLength: u32, value: usize, length: u32): bool {
  for (let n = 0; n < Number.Count; n++) {
    if (equal(key, keyLength, numberNames[n])) return readNumber(n, value, length);
  }
  for (let n = 0; n < Tiers.Count; n++) {
    if (equal(key, keyLength, tierNames[n])) return readTiers(n, value, length);
  }
  if (equal(key, keyLength, "providers")) return readProviders(value, length);
  if (equal(key, keyLength, "level")) {
    if (length > MAX_NAME) return false;
    memory.copy(level, value, length);
    store<u16>(level + length, 0x203a); // ": "
    levelLength = length + 2;
    return true;
  }
  if (equal(key, keyLength, "latency")) {
    if (equal(value, length, "instant")) objective = 1;
    else if (equal(value, length, "fast")) objective = 2;
    else if (equal(value, length, "normal")) objective = 3;
    else return false;
    return true;
  }
  return false;
}

function equal(at: usize, length: u32, text: string): bool {
  if (length != <u32>text.length) return false;
  for (let i: u32 = 0; i < length; i++) {
    if (load<u8>(at + i) != text.charCodeAt(i)) return false;
  }
  return true;
}

// readNumber reads digits, of which at most 9 before and 6 behind a point.
function readNumber(n: i32, at: usize, length: u32): bool {
  let value: i64 = 0;
  let before = 0, behind = -1;
  for (let i: u32 = 0; i < length; i++) {
    const c = load<u8>(at + i);
    if (c == 0x2e && behind < 0) {
      behind = 0;
      continue;
    }
    if (c < 0x30 || c > 0x39) return false;
    value = value * 10 + (c - 0x30);
    if (behind >= 0) behind++;
    else before++;
    if (before > 9 || behind > 6) return false;
  }
  if (before == 0 || behind == 0) return false;
  for (let i = max(behind, 0); i < 6; i++) value *= 10;
  if (n == Number.MaxSteps && (value < MILLION || value > 8 * MILLION)) return false;
  if (n == Number.Attempts && (value < MILLION || value > 3 * MILLION)) return false;
  unchecked(micros[n] = value);
  unchecked(floats[n] = <f64>value / <f64>MILLION);
  unchecked(wholes[n] = value / MILLION);
  return true;
}

// readTiers reads digits of 0..7 with commas between them, or nothing.
function readTiers(n: i32, at: usize, length: u32): bool {
  let mask: u32 = 0;
  for (let i: u32 = 0; i < length; i++) {
    const c = load<u8>(at + i);
    if (i % 2 == 1) {
      if (c != 0x2c || i + 1 == length) return false;
    } else {
      if (c < 0x30 || c > 0x37) return false;
      mask |= 1 << (c - 0x30);
    }
  }
  unchecked(masks[n] = mask);
  return true;
}

// readProviders reads names with commas between them, or nothing; the best comes first.
function readProviders(at: usize, length: u32): bool {
  providerCount = 0;
  const end = at + length;
  while (at < end) {
    let stop = at;
    while (stop < end && load<u8>(stop) != 0x2c) stop++;
    const size = <u32>(stop - at);
    if (size == 0 || size > MAX_NAME || providerCount == MAX_PROVIDERS || stop + 1 == end) return false;
    memory.copy(providers + providerCount * MAX_NAME, at, size);
    unchecked(providerLengths[providerCount] = size);
    providerCount++;
    at = stop + 1;
  }
  return true;
}

/** How much a provider is preferred: 1 for the first of the list, 0 for one that is not on it. */
export function preference(name: usize, length: u32): f64 {
  for (let i: u32 = 0; i < providerCount; i++) {
    if (unchecked(providerLengths[i]) == length && memory.compare(providers + i * MAX_NAME, name, length) == 0) {
      return <f64>(providerCount - i) / <f64>providerCount;
    }
  }
  return 0;
}
