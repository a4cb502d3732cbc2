// Folds everything that a policy can be told into one number, and uses everything that a plan can say: see probe_test.go.

import {
  ASK_PROMPT, GRANT_METADATA, GRANT_SIDE_CALLS, GRANT_STATE, GRANT_TEXT, KIND_ASK, KIND_REJECT, MAX_STEPS,
  Outcomes, Plan, Policy, Request, Snapshot, Text, log, register, text,
} from "./pointsman";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_needs, pointsman_next,
  pointsman_observe, pointsman_route, pointsman_snapshot, pointsman_state,
} from "./pointsman";

let settings: u64 = 14695981039346656037, remembered: u64 = 0;
let h: u64 = 0;
const one = text(), other = text();

function fold(v: u64): void { h = (h ^ v) * 1099511628211; }
function bits(v: f32): void { fold(<u64>reinterpret<u32>(v)); }
function words(t: Text): void {
  fold(t.size);
  for (let i: u32 = 0; i < t.size; i++) fold(load<u8>(t.at + i));
}

function facts(s: Snapshot, r: Request): void {
  h = settings;
  fold(remembered); fold(s.generation); fold(<u64>s.wallMillis); fold(s.count);
  for (let i: u32 = 0; i < s.count; i++) {
    const c = s.candidate(i);
    fold(c.key); fold(c.model); fold(c.provider); fold(c.tier); fold(c.health); fold(c.mode);
    fold(c.capabilities); fold(c.strengths); fold(c.context); fold(c.maxOutput);
    fold(<u64>c.rate); fold(<u64>c.priceIn); fold(<u64>c.priceOut); fold(<u64>c.priceCache);
    bits(c.quality); bits(c.ttft); bits(c.speed); bits(c.errorRate); fold(c.samples); fold(c.flags);
    words(s.modelName(c, one)); words(s.providerName(c, one));
    const o = r.option(i);
    fold(o.excluded); fold(o.flags); fold(o.inflight);
  }
  fold(r.generation); fold(r.seed); fold(r.level); fold(r.task); fold(r.privacy); fold(r.latency); fold(r.accountTier);
  fold(r.flags); fold(r.model); fold(r.needs); fold(r.input); fold(r.maxOutput); fold(r.messages);
  fold(<u64>r.credits); fold(r.session); fold(r.state);
  words(r.text(one)); words(r.metadata(one));
}

function history(outcomes: Outcomes): void {
  for (let i: u32 = 0; i < outcomes.count; i++) {
    const o = outcomes.outcome(i);
    fold(o.key); fold(<u64>o.credits); fold(o.candidate); fold(o.http); fold(o.tag); fold(o.input); fold(o.output);
    bits(o.ttft); bits(o.latency); fold(o.flags); fold(o.round); fold(o.kind); fold(o.failure); fold(o.finish);
    fold(o.level); fold(o.task);
    words(outcomes.text(o, one));
  }
}

class Probe extends Policy {
  describe(): string { return "probe"; }
  needs(): u32 { return GRANT_TEXT | GRANT_METADATA | GRANT_SIDE_CALLS | GRANT_STATE; }

  configure(key: Text, value: Text): bool {
    h = settings;
    words(key);
    words(value);
    const n = value.number();
    if (!isNaN(n)) fold(<u64>(n * 1e6));
    settings = h;
    log(1, key);
    return true;
  }

  remember(s: Snapshot, state: Text): bool {
    h = 1;
    words(state);
    remembered = h;
    return state.size != 1;
  }

  route(s: Snapshot, r: Request, p: Plan): void {
    facts(s, r);
    p.explain("facts ");
    p.explainNumber(h);
    if (s.count == 0) {
      p.kind = KIND_REJECT;
      p.status = 418;
      return;
    }
    p.kind = KIND_ASK;
    p.reason = 1025;
    p.maxOutput = 4321;
    p.tag = <u32>h;
    p.askInput = ASK_PROMPT;
    p.askOutput = 77;
    p.ask("account ");
    if (r.metadata(one).lookup("account", other)) p.askText(other);
    for (let i = 0; i < 30; i++) p.askText(r.text(one)); // cut where that gets too long
    for (let i: u32 = 0; i < min(s.count, MAX_STEPS); i++) {
      const step = p.step(i, -0.5, 1026);
      step.attempts = 2;
      step.timeout = 1500;
      step.hedge = 250 + i;
    }
  }

  next(s: Snapshot, r: Request, outcomes: Outcomes, p: Plan): void {
    facts(s, r);
    history(outcomes);
    p.kind = KIND_REJECT;
    p.status = 599;
    p.explainNumber(h);
    for (let i = 0; i < 9; i++) p.explainText(r.text(one));
    p.verdicts(s);
    for (let i: u32 = 0; i < s.count; i++) p.verdict(i).set(0.25, 2000 + i, 0);
  }

  observe(state: Text, outcomes: Outcomes, to: usize): u32 {
    h = 3;
    words(state);
    history(outcomes);
    store<u64>(to, h);
    return 8;
  }
}

register(new Probe());
