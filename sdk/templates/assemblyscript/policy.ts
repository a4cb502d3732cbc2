// A routing policy to start from: the reference policy, which every language's template holds, equal in every decision.
// The README says what it does; its numbers are added in the order written here. Change it into yours.

import {
  BECAUSE_BAND, BECAUSE_HELD, BECAUSE_NOTHING, CANDIDATE_LOCAL, FAILURE_NONE, FAILURE_NOT_FOUND, FLAG_JSON, FLAG_NO_FALLBACK,
  GRANT_STATE, HEALTH_DEGRADED, KIND_ACCEPT, KIND_ANSWER, KIND_REJECT, MAX_ROUNDS, MAX_STEPS, OPTION_WARM, OUTCOME_EMPTY,
  OUTCOME_JSON, OUTCOME_OK, OUTCOME_REFUSAL, PLAN_REVIEW, PRIVACY_LOCAL, REASON_NOT_LOCAL, REASON_OUTRANKED, REASON_QUALITY,
  Candidate, Floats, Outcome, Outcomes, Plan, Policy, Request, Shorts, Snapshot, Text, register, text,
} from "./pointsman";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_needs, pointsman_next,
  pointsman_observe, pointsman_route, pointsman_snapshot, pointsman_state,
} from "./pointsman";

const REASON_TRIED: u32 = 1024; // the candidate had its chance in an earlier round
const MAX_TALLIES: u32 = 256, HALVE_AT: u32 = 256;

/** What became of a candidate's attempts: an entry of the state. */
@unmanaged
class Tally {
  key: u64;
  successes: u32;
  failures: u32;
}

const TALLY_SIZE: u32 = 16;

/** Entries at an address, sorted by key. */
class Tallies {
  at: usize = 0;
  count: u32 = 0;

  @inline tally(i: u32): Tally { return changetype<Tally>(this.at + i * TALLY_SIZE); }

  /** Where the key is, or where it belongs. */
  find(key: u64): u32 {
    let low: u32 = 0, high = this.count;
    while (low < high) {
      const middle = (low + high) / 2;
      if (this.tally(middle).key < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Makes it the entries of a state. Returns false, and has none, if it is not one of this policy. */
  read(state: Text): bool {
    this.at = state.at;
    this.count = 0;
    if (state.size % TALLY_SIZE || state.size > MAX_TALLIES * TALLY_SIZE) return false;
    const count = state.size / TALLY_SIZE;
    for (let i: u32 = 0; i < count; i++) {
      const t = this.tally(i);
      const counted = t.successes < HALVE_AT && t.failures < HALVE_AT && t.successes + t.failures > 0;
      if (!counted || (i > 0 && this.tally(i - 1).key >= t.key)) return false;
    }
    this.count = count;
    return true;
  }

  add(o: Outcome): void {
    const succeeded = (o.flags & OUTCOME_OK) != 0;
    if (!succeeded && (o.failure == FAILURE_NONE || o.failure > FAILURE_NOT_FOUND)) return;
    const at = this.find(o.key);
    const t = this.tally(at);
    if (at == this.count || t.key != o.key) {
      if (this.count == MAX_TALLIES) return;
      const from = changetype<usize>(t);
      memory.copy(from + TALLY_SIZE, from, (this.count - at) * TALLY_SIZE);
      t.key = o.key;
      t.successes = t.failures = 0;
      this.count++;
    }
    if (succeeded) t.successes++;
    else t.failures++;
    if (t.successes + t.failures == HALVE_AT) {
      t.successes /= 2;
      t.failures /= 2;
    }
  }
}

class Reference extends Policy {
  quality: f32 = 1;
  price: f32 = 1;
  speed: f32 = 0.5;
  prefer: Text = text();
  steps: u32 = 3;
  review: bool = false;

  history: Tallies = new Tallies();
  counted: Tallies = new Tallies();
  scores: Floats = new Floats(); // without what the request adds
  barred: Shorts = new Shorts(); // why an earlier round rules a candidate out, or 0
  name: Text = text();
  list: Text = text();
  one: Text = text();

  describe(): string { return "reference policy; AssemblyScript"; }

  needs(): u32 { return GRANT_STATE; }

  configure(key: Text, value: Text): bool {
    if (key.is("prefer")) {
      this.prefer.set(value.at, value.size);
      return true;
    }
    const n = value.number(); // what is not a number is in no range
    if (key.is("quality")) this.quality = <f32>n;
    else if (key.is("price")) this.price = <f32>n;
    else if (key.is("speed")) this.speed = <f32>n;
    else if (key.is("steps")) {
      if (!(n >= 1 && n <= <f64>MAX_STEPS)) return false;
      this.steps = <u32>n;
      return true;
    } else if (key.is("review")) {
      this.review = value.boolean() == 1;
      return value.boolean() >= 0;
    } else return false;
    return n <= 1000;
  }

  preferred(provider: Text): bool {
    this.list.set(this.prefer.at, this.prefer.size);
    while (this.list.size > 0) {
      this.list.cut(0x2c, this.one);
      if (this.one.equals(provider)) return true;
    }
    return false;
  }

  learn(s: Snapshot): void {
    this.scores.resize(s.count);
    this.barred.resize(s.count);
    for (let i: u32 = 0; i < s.count; i++) this.scores.set(i, this.score(s, s.candidate(i)));
  }

  /** All of the score that does not depend on the request. */
  score(s: Snapshot, c: Candidate): f32 {
    let score: f32 = this.quality * c.quality;
    score -= this.price * (<f32>c.rate / 1000000);
    score += this.speed * (c.speed / 100);
    if (this.preferred(s.providerName(c, this.name))) score += 0.25;
    if (c.health == HEALTH_DEGRADED) score -= 0.5;
    const at = this.history.find(c.key);
    if (at < this.history.count && this.history.tally(at).key == c.key) {
      const t = this.history.tally(at);
      score -= <f32>0.5 * <f32>t.failures / <f32>(t.successes + t.failures);
    }
    return score;
  }

  remember(s: Snapshot, state: Text): bool {
    const known = this.history.read(state);
    this.learn(s);
    return known;
  }

  /** Plans the best candidates of those that are not barred. Returns false if there are none. */
  choose(s: Snapshot, r: Request, bars: bool, p: Plan): bool {
    const most: u32 = r.flags & FLAG_NO_FALLBACK ? 1 : this.steps;
    let running: u32 = 0;
    p.verdicts(s);
    for (let i: u32 = 0; i < s.count; i++) {
      const o = r.option(i);
      let why: u32 = o.excluded;
      if (!why && r.privacy == PRIVACY_LOCAL && !(s.candidate(i).flags & CANDIDATE_LOCAL)) why = REASON_NOT_LOCAL;
      if (!why && bars) why = this.barred.get(i);
      if (why) {
        p.verdict(i).set(0, why, 0);
        continue;
      }
      let score = this.scores.get(i);
      if (o.flags & OPTION_WARM) score += <f32>0.1;
      p.verdict(i).set(score, REASON_OUTRANKED, 0);
      running++;
      insert(p, most, i, score);
    }
    for (let rank: u32 = 0; rank < p.stepCount; rank++) {
      const step = p.stepAt(rank);
      p.verdict(step.candidate).set(step.score, 0, rank + 1);
    }
    if (p.stepCount == 0) return false;
    p.kind = KIND_ANSWER;
    p.reason = BECAUSE_BAND;
    p.explain("best of ");
    p.explainNumber(running);
    p.explain(": ");
    p.explainText(s.modelName(s.candidate(p.stepAt(0).candidate), this.name));
    return true;
  }

  reviews(r: Request): bool { return this.review && (r.flags & FLAG_JSON) != 0; }

  route(s: Snapshot, r: Request, p: Plan): void {
    if (!this.choose(s, r, false, p)) {
      p.kind = KIND_REJECT;
      p.reason = BECAUSE_NOTHING;
      p.explain("nothing can serve this request");
    } else if (this.reviews(r)) {
      p.flags = PLAN_REVIEW;
      p.tag = 1;
    }
  }

  next(s: Snapshot, r: Request, outcomes: Outcomes, p: Plan): void {
    const last = outcomes.outcome(outcomes.count - 1);
    const answered = (last.flags & OUTCOME_OK) != 0;
    if (answered && good(r, last)) {
      accept(p, "the answer is good");
      return;
    }
    const least = s.candidate(last.candidate).quality;
    for (let i: u32 = 0; i < s.count; i++) {
      this.barred.set(i, answered && s.candidate(i).quality <= least ? REASON_QUALITY : 0);
    }
    let held = false;
    for (let i: u32 = 0; i < outcomes.count; i++) {
      const o = outcomes.outcome(i);
      this.barred.set(o.candidate, REASON_TRIED);
      held = held || (o.kind == KIND_ANSWER && (o.flags & OUTCOME_OK) != 0);
    }
    const round: u32 = <u32>last.round + 1;
    if (round < MAX_ROUNDS && this.choose(s, r, true, p)) {
      p.tag = last.tag + 1;
      if (this.reviews(r) && round + 1 < MAX_ROUNDS) p.flags = PLAN_REVIEW;
      return;
    }
    p.reset();
    if (held) {
      accept(p, "nothing better is left");
      return;
    }
    p.kind = KIND_REJECT;
    p.reason = BECAUSE_NOTHING;
    p.status = 502;
    p.explain("nothing answered");
  }

  observe(state: Text, outcomes: Outcomes, to: usize): u32 {
    this.counted.read(state);
    memory.copy(to, state.at, this.counted.count * TALLY_SIZE);
    this.counted.at = to;
    for (let i: u32 = 0; i < outcomes.count; i++) this.counted.add(outcomes.outcome(i));
    return this.counted.count * TALLY_SIZE;
  }
}

// insert puts a candidate behind those that are at least as good, and drops the last if there are too many.
function insert(p: Plan, most: u32, candidate: u32, score: f32): void {
  if (p.stepCount < most) p.step(0, 0, 0);
  else if (score <= p.stepAt(most - 1).score) return;
  let at = p.stepCount - 1;
  for (; at > 0 && p.stepAt(at - 1).score < score; at--) p.stepAt(at).copy(p.stepAt(at - 1));
  p.stepAt(at).set(candidate, score, BECAUSE_BAND);
}

function accept(p: Plan, why: string): void {
  p.kind = KIND_ACCEPT;
  p.reason = BECAUSE_HELD;
  p.explain(why);
}

function good(r: Request, o: Outcome): bool {
  if (o.flags & (OUTCOME_EMPTY | OUTCOME_REFUSAL)) return false;
  return !(r.flags & FLAG_JSON) || (o.flags & OUTCOME_JSON) != 0;
}

register(new Reference());
