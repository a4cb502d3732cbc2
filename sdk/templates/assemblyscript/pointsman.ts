// Write a routing policy for Pointsman in AssemblyScript: one file, no dependencies but the compiler.
//
// Extend Policy, register an instance, and export the contract:
//
//	import { Candidate, Plan, Policy, Request, Snapshot, BECAUSE_BAND, KIND_ANSWER, KIND_REJECT, register } from "./pointsman";
//	export {
//	  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_needs, pointsman_next,
//	  pointsman_observe, pointsman_route, pointsman_snapshot, pointsman_state,
//	} from "./pointsman";
//
//	class FirstFit extends Policy {
//	  describe(): string { return "first fit; AssemblyScript"; }
//	  route(s: Snapshot, r: Request, p: Plan): void {
//	    p.kind = KIND_REJECT;
//	    for (let i: u32 = 0; i < s.count; i++) {
//	      if (r.option(i).excluded) continue;
//	      p.kind = KIND_ANSWER;
//	      p.step(i, 1, BECAUSE_BAND);
//	      return;
//	    }
//	  }
//	}
//	register(new FirstFit());
//
// The records below are the gateway's own bytes, read where they lie: numbers are little-endian, and records are longer in
// later versions, so step from one to the next with the methods given here. A policy is a pure function: what it keeps
// between calls may only be what follows from its parameters, the snapshot and the state. Nothing is ever freed (the
// runtime is "stub"), so allocate in configure and learn alone, and only when something grows: use Floats and Shorts.

// constants: begin

// Version is what pointsman_abi_version must return.
export const VERSION: u32 = 1;

// Grants a policy may need; the operator gives them.
export const GRANT_TEXT: u32 = 1;
export const GRANT_METADATA: u32 = 2;
export const GRANT_SIDE_CALLS: u32 = 4;
export const GRANT_STATE: u32 = 8;

// Limits the host enforces.
export const MAX_STEPS: u32 = 8; // steps of a plan
export const MAX_CANDIDATES: u32 = 8192; // records of a snapshot
export const MAX_EXPLANATION: u32 = 512; // bytes
export const MAX_CONFIG: u32 = 65536; // bytes of configuration text
export const MAX_PLAN: u32 = 262144; // bytes
export const MAX_TEXT: u32 = 32768; // bytes of the last user message; what is longer is cut between characters
export const MAX_METADATA: u32 = 4096; // bytes of metadata text; whole lines are left out
export const MAX_STATE: u32 = 32768; // bytes
export const MAX_ROUNDS: u32 = 4; // plans of one request that are carried out
export const MAX_ASK: u32 = 8192; // bytes of the instruction of a side call
export const MAX_ASK_OUTPUT: u32 = 1024; // tokens of a side call's answer
export const MAX_ASK_TEXT: u32 = 1024; // bytes of a side call's answer that the policy gets; what is longer is cut between characters
export const MAX_OUTCOMES: u32 = 512; // records of one pointsman_observe
export const CANDIDATE_LOCAL: u32 = 1; // CandidateFlags: runs on the operator's own machines
export const CANDIDATE_OWN_KEY: u32 = 2; // CandidateFlags: the gateway has no key for it, only callers who bring one can be served

// Health of a candidate.
export const HEALTH_UNKNOWN: u32 = 0;
export const HEALTH_HEALTHY: u32 = 1;
export const HEALTH_DEGRADED: u32 = 2;
export const HEALTH_DOWN: u32 = 3;

// Mode of a candidate's model.
export const MODE_CHAT: u32 = 0;
export const MODE_EMBEDDING: u32 = 1;
export const MODE_RESPONSES: u32 = 2;
export const MODE_IMAGE: u32 = 3;
export const MODE_TRANSCRIPTION: u32 = 4;
export const MODE_SPEECH: u32 = 5;
export const MODE_MODERATION: u32 = 6;
export const MODE_RERANK: u32 = 7;

// Capability bits.
export const CAP_TOOLS: u32 = 1;
export const CAP_VISION: u32 = 2;
export const CAP_JSON_SCHEMA: u32 = 4;
export const CAP_REASONING: u32 = 8;
export const CAP_PROMPT_CACHE: u32 = 16;
export const CAP_PDF: u32 = 32;
export const CAP_AUDIO: u32 = 64;

// Task kinds.
export const TASK_UNKNOWN: u32 = 0;
export const TASK_CODE: u32 = 1;
export const TASK_CHAT: u32 = 2;
export const TASK_RAG: u32 = 3;
export const TASK_CREATIVE: u32 = 4;
export const TASK_ANALYSIS: u32 = 5;
export const TASK_TRANSLATION: u32 = 6;
export const TASK_SUMMARIZATION: u32 = 7;
export const TASK_REASONING: u32 = 8;
export const OPTION_OWN_KEY: u32 = 1; // served with the account's own key: nothing is charged
export const OPTION_SIMULATED: u32 = 2; // the simulated provider would answer
export const OPTION_WARM: u32 = 4; // this session's prompt cache is warm here

// NoModel in RequestModel says that the request names no model.
export const NO_MODEL: u32 = 65535;

// Power levels.
export const LEVEL_ECO: u32 = 1;
export const LEVEL_BALANCED: u32 = 2;
export const LEVEL_PRECISION: u32 = 3;
export const LEVEL_CUSTOM: u32 = 4;

// Privacy wishes.
export const PRIVACY_ANY: u32 = 0;
export const PRIVACY_LOCAL: u32 = 1;

// Latency objectives: to the first token, under 500 ms, 2 s, 5 s.
export const LATENCY_UNSET: u32 = 0;
export const LATENCY_INSTANT: u32 = 1;
export const LATENCY_FAST: u32 = 2;
export const LATENCY_NORMAL: u32 = 3;

// RequestFlags bits.
export const FLAG_STREAM: u32 = 1;
export const FLAG_NO_FALLBACK: u32 = 2; // the caller wants one model or an error
export const FLAG_JSON: u32 = 4; // the caller wants JSON: response_format json_object or json_schema
export const PLAN_REVIEW: u32 = 1; // PlanFlags of a KindAnswer: call pointsman_next before the answer is sent, also if there is none

// Kinds of plan.
export const KIND_ANSWER: u32 = 1; // try the steps in order
export const KIND_ASK: u32 = 2; // a side call to the steps in order; its outcome comes back through pointsman_next
export const KIND_REJECT: u32 = 3; // refuse the request with PlanStatus and the explanation
export const KIND_ACCEPT: u32 = 4; // only from pointsman_next: send the held answer; no steps

// What a side call is asked about, after its instruction: PlanAskInput.
export const ASK_PROMPT: u32 = 1; // the last user message
export const ASK_ANSWER: u32 = 2; // the held answer
export const ASK_BOTH: u32 = 3; // first the one, then the other
export const OUTCOME_OK: u32 = 1; // an answer came, whole
export const OUTCOME_EMPTY: u32 = 2; // it has neither text nor tool calls
export const OUTCOME_JSON: u32 = 4; // its text is one JSON value, or it has none and calls tools
export const OUTCOME_REFUSAL: u32 = 8; // the provider marked it as a refusal or filtered it
export const OUTCOME_REFUSAL_PHRASE: u32 = 16; // it is short and begins like a refusal in English
export const OUTCOME_SIMULATED: u32 = 32; // the simulated provider answered
export const OUTCOME_OWN_KEY: u32 = 64; // with the account's own key: uncharged

// Kinds of failure of an attempt.
export const FAILURE_NONE: u32 = 0;
export const FAILURE_CONNECT: u32 = 1;
export const FAILURE_TIMEOUT: u32 = 2;
export const FAILURE_SERVER: u32 = 3;
export const FAILURE_OVERLOADED: u32 = 4;
export const FAILURE_RATE_LIMITED: u32 = 5;
export const FAILURE_AUTH: u32 = 6;
export const FAILURE_QUOTA: u32 = 7;
export const FAILURE_NOT_FOUND: u32 = 8;
export const FAILURE_BAD_REQUEST: u32 = 9;
export const FAILURE_CONTEXT_LENGTH: u32 = 10;
export const FAILURE_CONTENT_FILTER: u32 = 11;
export const FAILURE_CANCELLED: u32 = 12; // the client left; only pointsman_observe sees it
export const FAILURE_UNAFFORDABLE: u32 = 13; // nothing was tried: the account cannot pay for the round, or it costs more than rounds may

// Why an answer ended.
export const FINISH_UNKNOWN: u32 = 0;
export const FINISH_STOP: u32 = 1;
export const FINISH_LENGTH: u32 = 2;
export const FINISH_TOOL_CALLS: u32 = 3;
export const FINISH_CONTENT_FILTER: u32 = 4;

// Reasons why a candidate is out. Those below 64 are decided by the engine before the policy is asked (OptionExcluded); the others by policies. Policies may use 1024 and above for reasons of their own.
export const REASON_NONE: u32 = 0;
export const REASON_MODE: u32 = 1; // another kind of model (embedding, …)
export const REASON_CAPABILITY: u32 = 2; // lacks a capability the request needs
export const REASON_CONTEXT: u32 = 3; // the prompt does not fit its context window
export const REASON_DOWN: u32 = 4; // circuit open
export const REASON_NO_KEY: u32 = 5; // no key for the provider, and no simulator
export const REASON_NOT_LOCAL: u32 = 6; // the request must stay on local models
export const REASON_ACCOUNT_TIER: u32 = 7; // above the account's tier
export const REASON_NOT_GRANTED: u32 = 8; // the virtual key does not grant this model
export const REASON_UNAFFORDABLE: u32 = 9; // its worst case exceeds the credits available
export const REASON_NOT_REQUESTED: u32 = 64;
export const REASON_OUTSIDE_BAND: u32 = 65; // outside the tiers of the power level
export const REASON_QUALITY: u32 = 66; // below the level's least quality
export const REASON_OVER_BUDGET: u32 = 67; // worst case above the level's credits per request
export const REASON_OVER_TENTH: u32 = 68; // worst case above a tenth of the credits left
export const REASON_NOT_PREFERRED: u32 = 69; // not at one of the level's providers
export const REASON_OUTRANKED: u32 = 70; // fit, but not among the best
export const REASON_NOT_FREE: u32 = 71; // charged, where only a free one will do
export const REASON_OUTPUT_TOO_LONG: u32 = 72; // cannot write as much as asked for

// Becauses say why the first step of a plan was chosen.
export const BECAUSE_BAND: u32 = 128; // best score in the power level's band
export const BECAUSE_PRIVATE: u32 = 129; // privacy asked for: local models only
export const BECAUSE_OWN_KEY: u32 = 130; // the account's own key serves it, uncharged
export const BECAUSE_INSTANT: u32 = 131; // instant answer wanted and short: the fastest free model
export const BECAUSE_LOW_CREDITS: u32 = 132; // almost no credits, or a free account: a free model
export const BECAUSE_NAMED: u32 = 133; // the model that was named
export const BECAUSE_TASK: u32 = 134; // the band's best for this kind of task
export const BECAUSE_WIDENED: u32 = 135; // nothing in the band could serve it: the nearest cheaper tier
export const BECAUSE_FALLBACK: u32 = 136; // the engine's own order, because the policy failed
export const BECAUSE_NOTHING: u32 = 137; // reject: nothing capable
export const BECAUSE_NO_CREDITS: u32 = 138; // reject: nothing affordable
export const BECAUSE_HELD: u32 = 139; // accept: the held answer is good enough

// constants: end

/** Bytes in memory, mostly UTF-8. */
@unmanaged
export class Text {
  at: usize;
  size: u32;

  /** Tells whether the bytes are those of an ASCII string. */
  is(ascii: string): bool {
    if (this.size != <u32>ascii.length) return false;
    for (let i: u32 = 0; i < this.size; i++) {
      if (load<u8>(this.at + i) != ascii.charCodeAt(i)) return false;
    }
    return true;
  }

  equals(other: Text): bool {
    return this.size == other.size && memory.compare(this.at, other.at, this.size) == 0;
  }

  set(at: usize, size: u32): Text {
    this.at = at;
    this.size = size;
    return this;
  }

  /** Takes what stands before the separator off the text and puts it into head; all of it if there is none. */
  cut(separator: u8, head: Text): void {
    let n: u32 = 0;
    while (n < this.size && load<u8>(this.at + n) != separator) n++;
    head.set(this.at, n);
    if (n < this.size) n++;
    this.set(this.at + n, this.size - n);
  }

  /** Reads a decimal: at most 9 digits, a point, at most 6 digits. Returns NaN if it is not one. */
  number(): f64 {
    let millionths: i64 = 0;
    let before = 0, behind = -1;
    for (let i: u32 = 0; i < this.size; i++) {
      const c = load<u8>(this.at + i);
      if (c == 0x2e && behind < 0) {
        behind = 0;
        continue;
      }
      if (c < 0x30 || c > 0x39) return NaN;
      millionths = millionths * 10 + (c - 0x30);
      if (behind >= 0) behind++;
      else before++;
      if (before > 9 || behind > 6) return NaN;
    }
    if (before == 0 || behind == 0) return NaN;
    for (let i = max(behind, 0); i < 6; i++) millionths *= 10;
    return <f64>millionths / 1e6;
  }

  /** Reads true, false, 1 or 0. Returns 1, 0, or -1 if it is none of them. */
  boolean(): i32 {
    if (this.is("true") || this.is("1")) return 1;
    return this.is("false") || this.is("0") ? 0 : -1;
  }

  /** The value of a line of key=value among such lines, for metadata; false if there is none. */
  lookup(key: string, value: Text): bool {
    lines.set(this.at, this.size);
    while (lines.size > 0) {
      lines.cut(0x0a, value);
      value.cut(0x3d, name);
      if (name.is(key)) return true;
    }
    return false;
  }
}

/** A text to be used as a place for others. */
export function text(): Text { return changetype<Text>(heap.alloc(offsetof<Text>())).set(0, 0); }

const lines = text(), name = text();

/** One deployment of a model at a provider. */
@unmanaged
export class Candidate {
  key: u64; // identity of the deployment, stable across snapshots and restarts
  model: u16; // number of the model; equal for deployments of one model
  provider: u16; // number of the provider
  tier: u8; // 0..5
  health: u8; // HEALTH_*
  mode: u8; // MODE_*
  reserved1: u8;
  capabilities: u32; // CAP_* bits
  strengths: u32; // bit 1<<TASK_* for each task the model is known to be strong at
  context: u32; // tokens
  maxOutput: u32; // tokens, 0 unknown
  rate: i64; // micro-credits per 1,000 tokens
  priceIn: i64; // pico-USD per input token (1 USD per million tokens = 1,000,000)
  priceOut: i64; // pico-USD per output token
  priceCache: i64; // pico-USD per input token read from cache
  quality: f32; // 0..1
  ttft: f32; // milliseconds to first token, moving average; 0 unknown
  speed: f32; // output tokens per second, moving average; 0 unknown
  errorRate: f32; // 0..1, moving average
  samples: u32; // outcomes seen, saturating
  flags: u32; // CANDIDATE_*
  nameOff: u32; // use Snapshot.modelName
  nameLen: u16;
  providerLen: u16; // use Snapshot.providerName
  providerOff: u32;
  reserved2: u32;
}

/** What is known about all candidates: one generation. */
@unmanaged
export class Snapshot {
  generation: u64;
  wallMillis: i64; // Unix milliseconds when it was taken
  count: u32; // candidates
  stride: u32;
  first: usize;
  blob: usize;

  @inline candidate(i: u32): Candidate { return changetype<Candidate>(this.first + i * this.stride); }
  modelName(c: Candidate, to: Text): Text { return to.set(this.blob + c.nameOff, c.nameLen); }
  providerName(c: Candidate, to: Text): Text { return to.set(this.blob + c.providerOff, c.providerLen); }
}

/** What is known about one request. */
@unmanaged
export class Request {
  version: u16;
  header: u16;
  count: u16;
  stride: u16;
  generation: u64;
  seed: u64;
  level: u8; // LEVEL_*
  task: u8; // TASK_*
  privacy: u8; // PRIVACY_*
  latency: u8; // LATENCY_*
  accountTier: u8; // 0 free, 1 starter, 2 professional, 3 enterprise
  flags: u8; // FLAG_* bits
  model: u16; // number of the model asked for, NO_MODEL if none
  needs: u32; // CAP_* bits the answer needs
  input: u32; // tokens, estimated
  maxOutput: u32; // tokens asked for, 0 if not given
  messages: u32; // messages in the conversation
  credits: i64; // micro-credits the account has available
  session: u64; // hash of the session, 0 if none
  textOff: u32;
  textLen: u32;
  metadataOff: u32;
  metadataLen: u32;
  state: u64; // number of the state, 0 if none
  reserved: u64;

  @inline option(i: u32): Option { return changetype<Option>(changetype<usize>(this) + this.header + i * this.stride); }
  /** The last user message; empty without GRANT_TEXT. */
  text(to: Text): Text { return to.set(changetype<usize>(this) + this.textOff, this.textLen); }
  /** Lines of key=value, sorted; empty without GRANT_METADATA. */
  metadata(to: Text): Text { return to.set(changetype<usize>(this) + this.metadataOff, this.metadataLen); }
}

/** What holds for one candidate in one request. */
@unmanaged
export class Option {
  excluded: u8; // 0 if the candidate may be chosen, else the REASON_* why not
  flags: u8; // OPTION_* bits
  inflight: u16; // requests under way at this moment, saturating
}

/** What became of one attempt of a plan. */
@unmanaged
export class Outcome {
  key: u64; // of the candidate
  credits: i64; // micro-credits
  candidate: u16; // number in the snapshot of the request
  http: u16; // the provider's status, 0 if none came
  tag: u32; // of the plan
  input: u32; // tokens
  output: u32; // tokens
  ttft: f32; // milliseconds to the first token, 0 if none came
  latency: f32; // milliseconds of the whole attempt
  flags: u32; // OUTCOME_* bits
  textOff: u32; // use Outcomes.text
  textLen: u16;
  round: u8; // from 0
  kind: u8; // KIND_* of the plan
  failure: u8; // FAILURE_*
  finish: u8; // FINISH_*
  level: u8; // LEVEL_*
  task: u8; // TASK_*
  reserved: u64;
}

/** Outcomes, oldest first. */
@unmanaged
export class Outcomes {
  count: u32;
  stride: u32;
  first: usize;
  blob: usize;

  @inline outcome(i: u32): Outcome { return changetype<Outcome>(this.first + i * this.stride); }
  /** The text of a side call's answer. */
  text(o: Outcome, to: Text): Text { return to.set(this.blob + o.textOff, o.textLen); }
}

/** One candidate to try. */
@unmanaged
export class Step {
  candidate: u16; // number in the snapshot
  attempts: u8; // 1..3
  flags: u8;
  timeout: u32; // milliseconds to the first byte, 0: the engine's default
  hedge: u32; // milliseconds after which the next step starts beside this one, 0: never
  score: f32; // any finite number; larger is better
  reason: u16; // BECAUSE_* or REASON_*
  reserved1: u16;
  reserved2: u32;

  /** One attempt with the default times. */
  set(candidate: u32, score: f32, reason: u32): Step {
    memory.fill(changetype<usize>(this), 0, STEP_SIZE);
    this.candidate = <u16>candidate;
    this.attempts = 1;
    this.score = score;
    this.reason = <u16>reason;
    return this;
  }

  copy(from: Step): void { memory.copy(changetype<usize>(this), changetype<usize>(from), STEP_SIZE); }
}

/** What the policy thought of one candidate. */
@unmanaged
export class Verdict {
  score: f32;
  reason: u16; // 0: in the running; else why it is out
  rank: u16; // 1 for the first step, 2 ...; 0: not in the plan

  @inline set(score: f32, reason: u32, rank: u32): void {
    this.score = score;
    this.reason = <u16>reason;
    this.rank = <u16>rank;
  }
}

const STEP_SIZE: u32 = 24, VERDICT_SIZE: u32 = 8;
assert(offsetof<Candidate>() == 104 && offsetof<Request>() == 96 && offsetof<Option>() == 4);
assert(offsetof<Outcome>() == 64 && offsetof<Step>() == STEP_SIZE && offsetof<Verdict>() == VERDICT_SIZE);

// The plan as the host reads it, the verdicts at HEAD_ROOM; and the texts that are put behind them in the end.
const HEAD_ROOM: usize = 64 + <usize>MAX_STEPS * 24;
const out = memory.data(64 + 8 * 24 + 8192 * 8 + 512 + 8192, 8);
const steps = memory.data(8 * 24, 8);
const explanation = memory.data(512);
const instruction = memory.data(8192);
const digits = memory.data(20);

/** A decision. It comes empty; set the fields, and use the methods for the rest. */
@unmanaged
export class Plan {
  kind: u32; // KIND_*
  flags: u32; // PLAN_REVIEW or 0
  reason: u32; // BECAUSE_* or REASON_*
  status: u32; // HTTP status of a reject, 400..599; 0: 503
  maxOutput: u32; // output tokens to reserve credits for when the request gives no limit; 0: the engine's default
  tag: u32; // comes back in the outcomes
  askInput: u32; // ASK_* of a side call
  askOutput: u32; // tokens the side call may answer with at most; 0: 64
  stepCount: u32; // at most MAX_STEPS
  verdictCount: u32; // set by verdicts()
  explainSize: u32;
  askSize: u32;

  /** Empties the plan. */
  reset(): void { memory.fill(changetype<usize>(this), 0, offsetof<Plan>()); }

  /** Adds a step with one attempt and the default times, which may be changed. There is room for MAX_STEPS. */
  step(candidate: u32, score: f32, reason: u32): Step {
    if (this.stepCount >= MAX_STEPS) unreachable();
    return this.stepAt(this.stepCount++).set(candidate, score, reason);
  }

  @inline stepAt(i: u32): Step { return changetype<Step>(steps + i * STEP_SIZE); }

  /** Gives the plan verdicts, one for each of the snapshot's candidates. They are not cleared: set each with verdict. */
  verdicts(s: Snapshot): void { this.verdictCount = s.count; }

  @inline verdict(i: u32): Verdict { return changetype<Verdict>(out + HEAD_ROOM + i * VERDICT_SIZE); }

  /** Appends ASCII to the explanation, cut where that gets too long. */
  explain(ascii: string): void {
    for (let i = 0; i < ascii.length && this.explainSize < MAX_EXPLANATION; i++) {
      store<u8>(explanation + this.explainSize++, ascii.charCodeAt(i));
    }
  }

  /** Appends UTF-8 to the explanation, cut between characters where that gets too long. */
  explainText(from: Text): void { this.explainSize += append(explanation + this.explainSize, MAX_EXPLANATION - this.explainSize, from); }

  /** Appends a number in decimal to the explanation. */
  explainNumber(n: u64): void {
    const size: u32 = 20;
    let at = size;
    do {
      store<u8>(digits + --at, 0x30 + <u8>(n % 10));
      n /= 10;
    } while (n);
    if (size - at > MAX_EXPLANATION - this.explainSize) return;
    memory.copy(explanation + this.explainSize, digits + at, size - at);
    this.explainSize += size - at;
  }

  /** Appends ASCII to the instruction of a side call, cut where that gets too long. */
  ask(ascii: string): void {
    for (let i = 0; i < ascii.length && this.askSize < MAX_ASK; i++) store<u8>(instruction + this.askSize++, ascii.charCodeAt(i));
  }

  /** Appends UTF-8 to the instruction of a side call. */
  askText(from: Text): void { this.askSize += append(instruction + this.askSize, MAX_ASK - this.askSize, from); }
}

function append(to: usize, room: u32, from: Text): u32 {
  let n = from.size;
  if (n > room) {
    n = room;
    while (n > 0 && (load<u8>(from.at + n) & 0xc0) == 0x80) n--;
  }
  memory.copy(to, from.at, n);
  return n;
}

/** A growing table of numbers, one for each candidate. */
export class Floats {
  private at: usize = 0;
  private room: u32 = 0;

  resize(count: u32): void {
    if (count <= this.room) return;
    this.room = count * 2;
    this.at = heap.alloc(this.room * 4);
  }

  @inline get(i: u32): f32 { return load<f32>(this.at + i * 4); }
  @inline set(i: u32, value: f32): void { store<f32>(this.at + i * 4, value); }
}

/** A growing table of codes, one for each candidate. */
export class Shorts {
  private at: usize = 0;
  private room: u32 = 0;

  resize(count: u32): void {
    if (count <= this.room) return;
    this.room = count * 2;
    this.at = heap.alloc(this.room * 2);
  }

  @inline get(i: u32): u32 { return load<u16>(this.at + i * 2); }
  @inline set(i: u32, value: u32): void { store<u16>(this.at + i * 2, <u16>value); }
}

/** What you write. Only route must be there. */
export abstract class Policy {
  /** A line of ASCII that says what it does, and in which language. */
  describe(): string { return ""; }
  /** GRANT_* bits it cannot do without. */
  needs(): u32 { return 0; }
  /** Takes one parameter, whose texts stay valid; copy the Text itself to keep it. Returns false to refuse it. */
  configure(key: Text, value: Text): bool { return false; }
  /** Called with each new snapshot, before the first request about it: compute here what depends on it alone. */
  learn(s: Snapshot): void {}
  /** Called with each new state, before the first request on it. The bytes are valid until the next. Returns false to drop it. */
  remember(s: Snapshot, state: Text): bool { return true; }
  /** Decides one request: fills the plan. */
  abstract route(s: Snapshot, r: Request, p: Plan): void;
  /** Decides a further round, after KIND_ASK or PLAN_REVIEW. There is at least one outcome, of this request. */
  next(s: Snapshot, r: Request, outcomes: Outcomes, p: Plan): void { unreachable(); }
  /** Writes the state that follows to an address with room for MAX_STATE bytes. Returns its size. */
  observe(state: Text, outcomes: Outcomes, to: usize): u32 { return 0; }
}

// @ts-ignore: decorator
@external("pointsman_policy_v1", "log")
declare function hostLog(level: i32, at: usize, size: u32): void;

/** Writes a line of at most 256 bytes to the gateway's debug log: level 0 debug to 3 error. It costs fuel, and decides nothing. */
export function log(level: i32, line: Text): void { hostLog(level, line.at, line.size); }

// From here on is the other side of the contract; authors need not read it.

let policy: Policy | null = null;

/** Makes it the policy of this module. */
export function register(p: Policy): void { policy = p; }

let input: usize = 0, inputRoom: u32 = 0;
let facts: usize = 0, factsRoom: u32 = 0;
const known = changetype<Snapshot>(memory.data(offsetof<Snapshot>(), 8));
const outcomes = changetype<Outcomes>(memory.data(offsetof<Outcomes>(), 8));
const plan = changetype<Plan>(memory.data(offsetof<Plan>(), 8));
const stateText = text(), key = text(), value = text(), line = text(), rest = text();
const state = memory.data(32768, 8), nextState = memory.data(32768, 8);

function span(at: usize, size: u32): u64 { return <u64>at << 32 | <u64>size; }

export function pointsman_abi_version(): u32 { return VERSION; }

export function pointsman_needs(): u32 { return policy!.needs(); }

export function pointsman_describe(): u64 {
  plan.reset();
  plan.explain(policy!.describe());
  return span(explanation, plan.explainSize);
}

export function pointsman_buffer(size: u32): usize {
  if (size > inputRoom) {
    input = heap.alloc(size);
    inputRoom = size;
  }
  return input;
}

export function pointsman_configure(length: u32): u32 {
  const parameters = heap.alloc(length);
  memory.copy(parameters, input, length);
  rest.set(parameters, length);
  while (rest.size > 0) {
    rest.cut(0x0a, line);
    value.set(line.at, line.size);
    value.cut(0x3d, key);
    if (!policy!.configure(key, value)) {
      log(3, line);
      return 1;
    }
  }
  return 0;
}

export function pointsman_snapshot(length: u32): u32 {
  if (length > factsRoom) {
    factsRoom = length * 2;
    facts = heap.alloc(factsRoom);
  }
  memory.copy(facts, input, length);
  known.count = load<u16>(facts, 4);
  known.stride = load<u16>(facts, 6);
  known.generation = load<u64>(facts, 8);
  known.wallMillis = load<i64>(facts, 16);
  known.first = facts + load<u16>(facts, 2);
  known.blob = facts + load<u32>(facts, 24);
  policy!.learn(known);
  return 0;
}

export function pointsman_state(length: u32): u32 {
  if (length > MAX_STATE) return 3;
  memory.copy(state, input, length);
  stateText.set(state, length);
  return policy!.remember(known, stateText) ? 0 : 3;
}

export function pointsman_route(length: u32): u64 {
  plan.reset();
  policy!.route(known, changetype<Request>(input), plan);
  return answer();
}

export function pointsman_next(length: u32): u64 {
  plan.reset();
  readOutcomes();
  policy!.next(known, changetype<Request>(input + load<u32>(input, 8)), outcomes, plan);
  return answer();
}

export function pointsman_observe(length: u32): u64 {
  readOutcomes();
  return span(nextState, policy!.observe(stateText, outcomes, nextState));
}

function readOutcomes(): void {
  outcomes.count = load<u16>(input, 4);
  outcomes.stride = load<u16>(input, 6);
  outcomes.first = input + load<u16>(input, 2);
  outcomes.blob = input + load<u32>(input, 16);
}

// answer puts header and steps before the verdicts, and the texts behind them.
function answer(): u64 {
  const p = plan;
  const rounds = (p.tag | p.askInput | p.askOutput | p.askSize) != 0;
  const header: usize = rounds ? 64 : 32, stepBytes = p.stepCount * STEP_SIZE;
  const verdicts = out + HEAD_ROOM, start = verdicts - stepBytes - header;
  const explained = verdicts + p.verdictCount * VERDICT_SIZE, asked = explained + p.explainSize;
  memory.copy(explained, explanation, p.explainSize);
  memory.copy(asked, instruction, p.askSize);
  memory.copy(start + header, steps, stepBytes);
  memory.fill(start, 0, header);
  store<u32>(start, VERSION | <u32>header << 16);
  store<u32>(start, p.kind | p.flags << 8 | p.reason << 16, 4);
  store<u32>(start, p.stepCount | <u32>STEP_SIZE << 16, 8);
  store<u32>(start, p.verdictCount | <u32>VERDICT_SIZE << 16, 12);
  if (p.explainSize) {
    store<u32>(start, <u32>(explained - start), 16);
    store<u32>(start, p.explainSize, 20);
  }
  store<u32>(start, p.maxOutput, 24);
  store<u16>(start, <u16>p.status, 28);
  if (rounds) {
    store<u32>(start, p.tag, 32);
    if (p.askSize) {
      store<u32>(start, <u32>(asked - start), 36);
      store<u32>(start, p.askSize, 40);
    }
    store<u8>(start, <u8>p.askInput, 44);
    store<u16>(start, <u16>p.askOutput, 46);
  }
  return span(start, <u32>(asked + p.askSize - start));
}
