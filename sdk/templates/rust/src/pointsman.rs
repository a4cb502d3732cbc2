//! Write a routing policy for Pointsman in Rust: one file, `no_std`, no dependencies.
//!
//! Implement [`Policy`] for a type of yours and export it, once, from the crate's root:
//!
//! ```ignore
//! #![cfg_attr(not(test), no_std)]
//! mod pointsman;
//! use pointsman::*;
//!
//! struct FirstFit;
//!
//! impl Policy for FirstFit {
//!     const DESCRIPTION: &'static str = "first fit; Rust";
//!     fn route(&mut self, s: &Snapshot, r: &Request, p: &mut Plan) {
//!         p.kind = KIND_REJECT;
//!         for i in 0..s.count() {
//!             if r.option(i).excluded == 0 {
//!                 p.kind = KIND_ANSWER;
//!                 p.step(i, 1.0, BECAUSE_BAND);
//!                 return;
//!             }
//!         }
//!     }
//! }
//!
//! export_policy!(FirstFit, FirstFit);
//! ```
//!
//! The records below are the gateway's own bytes, read where they lie: numbers are little-endian, and records are longer in
//! later versions, so step from one to the next with the methods given here. Copy a field before you borrow it.
//! A policy is a pure function: what it keeps between calls may only be what follows from its parameters, the snapshot
//! and the state.
#![allow(dead_code)] // a policy uses what it needs

use core::ops::{Deref, DerefMut};

// constants: begin

// Version is what pointsman_abi_version must return.
pub const VERSION: u32 = 1;

// Grants a policy may need; the operator gives them.
pub const GRANT_TEXT: u32 = 1;
pub const GRANT_METADATA: u32 = 2;
pub const GRANT_SIDE_CALLS: u32 = 4;
pub const GRANT_STATE: u32 = 8;

// Limits the host enforces.
pub const MAX_STEPS: usize = 8; // steps of a plan
pub const MAX_CANDIDATES: usize = 8192; // records of a snapshot
pub const MAX_EXPLANATION: usize = 512; // bytes
pub const MAX_CONFIG: usize = 65536; // bytes of configuration text
pub const MAX_PLAN: usize = 262144; // bytes
pub const MAX_TEXT: usize = 32768; // bytes of the last user message; what is longer is cut between characters
pub const MAX_METADATA: usize = 4096; // bytes of metadata text; whole lines are left out
pub const MAX_STATE: usize = 32768; // bytes
pub const MAX_ROUNDS: usize = 4; // plans of one request that are carried out
pub const MAX_ASK: usize = 8192; // bytes of the instruction of a side call
pub const MAX_ASK_OUTPUT: usize = 1024; // tokens of a side call's answer
pub const MAX_ASK_TEXT: usize = 1024; // bytes of a side call's answer that the policy gets; what is longer is cut between characters
pub const MAX_OUTCOMES: usize = 512; // records of one pointsman_observe
pub const CANDIDATE_LOCAL: u32 = 1; // CandidateFlags: runs on the operator's own machines
pub const CANDIDATE_OWN_KEY: u32 = 2; // CandidateFlags: the gateway has no key for it, only callers who bring one can be served

// Health of a candidate.
pub const HEALTH_UNKNOWN: u8 = 0;
pub const HEALTH_HEALTHY: u8 = 1;
pub const HEALTH_DEGRADED: u8 = 2;
pub const HEALTH_DOWN: u8 = 3;

// Mode of a candidate's model.
pub const MODE_CHAT: u8 = 0;
pub const MODE_EMBEDDING: u8 = 1;
pub const MODE_RESPONSES: u8 = 2;
pub const MODE_IMAGE: u8 = 3;
pub const MODE_TRANSCRIPTION: u8 = 4;
pub const MODE_SPEECH: u8 = 5;
pub const MODE_MODERATION: u8 = 6;
pub const MODE_RERANK: u8 = 7;

// Capability bits.
pub const CAP_TOOLS: u32 = 1;
pub const CAP_VISION: u32 = 2;
pub const CAP_JSON_SCHEMA: u32 = 4;
pub const CAP_REASONING: u32 = 8;
pub const CAP_PROMPT_CACHE: u32 = 16;
pub const CAP_PDF: u32 = 32;
pub const CAP_AUDIO: u32 = 64;

// Task kinds.
pub const TASK_UNKNOWN: u8 = 0;
pub const TASK_CODE: u8 = 1;
pub const TASK_CHAT: u8 = 2;
pub const TASK_RAG: u8 = 3;
pub const TASK_CREATIVE: u8 = 4;
pub const TASK_ANALYSIS: u8 = 5;
pub const TASK_TRANSLATION: u8 = 6;
pub const TASK_SUMMARIZATION: u8 = 7;
pub const TASK_REASONING: u8 = 8;
pub const OPTION_OWN_KEY: u8 = 1; // served with the account's own key: nothing is charged
pub const OPTION_SIMULATED: u8 = 2; // the simulated provider would answer
pub const OPTION_WARM: u8 = 4; // this session's prompt cache is warm here

// NoModel in RequestModel says that the request names no model.
pub const NO_MODEL: u16 = 65535;

// Power levels.
pub const LEVEL_ECO: u8 = 1;
pub const LEVEL_BALANCED: u8 = 2;
pub const LEVEL_PRECISION: u8 = 3;
pub const LEVEL_CUSTOM: u8 = 4;

// Privacy wishes.
pub const PRIVACY_ANY: u8 = 0;
pub const PRIVACY_LOCAL: u8 = 1;

// Latency objectives: to the first token, under 500 ms, 2 s, 5 s.
pub const LATENCY_UNSET: u8 = 0;
pub const LATENCY_INSTANT: u8 = 1;
pub const LATENCY_FAST: u8 = 2;
pub const LATENCY_NORMAL: u8 = 3;

// RequestFlags bits.
pub const FLAG_STREAM: u8 = 1;
pub const FLAG_NO_FALLBACK: u8 = 2; // the caller wants one model or an error
pub const FLAG_JSON: u8 = 4; // the caller wants JSON: response_format json_object or json_schema
pub const PLAN_REVIEW: u8 = 1; // PlanFlags of a KindAnswer: call pointsman_next before the answer is sent, also if there is none

// Kinds of plan.
pub const KIND_ANSWER: u8 = 1; // try the steps in order
pub const KIND_ASK: u8 = 2; // a side call to the steps in order; its outcome comes back through pointsman_next
pub const KIND_REJECT: u8 = 3; // refuse the request with PlanStatus and the explanation
pub const KIND_ACCEPT: u8 = 4; // only from pointsman_next: send the held answer; no steps

// What a side call is asked about, after its instruction: PlanAskInput.
pub const ASK_PROMPT: u8 = 1; // the last user message
pub const ASK_ANSWER: u8 = 2; // the held answer
pub const ASK_BOTH: u8 = 3; // first the one, then the other
pub const OUTCOME_OK: u32 = 1; // an answer came, whole
pub const OUTCOME_EMPTY: u32 = 2; // it has neither text nor tool calls
pub const OUTCOME_JSON: u32 = 4; // its text is one JSON value, or it has none and calls tools
pub const OUTCOME_REFUSAL: u32 = 8; // the provider marked it as a refusal or filtered it
pub const OUTCOME_REFUSAL_PHRASE: u32 = 16; // it is short and begins like a refusal in English
pub const OUTCOME_SIMULATED: u32 = 32; // the simulated provider answered
pub const OUTCOME_OWN_KEY: u32 = 64; // with the account's own key: uncharged

// Kinds of failure of an attempt.
pub const FAILURE_NONE: u8 = 0;
pub const FAILURE_CONNECT: u8 = 1;
pub const FAILURE_TIMEOUT: u8 = 2;
pub const FAILURE_SERVER: u8 = 3;
pub const FAILURE_OVERLOADED: u8 = 4;
pub const FAILURE_RATE_LIMITED: u8 = 5;
pub const FAILURE_AUTH: u8 = 6;
pub const FAILURE_QUOTA: u8 = 7;
pub const FAILURE_NOT_FOUND: u8 = 8;
pub const FAILURE_BAD_REQUEST: u8 = 9;
pub const FAILURE_CONTEXT_LENGTH: u8 = 10;
pub const FAILURE_CONTENT_FILTER: u8 = 11;
pub const FAILURE_CANCELLED: u8 = 12; // the client left; only pointsman_observe sees it
pub const FAILURE_UNAFFORDABLE: u8 = 13; // nothing was tried: the account cannot pay for the round, or it costs more than rounds may

// Why an answer ended.
pub const FINISH_UNKNOWN: u8 = 0;
pub const FINISH_STOP: u8 = 1;
pub const FINISH_LENGTH: u8 = 2;
pub const FINISH_TOOL_CALLS: u8 = 3;
pub const FINISH_CONTENT_FILTER: u8 = 4;

// Reasons why a candidate is out. Those below 64 are decided by the engine before the policy is asked (OptionExcluded); the others by policies. Policies may use 1024 and above for reasons of their own.
pub const REASON_NONE: u16 = 0;
pub const REASON_MODE: u16 = 1; // another kind of model (embedding, …)
pub const REASON_CAPABILITY: u16 = 2; // lacks a capability the request needs
pub const REASON_CONTEXT: u16 = 3; // the prompt does not fit its context window
pub const REASON_DOWN: u16 = 4; // circuit open
pub const REASON_NO_KEY: u16 = 5; // no key for the provider, and no simulator
pub const REASON_NOT_LOCAL: u16 = 6; // the request must stay on local models
pub const REASON_ACCOUNT_TIER: u16 = 7; // above the account's tier
pub const REASON_NOT_GRANTED: u16 = 8; // the virtual key does not grant this model
pub const REASON_UNAFFORDABLE: u16 = 9; // its worst case exceeds the credits available
pub const REASON_NOT_REQUESTED: u16 = 64;
pub const REASON_OUTSIDE_BAND: u16 = 65; // outside the tiers of the power level
pub const REASON_QUALITY: u16 = 66; // below the level's least quality
pub const REASON_OVER_BUDGET: u16 = 67; // worst case above the level's credits per request
pub const REASON_OVER_TENTH: u16 = 68; // worst case above a tenth of the credits left
pub const REASON_NOT_PREFERRED: u16 = 69; // not at one of the level's providers
pub const REASON_OUTRANKED: u16 = 70; // fit, but not among the best
pub const REASON_NOT_FREE: u16 = 71; // charged, where only a free one will do
pub const REASON_OUTPUT_TOO_LONG: u16 = 72; // cannot write as much as asked for

// Becauses say why the first step of a plan was chosen.
pub const BECAUSE_BAND: u16 = 128; // best score in the power level's band
pub const BECAUSE_PRIVATE: u16 = 129; // privacy asked for: local models only
pub const BECAUSE_OWN_KEY: u16 = 130; // the account's own key serves it, uncharged
pub const BECAUSE_INSTANT: u16 = 131; // instant answer wanted and short: the fastest free model
pub const BECAUSE_LOW_CREDITS: u16 = 132; // almost no credits, or a free account: a free model
pub const BECAUSE_NAMED: u16 = 133; // the model that was named
pub const BECAUSE_TASK: u16 = 134; // the band's best for this kind of task
pub const BECAUSE_WIDENED: u16 = 135; // nothing in the band could serve it: the nearest cheaper tier
pub const BECAUSE_FALLBACK: u16 = 136; // the engine's own order, because the policy failed
pub const BECAUSE_NOTHING: u16 = 137; // reject: nothing capable
pub const BECAUSE_NO_CREDITS: u16 = 138; // reject: nothing affordable
pub const BECAUSE_HELD: u16 = 139; // accept: the held answer is good enough

// constants: end

/// What you write. Only `route` must be there.
pub trait Policy {
    /// A line that says what it does, and in which language.
    const DESCRIPTION: &'static str;
    /// `GRANT_*` bits it cannot do without.
    const NEEDS: u32 = 0;

    /// Takes one parameter; the texts stay valid. Returns false to refuse it.
    fn configure(&mut self, key: &'static [u8], value: &'static [u8]) -> bool {
        let _ = (key, value);
        false
    }

    /// Called with each new snapshot, before the first request about it: compute here what depends on it alone.
    fn learn(&mut self, s: &Snapshot) {
        let _ = s;
    }

    /// Called with each new state, before the first request on it. Returns false to drop the state.
    fn remember(&mut self, s: &Snapshot, state: &[u8]) -> bool {
        let _ = (s, state);
        true
    }

    /// Decides one request: fills the plan.
    fn route(&mut self, s: &Snapshot, r: &Request, p: &mut Plan);

    /// Decides a further round, after `KIND_ASK` or `PLAN_REVIEW`. There is at least one outcome, of this request.
    fn next(&mut self, s: &Snapshot, r: &Request, outcomes: &Outcomes, p: &mut Plan) {
        let _ = (s, r, outcomes, p);
        panic!("its plans end with the first round");
    }

    /// Writes the state that follows into `next`, which has room for `MAX_STATE` bytes. Returns its size.
    fn observe(&mut self, state: &[u8], outcomes: &Outcomes, next: &mut [u8]) -> usize {
        let _ = (state, outcomes, next);
        0
    }
}

/// One deployment of a model at a provider.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Candidate {
    pub key: u64,      // identity of the deployment, stable across snapshots and restarts
    pub model: u16,    // number of the model; equal for deployments of one model
    pub provider: u16, // number of the provider
    pub tier: u8,      // 0..5
    pub health: u8,    // HEALTH_*
    pub mode: u8,      // MODE_*
    reserved_1: u8,
    pub capabilities: u32, // CAP_* bits
    pub strengths: u32,    // bit 1<<TASK_* for each task the model is known to be strong at
    pub context: u32,      // tokens
    pub max_output: u32,   // tokens, 0 unknown
    pub rate: i64,         // micro-credits per 1,000 tokens
    pub price_in: i64,     // pico-USD per input token (1 USD per million tokens = 1,000,000)
    pub price_out: i64,    // pico-USD per output token
    pub price_cache: i64,  // pico-USD per input token read from cache
    pub quality: f32,      // 0..1
    pub ttft: f32,         // milliseconds to first token, moving average; 0 unknown
    pub speed: f32,        // output tokens per second, moving average; 0 unknown
    pub error_rate: f32,   // 0..1, moving average
    pub samples: u32,      // outcomes seen, saturating
    pub flags: u32,        // CANDIDATE_*
    name_off: u32,
    name_len: u16,
    provider_len: u16,
    provider_off: u32,
    reserved_2: u32,
}

/// What is known about all candidates: one generation.
pub struct Snapshot {
    pub generation: u64,
    pub wall_millis: i64, // Unix milliseconds when it was taken
    records: Records,
}

impl Snapshot {
    /// How many candidates there are.
    pub fn count(&self) -> usize {
        self.records.count
    }

    /// The candidate of that number.
    pub fn candidate(&self, i: usize) -> &Candidate {
        self.records.at(i)
    }

    /// All candidates, in order.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        (0..self.count()).map(|i| self.candidate(i))
    }

    /// The name of a candidate's model, UTF-8.
    pub fn model_name(&self, c: &Candidate) -> &[u8] {
        self.records.text(c.name_off, c.name_len)
    }

    /// The name of a candidate's provider, UTF-8.
    pub fn provider_name(&self, c: &Candidate) -> &[u8] {
        self.records.text(c.provider_off, c.provider_len)
    }
}

/// The fields of a request.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct RequestFields {
    version: u16,
    header: u16,
    count: u16,
    stride: u16,
    pub generation: u64,
    pub seed: u64,
    pub level: u8,        // LEVEL_*
    pub task: u8,         // TASK_*
    pub privacy: u8,      // PRIVACY_*
    pub latency: u8,      // LATENCY_*
    pub account_tier: u8, // 0 free, 1 starter, 2 professional, 3 enterprise
    pub flags: u8,        // FLAG_* bits
    pub model: u16,       // number of the model asked for, NO_MODEL if none
    pub needs: u32,       // CAP_* bits the answer needs
    pub input: u32,       // tokens, estimated
    pub max_output: u32,  // tokens asked for, 0 if not given
    pub messages: u32,    // messages in the conversation
    pub credits: i64,     // micro-credits the account has available
    pub session: u64,     // hash of the session, 0 if none
    text_off: u32,
    text_len: u32,
    metadata_off: u32,
    metadata_len: u32,
    pub state: u64, // number of the state, 0 if none
    reserved: u64,
}

/// What holds for one candidate in one request.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct CandidateOption {
    pub excluded: u8,  // 0 if the candidate may be chosen, else the REASON_* why not
    pub flags: u8,     // OPTION_* bits
    pub inflight: u16, // requests under way at this moment, saturating
}

/// What is known about one request: its fields, an option for each candidate, and texts.
pub struct Request {
    at: *const u8,
    options: Records,
}

impl Deref for Request {
    type Target = RequestFields;
    fn deref(&self) -> &RequestFields {
        unsafe { &*self.at.cast() }
    }
}

impl Request {
    /// What holds for the candidate of that number.
    pub fn option(&self, i: usize) -> &CandidateOption {
        self.options.at(i)
    }

    /// The last user message, UTF-8; empty without `GRANT_TEXT`.
    pub fn text(&self) -> &[u8] {
        unsafe { bytes(self.at, self.text_off, self.text_len) }
    }

    /// Lines of key=value, sorted; empty without `GRANT_METADATA`.
    pub fn metadata(&self) -> &[u8] {
        unsafe { bytes(self.at, self.metadata_off, self.metadata_len) }
    }
}

/// What became of one attempt of a plan.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Outcome {
    pub key: u64,       // of the candidate
    pub credits: i64,   // micro-credits
    pub candidate: u16, // number in the snapshot of the request
    pub http: u16,      // the provider's status, 0 if none came
    pub tag: u32,       // of the plan
    pub input: u32,     // tokens
    pub output: u32,    // tokens
    pub ttft: f32,      // milliseconds to the first token, 0 if none came
    pub latency: f32,   // milliseconds of the whole attempt
    pub flags: u32,     // OUTCOME_* bits
    text_off: u32,
    text_len: u16,
    pub round: u8,   // from 0
    pub kind: u8,    // KIND_* of the plan
    pub failure: u8, // FAILURE_*
    pub finish: u8,  // FINISH_*
    pub level: u8,   // LEVEL_*
    pub task: u8,    // TASK_*
    reserved: u64,
}

/// Outcomes, oldest first.
pub struct Outcomes {
    records: Records,
}

impl Outcomes {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.records.count
    }

    /// The outcome of that number.
    pub fn outcome(&self, i: usize) -> &Outcome {
        self.records.at(i)
    }

    /// All outcomes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        (0..self.count()).map(|i| self.outcome(i))
    }

    /// The text of a side call's answer, UTF-8.
    pub fn text(&self, o: &Outcome) -> &[u8] {
        self.records.text(o.text_off, o.text_len)
    }
}

/// One candidate to try.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Step {
    pub candidate: u16, // number in the snapshot
    pub attempts: u8,   // 1..3
    flags: u8,
    pub timeout: u32, // milliseconds to the first byte, 0: the engine's default
    pub hedge: u32,   // milliseconds after which the next step starts beside this one, 0: never
    pub score: f32,   // any finite number; larger is better
    pub reason: u16,  // BECAUSE_* or REASON_*
    reserved: [u8; 6],
}

impl Step {
    /// A step with one attempt and the default times.
    pub const fn new(candidate: usize, score: f32, reason: u16) -> Step {
        Step { candidate: candidate as u16, attempts: 1, flags: 0, timeout: 0, hedge: 0, score, reason, reserved: [0; 6] }
    }
}

/// What the policy thought of one candidate.
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub struct Verdict {
    pub score: f32,
    pub reason: u16, // 0: in the running; else why it is out
    pub rank: u16,   // 1 for the first step, 2 ...; 0: not in the plan
}

const _: () = assert!(size_of::<Candidate>() == 104 && size_of::<RequestFields>() == 96 && size_of::<CandidateOption>() == 4);
const _: () = assert!(size_of::<Outcome>() == 64 && size_of::<Step>() == 24 && size_of::<Verdict>() == 8);

/// A decision. It comes empty; set the fields, and use the methods for the rest.
pub struct Plan {
    pub kind: u8,        // KIND_*
    pub flags: u8,       // PLAN_REVIEW or 0
    pub reason: u16,     // BECAUSE_* or REASON_*
    pub status: u16,     // HTTP status of a reject, 400..599; 0: 503
    pub max_output: u32, // output tokens to reserve credits for when the request gives no limit; 0: the engine's default
    pub tag: u32,        // comes back in the outcomes
    pub ask_input: u8,   // ASK_* of a side call
    pub ask_output: u16, // tokens the side call may answer with at most; 0: 64
    candidates: usize,
    step_count: usize,
    step_buffer: [Step; MAX_STEPS],
    has_verdicts: bool,
    explain_size: usize,
    ask_size: usize,
    out: &'static mut Output,
}

impl Plan {
    fn new(candidates: usize, out: &'static mut Output) -> Plan {
        Plan {
            kind: 0,
            flags: 0,
            reason: 0,
            status: 0,
            max_output: 0,
            tag: 0,
            ask_input: 0,
            ask_output: 0,
            candidates,
            step_count: 0,
            step_buffer: [Step::new(0, 0.0, 0); MAX_STEPS],
            has_verdicts: false,
            explain_size: 0,
            ask_size: 0,
            out,
        }
    }

    /// Empties the plan.
    pub fn reset(&mut self) {
        self.kind = 0;
        self.flags = 0;
        self.reason = 0;
        self.status = 0;
        self.max_output = 0;
        self.tag = 0;
        self.ask_input = 0;
        self.ask_output = 0;
        self.step_count = 0;
        self.has_verdicts = false;
        self.explain_size = 0;
        self.ask_size = 0;
    }

    /// Adds a step, of which there are at most `MAX_STEPS`: what is too much is left out. It may be changed in `steps`.
    pub fn step(&mut self, candidate: usize, score: f32, reason: u16) {
        if self.step_count < MAX_STEPS {
            self.step_buffer[self.step_count] = Step::new(candidate, score, reason);
            self.step_count += 1;
        }
    }

    /// The steps so far.
    pub fn steps(&mut self) -> &mut [Step] {
        &mut self.step_buffer[..self.step_count]
    }

    /// Says what the policy thought of a candidate. With one verdict there must be one for each candidate.
    pub fn verdict(&mut self, candidate: usize, score: f32, reason: u16, rank: u16) {
        assert!(candidate < self.candidates);
        self.has_verdicts = true;
        let all = (&raw mut self.out.bytes).cast::<u8>();
        unsafe { *all.add(HEAD_ROOM).cast::<Verdict>().add(candidate) = Verdict { score, reason, rank } };
    }

    /// Appends to the explanation, cut between characters where that gets too long.
    pub fn explain(&mut self, text: impl AsRef<[u8]>) {
        self.explain_size += append(&mut self.out.explanation[self.explain_size..], text.as_ref());
    }

    /// Appends a number in decimal to the explanation.
    pub fn explain_number(&mut self, mut n: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (n % 10) as u8;
            n /= 10;
            if n == 0 {
                break;
            }
        }
        if digits.len() - at <= MAX_EXPLANATION - self.explain_size {
            self.explain(&digits[at..]);
        }
    }

    /// Appends to the instruction of a side call.
    pub fn ask(&mut self, text: impl AsRef<[u8]>) {
        self.ask_size += append(&mut self.out.instruction[self.ask_size..], text.as_ref());
    }

    /// Puts header and steps before the verdicts, and the texts behind them.
    fn encode(self) -> u64 {
        let rounds = self.tag != 0 || self.ask_input != 0 || self.ask_output != 0 || self.ask_size != 0;
        let header = if rounds { 64 } else { 32 };
        let steps = self.step_count * size_of::<Step>();
        let count = if self.has_verdicts { self.candidates } else { 0 };
        let start = HEAD_ROOM - steps - header;
        let explained = HEAD_ROOM + count * size_of::<Verdict>();
        let asked = explained + self.explain_size;
        let out = &mut self.out.bytes;
        out[explained..asked].copy_from_slice(&self.out.explanation[..self.explain_size]);
        out[asked..asked + self.ask_size].copy_from_slice(&self.out.instruction[..self.ask_size]);
        let steps_at = (&raw const self.step_buffer).cast::<u8>();
        out[start + header..HEAD_ROOM].copy_from_slice(unsafe { core::slice::from_raw_parts(steps_at, steps) });
        let head = &mut out[start..start + header];
        head.fill(0);
        put(head, 0, &(VERSION as u16).to_le_bytes());
        put(head, 2, &(header as u16).to_le_bytes());
        put(head, 4, &[self.kind, self.flags]);
        put(head, 6, &self.reason.to_le_bytes());
        put(head, 8, &(self.step_count as u16).to_le_bytes());
        put(head, 10, &(size_of::<Step>() as u16).to_le_bytes());
        put(head, 12, &(count as u16).to_le_bytes());
        put(head, 14, &(size_of::<Verdict>() as u16).to_le_bytes());
        if self.explain_size > 0 {
            put(head, 16, &((explained - start) as u32).to_le_bytes());
            put(head, 20, &(self.explain_size as u32).to_le_bytes());
        }
        put(head, 24, &self.max_output.to_le_bytes());
        put(head, 28, &self.status.to_le_bytes());
        if rounds {
            put(head, 32, &self.tag.to_le_bytes());
            put(head, 44, &[self.ask_input, 0]);
            put(head, 46, &self.ask_output.to_le_bytes());
            if self.ask_size > 0 {
                put(head, 36, &((asked - start) as u32).to_le_bytes());
                put(head, 40, &(self.ask_size as u32).to_le_bytes());
            }
        }
        span(&out[start..asked + self.ask_size])
    }
}

fn put(head: &mut [u8], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

fn append(to: &mut [u8], text: &[u8]) -> usize {
    let mut n = text.len();
    if n > to.len() {
        n = to.len();
        while n > 0 && text[n] & 0xC0 == 0x80 {
            n -= 1;
        }
    }
    to[..n].copy_from_slice(&text[..n]);
    n
}

/// Reads a decimal: at most 9 digits, a point, at most 6 digits.
pub fn number(text: &[u8]) -> Option<f64> {
    let (mut millionths, mut before, mut behind) = (0i64, 0, None);
    for &c in text {
        match (c, behind) {
            (b'.', None) => {
                behind = Some(0);
                continue;
            }
            (b'0'..=b'9', None) => before += 1,
            (b'0'..=b'9', Some(n)) => behind = Some(n + 1),
            _ => return None,
        }
        if before > 9 || behind > Some(6) {
            return None;
        }
        millionths = millionths * 10 + i64::from(c - b'0');
    }
    if before == 0 || behind == Some(0) {
        return None;
    }
    for _ in behind.unwrap_or(0)..6 {
        millionths *= 10;
    }
    Some(millionths as f64 / 1e6)
}

/// Reads true, false, 1 or 0.
pub fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"true" | b"1" => Some(true),
        b"false" | b"0" => Some(false),
        _ => None,
    }
}

/// The value of a line of key=value among such lines, for metadata.
pub fn lookup<'a>(lines: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    lines.split(|&c| c == b'\n').map(pair).find(|(k, _)| *k == key).map(|(_, value)| value)
}

fn pair(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|&c| c == b'=') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &[]),
    }
}

/// Writes a line of at most 256 bytes to the gateway's debug log: level 0 debug to 3 error. It costs fuel, and decides
/// nothing.
pub fn log(level: i32, text: &[u8]) {
    #[cfg(target_arch = "wasm32")]
    unsafe {
        host_log(level, text.as_ptr(), text.len());
    }
    let _ = (level, text);
}

#[cfg(target_arch = "wasm32")]
#[link(wasm_import_module = "pointsman_policy_v1")]
unsafe extern "C" {
    #[link_name = "log"]
    fn host_log(level: i32, at: *const u8, size: usize);
}

/// A table whose size is known when the snapshot is: it takes no room in the module. Its memory is never given back, so
/// sizes double.
pub struct Table<T: Copy + 'static> {
    room: Option<&'static mut [T]>,
    size: usize,
}

impl<T: Copy + 'static> Table<T> {
    /// A table without entries.
    pub const fn new() -> Table<T> {
        Table { room: None, size: 0 }
    }

    /// Makes it so long. New entries are equal to `value`, old ones stay unless it has to move.
    pub fn resize(&mut self, size: usize, value: T) {
        let have = self.len_of_room();
        if size > have {
            let count = size.max(have * 2).max(64);
            let at = allocate(count * size_of::<T>()).cast::<T>();
            for i in 0..count {
                unsafe { at.add(i).write(value) };
            }
            self.room = Some(unsafe { core::slice::from_raw_parts_mut(at, count) });
        }
        self.size = size;
    }

    fn len_of_room(&self) -> usize {
        self.room.as_ref().map_or(0, |room| room.len())
    }
}

impl<T: Copy> Deref for Table<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.room.as_ref().map_or(&[], |room| &room[..self.size])
    }
}

impl<T: Copy> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.room.as_mut().map_or(&mut [], |room| &mut room[..self.size])
    }
}

// From here on is the other side of the contract; authors need not read it.

const HEAD_ROOM: usize = 64 + MAX_STEPS * size_of::<Step>();

/// The plan as the host reads it, the verdicts at `HEAD_ROOM`; and the texts that are put behind them in the end.
#[repr(align(8))]
pub struct Output {
    bytes: [u8; HEAD_ROOM + MAX_CANDIDATES * size_of::<Verdict>() + MAX_EXPLANATION + MAX_ASK],
    explanation: [u8; MAX_EXPLANATION],
    instruction: [u8; MAX_ASK],
    state: [u8; MAX_STATE],
    next_state: [u8; MAX_STATE],
}

/// An array of records in a buffer, at the stride that the buffer tells; and the texts that belong to them.
struct Records {
    first: *const u8,
    blob: *const u8,
    count: usize,
    stride: usize,
}

impl Records {
    fn at<T>(&self, i: usize) -> &T {
        assert!(i < self.count);
        unsafe { &*self.first.add(i * self.stride).cast() }
    }

    fn text(&self, off: u32, len: u16) -> &[u8] {
        unsafe { bytes(self.blob, off, len.into()) }
    }
}

unsafe fn bytes<'a>(base: *const u8, off: u32, len: u32) -> &'a [u8] {
    unsafe { core::slice::from_raw_parts(base.add(off as usize), len as usize) }
}

fn span(text: &[u8]) -> u64 {
    (text.as_ptr() as usize as u64) << 32 | text.len() as u64
}

#[cfg(target_arch = "wasm32")]
fn allocate(size: usize) -> *mut u8 {
    use core::arch::wasm32::{memory_grow, memory_size, unreachable};
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static END: AtomicUsize = AtomicUsize::new(0); // of what is in use; the first time, of all memory
    let start = match END.load(Relaxed) {
        0 => memory_size(0) << 16,
        end => end,
    };
    let end = (start + size + 15) & !15;
    let have = memory_size(0) << 16;
    if end > have && memory_grow(0, (end - have + 65535) >> 16) == usize::MAX {
        unreachable();
    }
    END.store(end, Relaxed);
    start as *mut u8
}

#[cfg(not(target_arch = "wasm32"))]
fn allocate(size: usize) -> *mut u8 {
    extern crate std;
    let words: std::vec::Vec<u64> = std::vec![0; size.div_ceil(8)];
    words.leak().as_mut_ptr().cast()
}

/// A running policy: what `export_policy` makes one of.
pub struct Guest<P: Policy> {
    policy: P,
    snapshot: Snapshot,
    input: Table<u8>,
    facts: Table<u8>,
    parameters: Table<u8>,
    state_size: usize,
}

impl<P: Policy> Guest<P> {
    pub const fn new(policy: P) -> Guest<P> {
        let records = Records { first: core::ptr::null(), blob: core::ptr::null(), count: 0, stride: 0 };
        Guest {
            policy,
            snapshot: Snapshot { generation: 0, wall_millis: 0, records },
            input: Table::new(),
            facts: Table::new(),
            parameters: Table::new(),
            state_size: 0,
        }
    }

    pub fn describe() -> u64 {
        span(P::DESCRIPTION.as_bytes())
    }

    pub fn needs() -> u32 {
        P::NEEDS
    }

    pub fn buffer(&mut self, size: usize) -> usize {
        self.input.resize(size, 0);
        self.input.as_ptr() as usize
    }

    pub fn configure(&mut self, length: usize) -> u32 {
        self.parameters.resize(length, 0);
        self.parameters.copy_from_slice(&self.input[..length]);
        let text: &'static [u8] = unsafe { core::slice::from_raw_parts(self.parameters.as_ptr(), length) };
        for line in text.split(|&c| c == b'\n').filter(|line| !line.is_empty()) {
            let (key, value) = pair(line);
            if !self.policy.configure(key, value) {
                log(3, line);
                return 1;
            }
        }
        0
    }

    pub fn learn(&mut self, length: usize) -> u32 {
        self.facts.resize(length, 0);
        self.facts.copy_from_slice(&self.input[..length]);
        let facts = self.facts.as_ptr();
        unsafe {
            self.snapshot.generation = facts.add(8).cast::<u64>().read_unaligned();
            self.snapshot.wall_millis = facts.add(16).cast::<i64>().read_unaligned();
            self.snapshot.records = records(facts, 24);
        }
        self.policy.learn(&self.snapshot);
        0
    }

    pub fn remember(&mut self, length: usize, out: &'static mut Output) -> u32 {
        if length > MAX_STATE {
            return 3;
        }
        out.state[..length].copy_from_slice(&self.input[..length]);
        self.state_size = length;
        if self.policy.remember(&self.snapshot, &out.state[..length]) { 0 } else { 3 }
    }

    pub fn route(&mut self, out: &'static mut Output) -> u64 {
        let mut plan = Plan::new(self.snapshot.count(), out);
        self.policy.route(&self.snapshot, &request(self.input.as_ptr()), &mut plan);
        plan.encode()
    }

    pub fn next(&mut self, out: &'static mut Output) -> u64 {
        let mut plan = Plan::new(self.snapshot.count(), out);
        let at = self.input.as_ptr();
        let outcomes = Outcomes { records: unsafe { records(at, 16) } };
        let request = request(unsafe { at.add(at.add(8).cast::<u32>().read_unaligned() as usize) });
        self.policy.next(&self.snapshot, &request, &outcomes, &mut plan);
        plan.encode()
    }

    pub fn observe(&mut self, out: &'static mut Output) -> u64 {
        let outcomes = Outcomes { records: unsafe { records(self.input.as_ptr(), 16) } };
        let size = self.policy.observe(&out.state[..self.state_size], &outcomes, &mut out.next_state);
        span(&out.next_state[..size])
    }
}

/// The records of a buffer whose header has the offset of the texts at a field.
unsafe fn records(at: *const u8, blob: usize) -> Records {
    let number = |field| unsafe { at.add(field).cast::<u16>().read_unaligned() } as usize;
    unsafe {
        Records {
            first: at.add(number(2)),
            blob: at.add(at.add(blob).cast::<u32>().read_unaligned() as usize),
            count: number(4),
            stride: number(6),
        }
    }
}

fn request(at: *const u8) -> Request {
    Request { at, options: Records { blob: at, ..unsafe { records(at, 64) } } }
}

/// What the exports share. A module is called by one thread, one call at a time.
pub struct Only<T>(core::cell::UnsafeCell<T>);

unsafe impl<T> Sync for Only<T> {}

impl<T> Only<T> {
    pub const fn new(value: T) -> Only<T> {
        Only(core::cell::UnsafeCell::new(value))
    }

    /// # Safety
    /// Nobody else may be using it.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn get(&self) -> &mut T {
        unsafe { &mut *self.0.get() }
    }
}

impl Output {
    pub const fn new() -> Output {
        Output {
            bytes: [0; HEAD_ROOM + MAX_CANDIDATES * size_of::<Verdict>() + MAX_EXPLANATION + MAX_ASK],
            explanation: [0; MAX_EXPLANATION],
            instruction: [0; MAX_ASK],
            state: [0; MAX_STATE],
            next_state: [0; MAX_STATE],
        }
    }
}

/// Exports a policy: its type, and the constant expression it begins as. Use it once.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty, $begin:expr) => {
        #[cfg(target_arch = "wasm32")]
        mod exports {
            use super::*;
            use crate::pointsman::{Guest, Only, Output};

            static GUEST: Only<Guest<$policy>> = Only::new(Guest::new($begin));
            static OUT: Only<Output> = Only::new(Output::new());

            #[panic_handler]
            fn panic(_: &core::panic::PanicInfo) -> ! {
                core::arch::wasm32::unreachable()
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_abi_version() -> u32 {
                crate::pointsman::VERSION
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_needs() -> u32 {
                Guest::<$policy>::needs()
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_describe() -> u64 {
                Guest::<$policy>::describe()
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_buffer(size: usize) -> usize {
                unsafe { GUEST.get() }.buffer(size)
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_configure(length: usize) -> u32 {
                unsafe { GUEST.get() }.configure(length)
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_snapshot(length: usize) -> u32 {
                unsafe { GUEST.get() }.learn(length)
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_state(length: usize) -> u32 {
                unsafe { GUEST.get().remember(length, OUT.get()) }
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_route(_length: usize) -> u64 {
                unsafe { GUEST.get().route(OUT.get()) }
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_next(_length: usize) -> u64 {
                unsafe { GUEST.get().next(OUT.get()) }
            }
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_observe(_length: usize) -> u64 {
                unsafe { GUEST.get().observe(OUT.get()) }
            }
        }
    };
}
