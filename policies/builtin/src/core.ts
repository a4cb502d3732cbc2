// The four built-in policies are this one program with different parameters: eco, balanced and precision rank the
// candidates of a power level, custom the deployments of the model that was named. examples/policy-go is the same in Go,
// and a test keeps the two alike bit for bit; so floating-point terms are added in the order written here.

import { Number, Tiers, configure, micro, number, objective, preference, tiers, whole } from "./config";
import * as h from "./host";
import { Reason } from "./host";
import * as plan from "./plan";

// A candidate's profile: what decisions need of it, computed once a snapshot.
const SCORES = 0; // 3 f64, by latency objective: score without what else the request adds
const RATE = 24; // i64 micro-credits per 1,000 tokens
const BITS = 32; // u32 below
const STRENGTHS = 36; // u32
const WINDOW = 40; // u32 tokens, the largest number if unknown
const LONGEST = 44; // u32 tokens of output, the largest number if unknown
const TTFT = 48; // f32 milliseconds, 0 unknown
const ERRORS = 52; // f32
const TIER = 56; // u16
const MODEL = 58; // u16
const PROFILE: u32 = 64;

const IN_BAND: u32 = 1, SPECIALIST: u32 = 2, OWN_TIER: u32 = 4, GOOD: u32 = 8;
const FREE: u32 = 16, LOCAL: u32 = 32, DOWN: u32 = 64, DEGRADED: u32 = 128;
const OUT = 16; // where the reason begins why it is out if no particular rule applies, None if it is not or that depends

// What scores are made of beside: what so many requests under way take off, and what warmth (the second number) and strength
// (the fourth) add; they are looked up, because a branch on either would often be guessed wrong.
const LOADS: u32 = 64;
const loads: usize = memory.data(8 * LOADS), bonuses: usize = memory.data(32);

let input: usize = 0, inputSize: u32 = 0;
let facts: usize = 0, factsSize: u32 = 0; // the snapshot, copied out of the input buffer
let profiles: usize = 0, profilesSize: u32 = 0;

let count: u32 = 0, first: usize = 0, stride: u32 = 0, blob: usize = 0;
let cheapestRate: i64 = 0, dearestRate: i64 = 0; // within the band
let leastWindow: u32 = 0, leastLongest: u32 = 0; // of all candidates

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
  if (count * PROFILE > profilesSize) {
    profilesSize = count * PROFILE * 2;
    profiles = heap.alloc(profilesSize);
  }
  plan.reserve(count);
  for (let n: u32 = 0; n < LOADS; n++) store<f64>(loads + 8 * n, loadOf(n));
  store<f64>(bonuses, number(Number.Warm), 8);
  store<f64>(bonuses, number(Number.Task), 24);
  findRates();
  leastWindow = leastLongest = u32.MAX_VALUE;
  for (let i: u32 = 0; i < count; i++) profile(profiles + i * PROFILE, first + i * stride);
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

function profile(p: usize, c: usize): void {
  const rate = load<i64>(c, h.C_RATE), tier: u32 = load<u8>(c, h.C_TIER), health = load<u8>(c, h.C_HEALTH);
  const window = load<u32>(c, h.C_CONTEXT), longest = load<u32>(c, h.C_MAX_OUTPUT);
  let bits: u32 = 0;
  if (has(tiers(Tiers.Band), tier)) bits |= IN_BAND;
  if (tier == h.SPECIALIZED && rate >= cheapestRate && rate <= dearestRate) bits |= SPECIALIST;
  if (has(tiers(Tiers.OwnKey), tier)) bits |= OWN_TIER;
  if (load<f32>(c, h.C_QUALITY) >= <f32>number(Number.MinQuality)) bits |= GOOD;
  if (rate == 0) bits |= FREE;
  if ((load<u32>(c, h.C_FLAGS) & h.LOCAL) != 0) bits |= LOCAL;
  if (health == h.HEALTH_DOWN) bits |= DOWN;
  if (health == h.HEALTH_DEGRADED) bits |= DEGRADED;
  bits |= ordinarily(bits) << OUT;
  store<i64>(p, rate, RATE);
  store<f32>(p, load<f32>(c, h.C_TTFT), TTFT);
  store<u32>(p, bits, BITS);
  store<u32>(p, load<u32>(c, h.C_STRENGTHS), STRENGTHS);
  store<u32>(p, window == 0 ? u32.MAX_VALUE : window, WINDOW);
  store<u32>(p, longest == 0 ? u32.MAX_VALUE : longest, LONGEST);
  store<u16>(p, tier, TIER);
  store<u16>(p, load<u16>(c, h.C_MODEL), MODEL);
  store<f32>(p, load<f32>(c, h.C_ERRORS), ERRORS);
  const known = base(c, rate);
  for (let o: u32 = 1; o <= 3; o++) store<f64>(p + scoreOf(o), known + number(Number.Latency) * promptness(p, o));
  leastWindow = min(leastWindow, load<u32>(p, WINDOW));
  leastLongest = min(leastLongest, load<u32>(p, LONGEST));
}

// ordinarily is why rankLevel leaves a candidate out that has no own key, unless the request is private, instant or low.
function ordinarily(bits: u32): u32 {
  if ((bits & DOWN) != 0) return Reason.Down;
  if ((bits & IN_BAND) == 0) return (bits & SPECIALIST) != 0 ? Reason.None : Reason.OutsideBand;
  return (bits & GOOD) == 0 ? Reason.Quality : Reason.None;
}

function base(c: usize, rate: i64): f64 {
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

// What the request asks for, read once. Limits of cost are in thousandths of a micro-credit, like tokens times a rate.
let task: u32 = 0, latency: u32 = 0, tokens: i64 = 0, credits: i64 = 0, asked: u64 = 0, outputWanted: u32 = 0, model: u32 = 0;
let isPrivate = false;
let tight = false; // some candidate's window or output is too small
let dear: i64 = 0, share: i64 = 0; // what the level means to spend, and the part of the credits
let band: u32 = 0; // tiers: of the level, or where a named model may fall back to
let options: usize = 0, optionStride: u32 = 0;

function readRequest(): void {
  const r = input, inputTokens = load<u32>(r, h.R_INPUT), wanted = load<u8>(r, h.R_TASK);
  options = r + load<u16>(r, h.R_HEADER);
  optionStride = load<u16>(r, h.R_STRIDE);
  task = wanted != 0 && wanted < 32 ? 1 << wanted : 0;
  isPrivate = load<u8>(r, h.R_PRIVACY) != 0;
  outputWanted = load<u32>(r, h.R_MAX_OUTPUT);
  asked = <u64>inputTokens + <u64>outputWanted;
  tight = asked > <u64>leastWindow || outputWanted > leastLongest;
  tokens = <i64>inputTokens + (outputWanted > 0 ? <i64>outputWanted : whole(Number.MaxOutput));
  const has = load<i64>(r, h.R_CREDITS);
  credits = thousandfold(has);
  dear = micro(Number.MaxCredits) * 1000;
  share = thousandfold(<i64>(<f64>has * number(Number.SpendShare)));
  model = load<u16>(r, h.R_MODEL);
  latency = load<u8>(r, h.R_LATENCY);
  if (latency < 1 || latency > 3) latency = objective;
}

// thousandfold multiplies within what a number holds; whatever is below zero comes to the same.
function thousandfold(value: i64): i64 { return 1000 * max<i64>(-1, min<i64>(value, i64.MAX_VALUE / 1000)); }

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
  const worst = cost(profiles + best * PROFILE, load<u32>(options + best * optionStride));
  return plan.answer(first + best * stride, blob, (worst + 999) / 1000);
}

function fallbackBand(): u32 {
  const wanted = load<u8>(input, h.R_LEVEL);
  return wanted >= 1 && wanted <= 3 ? tiers(Tiers.Eco + wanted - 1) : 0;
}

// rankNamed puts the deployments of the named model first, those with an own key before the others, then the candidates of
// the level that the request also names.
function rankNamed(): void {
  let p = profiles, o = options;
  for (let i: u32 = 0; i < count; i++, p += PROFILE, o += optionStride) {
    const option = load<u32>(o);
    const isNamed = load<u16>(p, MODEL) == model;
    if (!isNamed && !has(band, load<u16>(p, TIER))) {
      plan.exclude(i, (option & 0xff) != 0 ? option & 0xff : Reason.NotRequested);
      continue;
    }
    const bits = load<u32>(p, BITS), worst = cost(p, option);
    let why = isNamed ? unusable(bits, option) : unfit(p, bits, option);
    if (why == Reason.None && worst > credits) why = Reason.Unaffordable;
    if (why != Reason.None) {
      plan.exclude(i, why);
      continue;
    }
    const own = (option & h.OWN_KEY) != 0;
    const rank: u32 = isNamed ? (own ? 0 : 1) : own ? 5 : 6 + dearness(worst);
    plan.consider(i, rank, score(p, option), isNamed ? Reason.Named : Reason.Band);
  }
}

// rankLevel applies the rules of a power level in their order. The rank is that of the rule: whatever the scores, a candidate
// of a lower one comes first.
function rankLevel(): void {
  const low = onlyFree();
  const instant = load<u8>(input, h.R_LATENCY) == 1 && tokens < whole(Number.InstantTokens);
  const particular: u32 = low || isPrivate ? u32.MAX_VALUE : instant ? FREE : 0; // candidates that other rules may apply to
  let p = profiles, o = options;
  for (let i: u32 = 0; i < count; i++, p += PROFILE, o += optionStride) {
    const option = load<u32>(o), bits = load<u32>(p, BITS);
    const out = bits >> OUT;
    if (out != Reason.None && (option & (h.EXCLUDED | h.OWN_KEY) | bits & particular) == 0) {
      plan.exclude(i, tight && out != Reason.Down ? tooSmall(p, out) : out);
      continue;
    }
    let why = unfit(p, bits, option), rank: u32 = 2, reason: u32 = Reason.Band;
    if (why == Reason.None) {
      const own = (option & h.OWN_KEY) != 0;
      let paid = true; // by the account's credits, which must suffice
      if (isPrivate) {
        reason = Reason.Private;
      } else if (own && (bits & (GOOD | OWN_TIER)) == (GOOD | OWN_TIER)) {
        paid = false;
        rank = 0;
        reason = Reason.OwnKey;
      } else if (instant && (bits & FREE) != 0) {
        paid = false;
        rank = 1;
        reason = Reason.Instant;
      } else if (low) {
        paid = false;
        reason = Reason.LowCredits;
        if ((bits & FREE) == 0 && !own) why = Reason.NotFree;
      } else if (!inBand(p, bits)) {
        why = Reason.OutsideBand;
      } else if ((bits & GOOD) == 0) {
        why = Reason.Quality;
      } else if (isStrong(p)) {
        reason = Reason.Task;
      }
      if (paid && why == Reason.None) {
        const worst = cost(p, option);
        if (worst > credits) why = Reason.Unaffordable;
        rank += dearness(worst);
      }
    }
    if (why != Reason.None) plan.exclude(i, why);
    else plan.consider(i, rank, reason == Reason.Instant ? speed(p, option) : score(p, option), reason);
  }
  if (plan.chosen == 0 && !isPrivate && !low) widen();
}

// onlyFree tells whether only free models are left to the account: it is a free one, or cannot pay the cheapest of the band.
function onlyFree(): bool {
  if (credits <= 0) return true;
  if (micro(Number.FreeAccounts) != 0 && load<u8>(input, h.R_ACCOUNT_TIER) == 0) return true;
  if (tokens * dearestRate <= credits) return false; // it can pay any of them
  let cheapest = i64.MAX_VALUE;
  let p = profiles, o = options;
  for (let i: u32 = 0; i < count; i++, p += PROFILE, o += optionStride) {
    const option = load<u32>(o), bits = load<u32>(p, BITS);
    if (!inBand(p, bits) || unfit(p, bits, option) != Reason.None) continue;
    const worst = cost(p, option);
    if (worst < cheapest) cheapest = worst;
  }
  return cheapest != i64.MAX_VALUE && cheapest > credits;
}

// widen takes what is left in the band whatever its quality, then the tiers below it, nearest first.
function widen(): void {
  const lowest = ctz(band);
  let p = profiles, o = options;
  for (let i: u32 = 0; i < count; i++, p += PROFILE, o += optionStride) {
    const option = load<u32>(o), bits = load<u32>(p, BITS), tier: u32 = load<u16>(p, TIER);
    const inside = (bits & IN_BAND) != 0;
    if (!inside && tier >= lowest) continue;
    if (unfit(p, bits, option) != Reason.None) continue;
    const worst = cost(p, option);
    if (worst > credits) plan.exclude(i, Reason.Unaffordable);
    else plan.consider(i, 6 + (inside ? 0 : lowest - tier), score(p, option), Reason.Widened);
  }
}

// lacksCredits tells whether there would be a candidate if there were credits.
function lacksCredits(named: bool): bool {
  const highest: u32 = band == 0 ? 0 : 31 - clz(band);
  let p = profiles;
  for (let i: u32 = 0; i < count; i++, p += PROFILE) {
    const why = plan.verdict(i);
    if (why != Reason.Unaffordable && why != Reason.NotFree) continue;
    if (isPrivate && (load<u32>(p, BITS) & LOCAL) == 0) continue;
    if (named ? load<u16>(p, MODEL) == model : load<u16>(p, TIER) <= highest) return true;
  }
  return false;
}

// unusable tells why a candidate cannot serve, whoever asks for it.
// @ts-ignore: decorator
@inline function unusable(bits: u32, option: u32): u32 {
  if ((option & 0xff) != 0) return option & 0xff;
  if ((bits & DOWN) != 0) return Reason.Down;
  return isPrivate && (bits & LOCAL) == 0 ? Reason.NotLocal : Reason.None;
}

// unfit tells also why a candidate should not be chosen by a policy: who names a model gets its own answer to that.
// @ts-ignore: decorator
@inline function unfit(p: usize, bits: u32, option: u32): u32 {
  const why = unusable(bits, option);
  return why == Reason.None && tight ? tooSmall(p, why) : why;
}

// @ts-ignore: decorator
@inline function tooSmall(p: usize, otherwise: u32): u32 {
  if (asked > <u64>load<u32>(p, WINDOW)) return Reason.Context;
  return outputWanted > load<u32>(p, LONGEST) ? Reason.OutputTooLong : otherwise;
}

// cost is what the request costs at most.
// @ts-ignore: decorator
@inline function cost(p: usize, option: u32): i64 { return (option & h.OWN_KEY) != 0 ? 0 : tokens * load<i64>(p, RATE); }

// @ts-ignore: decorator
@inline function has(tiers: u32, tier: u32): bool { return tier < 32 && (tiers >> tier & 1) != 0; }

// @ts-ignore: decorator
@inline function isStrong(p: usize): bool { return (load<u32>(p, STRENGTHS) & task) != 0; }

// @ts-ignore: decorator
@inline function inBand(p: usize, bits: u32): bool {
  return (bits & IN_BAND) != 0 || ((bits & SPECIALIST) != 0 && isStrong(p));
}

// dearness is 0 for what the level means to spend, more for what it spends only if it must.
// @ts-ignore: decorator
@inline function dearness(worst: i64): u32 {
  return <u32>(worst > dear) + 2 * <u32>(worst > share);
}

// promptness is how soon a candidate answers, measured by an objective: 1 at once, 0 never.
function promptness(p: usize, latency: u32): f64 {
  const ttft = <f64>load<f32>(p, TTFT), target: f64 = latency == 1 ? 500 : latency == 2 ? 2000 : 5000;
  return ttft > 0 ? target / (target + ttft) : number(Number.PriorLatency);
}

// loadOf is what requests under way take off a score.
function loadOf(inflight: u32): f64 {
  const n = <f64>inflight;
  return n > 0 ? number(Number.Load) * (n / (n + number(Number.LoadHalf))) : 0;
}

// @ts-ignore: decorator
@inline function business(option: u32): f64 {
  const inflight = option >> h.INFLIGHT;
  return inflight < LOADS ? load<f64>(loads + 8 * inflight) : loadOf(inflight);
}

// scoreOf is where in a profile the score for a latency objective lies.
// @ts-ignore: decorator
@inline function scoreOf(latency: u32): u32 { return SCORES - 8 + 8 * latency; }

// score is how well a candidate suits the request; larger is better.
// @ts-ignore: decorator
@inline function score(p: usize, option: u32): f32 {
  const warmth = load<f64>(bonuses + 8 * <u32>((option & h.WARM) != 0));
  const strength = load<f64>(bonuses + 8 * <u32>isStrong(p), 16);
  return <f32>(load<f64>(p + scoreOf(latency)) - business(option) + warmth + strength);
}

// speed is how soon a candidate is likely to answer; larger is sooner.
function speed(p: usize, option: u32): f32 {
  let s = promptness(p, 1) - business(option);
  s -= number(Number.Errors) * <f64>load<f32>(p, ERRORS);
  if ((load<u32>(p, BITS) & DEGRADED) != 0) s -= number(Number.Degraded);
  return <f32>s;
}
