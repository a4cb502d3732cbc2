// The four built-in policies are this one program with different parameters: eco, balanced and precision rank the
// candidates of a power level, custom the deployments of the model that was named. examples/policy-go is the same in Go,
// and a test keeps the two alike bit for bit; so floating-point terms are added in the order written here.

import { Number, Tiers, configure, level, levelLength, micro, number, preference, targetMs, tiers, whole } from "./config";
import * as h from "./host";
import { Reason } from "./host";
import * as plan from "./plan";

// A candidate's record beside its facts: what depends on the snapshot alone, and what this request found.
const BASE = 0; // f64 score without what the request adds
const WORST = 8; // i64 micro-credits this request may cost
const STATE = 16; // u32 bits below
const RECORD: u32 = 24;

const FIT: u32 = 1, IN_BAND: u32 = 2, STRONG: u32 = 4;

let input: usize = 0, inputSize: u32 = 0;
let facts: usize = 0, factsSize: u32 = 0; // the snapshot, copied out of the input buffer
let records: usize = 0, recordsSize: u32 = 0;

let count: u32 = 0, first: usize = 0, stride: u32 = 0, blob: usize = 0;
let cheapestRate: i64 = 0, dearestRate: i64 = 0; // within the band

export function pointsman_abi_version(): i32 { return h.VERSION; }

export function pointsman_buffer(size: u32): usize {
  if (size > inputSize) {
    input = heap.alloc(size);
    inputSize = size;
  }
  return input;
}

export function pointsman_configure(length: u32): i32 { return configure(input, length); }

export function pointsman_describe(): u64 { return plan.describe("built-in power level; AssemblyScript"); }

export function pointsman_snapshot(length: u32): i32 {
  if (length > factsSize) {
    factsSize = length * 2;
    facts = heap.alloc(factsSize);
  }
  memory.copy(facts, input, length);
  count = load<u16>(facts, h.S_COUNT);
  stride = load<u16>(facts, h.S_STRIDE);
  first = facts + load<u16>(facts, h.S_HEADER);
  blob = facts + load<u32>(facts, h.S_BLOB);
  if (count * RECORD > recordsSize) {
    recordsSize = count * RECORD * 2;
    records = heap.alloc(recordsSize);
  }
  plan.reserve(count);
  findRates();
  for (let i: u32 = 0; i < count; i++) {
    store<f64>(records + i * RECORD, base(first + i * stride), BASE);
  }
  return 0;
}

// findRates finds the lowest and highest rate of the band, or of all candidates if the policy has no band.
function findRates(): void {
  const band = tiers(Tiers.Band);
  cheapestRate = i64.MAX_VALUE;
  dearestRate = 0;
  for (let i: u32 = 0; i < count; i++) {
    const c = first + i * stride;
    if (band != 0 && !has(band, load<u8>(c, h.C_TIER))) continue;
    const rate = load<i64>(c, h.C_RATE);
    if (rate < cheapestRate) cheapestRate = rate;
    if (rate > dearestRate) dearestRate = rate;
  }
}

function base(c: usize): f64 {
  const rate = load<i64>(c, h.C_RATE);
  let price: f64 = rate >= dearestRate ? 1 : <f64>rate / <f64>dearestRate;
  if (rate <= 0) price = 0;
  const liked = preference(blob + load<u32>(c, h.C_PROVIDER), load<u16>(c, h.C_PROVIDER_LEN));
  let score = number(Number.Quality) * <f64>load<f32>(c, h.C_QUALITY);
  score += number(Number.Price) * (1 - price);
  score += number(Number.Provider) * liked;
  score -= number(Number.Errors) * <f64>load<f32>(c, h.C_ERRORS);
  if (load<u8>(c, h.C_HEALTH) == h.HEALTH_DEGRADED) score -= number(Number.Degraded);
  return score;
}

// What the request asks for, read once.
let task: u32 = 0, tokens: i64 = 0, credits: i64 = 0, outputWanted: u32 = 0, inputTokens: u32 = 0;
let isPrivate = false;
let target: f64 = 0;
let band: u32 = 0; // tiers: of the level, or where a named model may fall back to
let model: u32 = 0;
let options: usize = 0, optionStride: u32 = 0;

function readRequest(): void {
  const r = input;
  options = r + load<u16>(r, h.R_HEADER);
  optionStride = load<u16>(r, h.R_STRIDE);
  task = load<u8>(r, h.R_TASK);
  isPrivate = load<u8>(r, h.R_PRIVACY) != 0;
  inputTokens = load<u32>(r, h.R_INPUT);
  outputWanted = load<u32>(r, h.R_MAX_OUTPUT);
  tokens = <i64>inputTokens + (outputWanted > 0 ? <i64>outputWanted : whole(Number.MaxOutput));
  credits = load<i64>(r, h.R_CREDITS);
  model = load<u16>(r, h.R_MODEL);
  const latency = load<u8>(r, h.R_LATENCY);
  target = latency == 1 ? 500 : latency == 2 ? 2000 : latency == 3 ? 5000 : targetMs;
}

export function pointsman_route(length: u32): u64 {
  readRequest();
  const named = micro(Number.Named) != 0;
  const alone = (load<u8>(input, h.R_FLAGS) & h.NO_FALLBACK) != 0;
  plan.begin(count, alone && !named ? 1 : <u32>whole(Number.MaxSteps));
  if (named) {
    if (model == h.NO_MODEL) return plan.reject(Reason.Nothing, 400, "the request names no model");
    band = alone ? 0 : fallbackBand();
    rankNamed();
  } else {
    band = tiers(Tiers.Band);
    rankLevel();
  }
  if (plan.chosen == 0) {
    if (lacksCredits(named)) return plan.reject(Reason.NoCredits, 402, "not enough credits");
    return plan.reject(Reason.Nothing, 503, "no candidate can serve this request");
  }
  const best = plan.candidate(0);
  return plan.answer(first + best * stride, blob, load<i64>(records + best * RECORD, WORST));
}

function fallbackBand(): u32 {
  const wanted = load<u8>(input, h.R_LEVEL);
  return wanted >= 1 && wanted <= 3 ? tiers(Tiers.Eco + wanted - 1) : 0;
}

// rankNamed puts the deployments of the named model first, those with an own key before the others, then the candidates of
// the level that the request also names.
function rankNamed(): void {
  for (let i: u32 = 0; i < count; i++) {
    const c = first + i * stride, option = load<u32>(options + i * optionStride), r = records + i * RECORD;
    const own = (option & h.OWN_KEY) != 0;
    const isNamed = load<u16>(c, h.C_MODEL) == model;
    const strong = isStrong(c);
    const worst = worstCase(c, own);
    store<i64>(r, worst, WORST);
    if (!isNamed && !has(band, load<u8>(c, h.C_TIER))) {
      plan.exclude(i, (option & 0xff) != 0 ? option & 0xff : Reason.NotRequested);
      continue;
    }
    const why = isNamed ? unusable(c, option) : unfit(c, option);
    if (why != Reason.None) plan.exclude(i, why);
    else if (worst > credits) plan.exclude(i, Reason.Unaffordable);
    else if (isNamed) plan.consider(i, own ? 0 : 1, score(c, r, option, strong), Reason.Named);
    else plan.consider(i, own ? 5 : 6 + dearness(worst), score(c, r, option, strong), Reason.Band);
  }
}

// rankLevel applies the rules of a power level in their order. The first number of consider is the rule's rank: whatever
// the scores, a candidate of a lower one comes first.
function rankLevel(): void {
  const low = survey();
  const instant = load<u8>(input, h.R_LATENCY) == 1 && tokens < whole(Number.InstantTokens);
  for (let i: u32 = 0; i < count; i++) {
    const r = records + i * RECORD, state = load<u32>(r, STATE);
    if ((state & FIT) == 0) continue;
    const c = first + i * stride, option = load<u32>(options + i * optionStride), worst = load<i64>(r, WORST);
    const own = (option & h.OWN_KEY) != 0, strong = (state & STRONG) != 0;
    const tier = load<u8>(c, h.C_TIER);
    const good = load<f32>(c, h.C_QUALITY) >= <f32>number(Number.MinQuality);
    const free = load<i64>(c, h.C_RATE) == 0;
    if (isPrivate) {
      if (worst > credits) plan.exclude(i, Reason.Unaffordable);
      else plan.consider(i, 2 + dearness(worst), score(c, r, option, strong), Reason.Private);
    } else if (own && good && has(tiers(Tiers.OwnKey), tier)) {
      plan.consider(i, 0, score(c, r, option, strong), Reason.OwnKey);
    } else if (instant && free) {
      plan.consider(i, 1, speed(c, option), Reason.Instant);
    } else if (low) {
      if (free || own) plan.consider(i, 2, score(c, r, option, strong), Reason.LowCredits);
      else plan.exclude(i, Reason.NotFree);
    } else if ((state & IN_BAND) == 0) {
      plan.exclude(i, Reason.OutsideBand);
    } else if (!good) {
      plan.exclude(i, Reason.Quality);
    } else if (worst > credits) {
      plan.exclude(i, Reason.Unaffordable);
    } else {
      plan.consider(i, 2 + dearness(worst), score(c, r, option, strong), strong ? Reason.Task : Reason.Band);
    }
  }
  if (plan.chosen == 0 && !isPrivate && !low) widen();
}

// survey finds what is fit at all, and tells whether only free models are left to the account.
function survey(): bool {
  let cheapest = i64.MAX_VALUE;
  for (let i: u32 = 0; i < count; i++) {
    const c = first + i * stride, option = load<u32>(options + i * optionStride), r = records + i * RECORD;
    const why = unfit(c, option);
    if (why != Reason.None) {
      store<u32>(r, 0, STATE);
      plan.exclude(i, why);
      continue;
    }
    const worst = worstCase(c, (option & h.OWN_KEY) != 0);
    const tier = load<u8>(c, h.C_TIER);
    let state = FIT;
    if (isStrong(c)) state |= STRONG;
    if (has(band, tier) || (tier == h.SPECIALIZED && (state & STRONG) != 0 && withinRates(c))) state |= IN_BAND;
    if ((state & IN_BAND) != 0 && worst < cheapest) cheapest = worst;
    store<i64>(r, worst, WORST);
    store<u32>(r, state, STATE);
  }
  if (micro(Number.FreeAccounts) != 0 && load<u8>(input, h.R_ACCOUNT_TIER) == 0) return true;
  return credits <= 0 || (cheapest != i64.MAX_VALUE && cheapest > credits);
}

// widen takes what is left in the band whatever its quality, then the tiers below it, nearest first.
function widen(): void {
  const lowest = ctz(band);
  for (let i: u32 = 0; i < count; i++) {
    const r = records + i * RECORD;
    if ((load<u32>(r, STATE) & FIT) == 0) continue;
    const c = first + i * stride, tier: u32 = load<u8>(c, h.C_TIER);
    const inside = has(band, tier);
    if (!inside && tier >= lowest) continue;
    if (load<i64>(r, WORST) > credits) {
      plan.exclude(i, Reason.Unaffordable);
      continue;
    }
    const option = load<u32>(options + i * optionStride);
    plan.consider(i, 6 + (inside ? 0 : lowest - tier), score(c, r, option, (load<u32>(r, STATE) & STRONG) != 0), Reason.Widened);
  }
}

// lacksCredits tells whether there would be a candidate if there were credits.
function lacksCredits(named: bool): bool {
  const highest: u32 = band == 0 ? 0 : 31 - clz(band);
  for (let i: u32 = 0; i < count; i++) {
    const why = plan.verdict(i);
    if (why != Reason.Unaffordable && why != Reason.NotFree) continue;
    const c = first + i * stride;
    if (isPrivate && (load<u32>(c, h.C_FLAGS) & h.LOCAL) == 0) continue;
    if (named ? load<u16>(c, h.C_MODEL) == model : load<u8>(c, h.C_TIER) <= highest) return true;
  }
  return false;
}

// unusable tells why a candidate cannot serve, whoever asks for it.
function unusable(c: usize, option: u32): u32 {
  if ((option & 0xff) != 0) return option & 0xff;
  if (load<u8>(c, h.C_HEALTH) == h.HEALTH_DOWN) return Reason.Down;
  if (isPrivate && (load<u32>(c, h.C_FLAGS) & h.LOCAL) == 0) return Reason.NotLocal;
  return Reason.None;
}

// unfit tells also why a candidate should not be chosen by a policy: who names a model gets its own answer to that.
function unfit(c: usize, option: u32): u32 {
  const why = unusable(c, option);
  if (why != Reason.None) return why;
  const window = load<u32>(c, h.C_CONTEXT), longest = load<u32>(c, h.C_MAX_OUTPUT);
  if (window != 0 && <u64>inputTokens + <u64>outputWanted > <u64>window) return Reason.Context;
  if (longest != 0 && outputWanted > longest) return Reason.OutputTooLong;
  return Reason.None;
}

// worstCase is what the request costs at most, in micro-credits, rounded up; nothing with the account's own key.
// @ts-ignore: decorator
@inline function worstCase(c: usize, own: bool): i64 {
  return own ? 0 : (tokens * load<i64>(c, h.C_RATE) + 999) / 1000;
}

// @ts-ignore: decorator
@inline function has(tiers: u32, tier: u32): bool { return tier < 32 && (tiers >> tier & 1) != 0; }

// @ts-ignore: decorator
@inline function isStrong(c: usize): bool {
  return task != 0 && task < 32 && (load<u32>(c, h.C_STRENGTHS) >> task & 1) != 0;
}

// @ts-ignore: decorator
@inline function withinRates(c: usize): bool {
  const rate = load<i64>(c, h.C_RATE);
  return rate >= cheapestRate && rate <= dearestRate;
}

// dearness is 0 for what the level means to spend, more for what it spends only if it must.
function dearness(worst: i64): u32 {
  let d: u32 = worst > micro(Number.MaxCredits) ? 1 : 0;
  if (<f64>worst > <f64>credits * number(Number.SpendShare)) d += 2;
  return d;
}

// @ts-ignore: decorator
@inline function latency(c: usize): f64 {
  const ttft = <f64>load<f32>(c, h.C_TTFT);
  return ttft > 0 ? target / (target + ttft) : number(Number.PriorLatency);
}

// @ts-ignore: decorator
@inline function business(option: u32): f64 {
  const inflight = <f64>(option >> 16);
  return inflight > 0 ? inflight / (inflight + number(Number.LoadHalf)) : 0;
}

// score is how well a candidate suits the request; larger is better.
function score(c: usize, record: usize, option: u32, strong: bool): f32 {
  let s = load<f64>(record, BASE);
  s += number(Number.Latency) * latency(c);
  s -= number(Number.Load) * business(option);
  if ((option & h.WARM) != 0) s += number(Number.Warm);
  if (strong) s += number(Number.Task);
  return <f32>s;
}

// speed is how soon a candidate is likely to answer; larger is sooner.
function speed(c: usize, option: u32): f32 {
  let s = latency(c);
  s -= number(Number.Load) * business(option);
  s -= number(Number.Errors) * <f64>load<f32>(c, h.C_ERRORS);
  if (load<u8>(c, h.C_HEALTH) == h.HEALTH_DEGRADED) s -= number(Number.Degraded);
  return <f32>s;
}
