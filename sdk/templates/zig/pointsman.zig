//! Write a routing policy for Pointsman in Zig: one file, no dependencies.
//!
//! The root file of a policy exports itself, and declares what it wants to be asked:
//!
//!     const pm = @import("pointsman.zig");
//!
//!     pub const description = "first fit; Zig";
//!
//!     pub fn route(s: *const pm.Snapshot, r: *const pm.Request, p: *pm.Plan) void {
//!         for (0..s.count) |i| {
//!             if (r.option(i).excluded != 0) continue;
//!             p.kind = pm.kind_answer;
//!             _ = p.step(i, 1, pm.because_band);
//!             return;
//!         }
//!         p.kind = pm.kind_reject;
//!     }
//!
//!     comptime {
//!         pm.exportPolicy(@This());
//!     }
//!
//! All that it may declare, of which route alone must be there:
//!
//!     pub const description: []const u8     what it does, and in which language
//!     pub const needs: u32                  grant_* bits it cannot do without
//!     pub fn configure(key: []const u8, value: []const u8) bool
//!         takes one parameter, whose texts stay valid; false refuses it
//!     pub fn learn(s: *const Snapshot) void
//!         called with each new snapshot, before the first request about it: compute here what depends on it alone
//!     pub fn remember(s: *const Snapshot, state: []const u8) bool
//!         called with each new state, before the first request on it; false drops the state; valid until the next
//!     pub fn route(s: *const Snapshot, r: *const Request, p: *Plan) void
//!     pub fn next(s: *const Snapshot, r: *const Request, outcomes: *const Outcomes, p: *Plan) void
//!         decides a further round, after kind_ask or plan_review; there is at least one outcome, of this request
//!     pub fn observe(state: []const u8, outcomes: *const Outcomes, to: []u8) usize
//!         writes the state that follows, and returns its size
//!
//! The records below are the gateway's own bytes, read where they lie: numbers are little-endian, and records are longer in
//! later versions, so step from one to the next with the functions given here. A policy is a pure function: what it keeps
//! between calls may only be what follows from its parameters, the snapshot and the state.

const std = @import("std");
const builtin = @import("builtin");

// constants: begin

// Version is what pointsman_abi_version must return.
pub const version = 1;

// Grants a policy may need; the operator gives them.
pub const grant_text = 1;
pub const grant_metadata = 2;
pub const grant_side_calls = 4;
pub const grant_state = 8;

// Limits the host enforces.
pub const max_steps = 8; // steps of a plan
pub const max_candidates = 8192; // records of a snapshot
pub const max_explanation = 512; // bytes
pub const max_config = 65536; // bytes of configuration text
pub const max_plan = 262144; // bytes
pub const max_text = 32768; // bytes of the last user message; what is longer is cut between characters
pub const max_metadata = 4096; // bytes of metadata text; whole lines are left out
pub const max_state = 32768; // bytes
pub const max_rounds = 4; // plans of one request that are carried out
pub const max_ask = 8192; // bytes of the instruction of a side call
pub const max_ask_output = 1024; // tokens of a side call's answer
pub const max_ask_text = 1024; // bytes of a side call's answer that the policy gets; what is longer is cut between characters
pub const max_outcomes = 512; // records of one pointsman_observe
pub const candidate_local = 1; // CandidateFlags: runs on the operator's own machines
pub const candidate_own_key = 2; // CandidateFlags: the gateway has no key for it, only callers who bring one can be served

// Health of a candidate.
pub const health_unknown = 0;
pub const health_healthy = 1;
pub const health_degraded = 2;
pub const health_down = 3;

// Mode of a candidate's model.
pub const mode_chat = 0;
pub const mode_embedding = 1;
pub const mode_responses = 2;
pub const mode_image = 3;
pub const mode_transcription = 4;
pub const mode_speech = 5;
pub const mode_moderation = 6;
pub const mode_rerank = 7;

// Capability bits.
pub const cap_tools = 1;
pub const cap_vision = 2;
pub const cap_json_schema = 4;
pub const cap_reasoning = 8;
pub const cap_prompt_cache = 16;
pub const cap_pdf = 32;
pub const cap_audio = 64;

// Task kinds.
pub const task_unknown = 0;
pub const task_code = 1;
pub const task_chat = 2;
pub const task_rag = 3;
pub const task_creative = 4;
pub const task_analysis = 5;
pub const task_translation = 6;
pub const task_summarization = 7;
pub const task_reasoning = 8;
pub const option_own_key = 1; // served with the account's own key: nothing is charged
pub const option_simulated = 2; // the simulated provider would answer
pub const option_warm = 4; // this session's prompt cache is warm here

// NoModel in RequestModel says that the request names no model.
pub const no_model = 65535;

// Power levels.
pub const level_eco = 1;
pub const level_balanced = 2;
pub const level_precision = 3;
pub const level_custom = 4;

// Privacy wishes.
pub const privacy_any = 0;
pub const privacy_local = 1;

// Latency objectives: to the first token, under 500 ms, 2 s, 5 s.
pub const latency_unset = 0;
pub const latency_instant = 1;
pub const latency_fast = 2;
pub const latency_normal = 3;

// RequestFlags bits.
pub const flag_stream = 1;
pub const flag_no_fallback = 2; // the caller wants one model or an error
pub const flag_json = 4; // the caller wants JSON: response_format json_object or json_schema
pub const plan_review = 1; // PlanFlags of a KindAnswer: call pointsman_next before the answer is sent, also if there is none

// Kinds of plan.
pub const kind_answer = 1; // try the steps in order
pub const kind_ask = 2; // a side call to the steps in order; its outcome comes back through pointsman_next
pub const kind_reject = 3; // refuse the request with PlanStatus and the explanation
pub const kind_accept = 4; // only from pointsman_next: send the held answer; no steps

// What a side call is asked about, after its instruction: PlanAskInput.
pub const ask_prompt = 1; // the last user message
pub const ask_answer = 2; // the held answer
pub const ask_both = 3; // first the one, then the other
pub const outcome_ok = 1; // an answer came, whole
pub const outcome_empty = 2; // it has neither text nor tool calls
pub const outcome_json = 4; // its text is one JSON value, or it has none and calls tools
pub const outcome_refusal = 8; // the provider marked it as a refusal or filtered it
pub const outcome_refusal_phrase = 16; // it is short and begins like a refusal in English
pub const outcome_simulated = 32; // the simulated provider answered
pub const outcome_own_key = 64; // with the account's own key: uncharged

// Kinds of failure of an attempt.
pub const failure_none = 0;
pub const failure_connect = 1;
pub const failure_timeout = 2;
pub const failure_server = 3;
pub const failure_overloaded = 4;
pub const failure_rate_limited = 5;
pub const failure_auth = 6;
pub const failure_quota = 7;
pub const failure_not_found = 8;
pub const failure_bad_request = 9;
pub const failure_context_length = 10;
pub const failure_content_filter = 11;
pub const failure_cancelled = 12; // the client left; only pointsman_observe sees it
pub const failure_unaffordable = 13; // nothing was tried: the account cannot pay for the round, or it costs more than rounds may

// Why an answer ended.
pub const finish_unknown = 0;
pub const finish_stop = 1;
pub const finish_length = 2;
pub const finish_tool_calls = 3;
pub const finish_content_filter = 4;

// Reasons why a candidate is out. Those below 64 are decided by the engine before the policy is asked (OptionExcluded); the others by policies. Policies may use 1024 and above for reasons of their own.
pub const reason_none = 0;
pub const reason_mode = 1; // another kind of model (embedding, …)
pub const reason_capability = 2; // lacks a capability the request needs
pub const reason_context = 3; // the prompt does not fit its context window
pub const reason_down = 4; // circuit open
pub const reason_no_key = 5; // no key for the provider, and no simulator
pub const reason_not_local = 6; // the request must stay on local models
pub const reason_account_tier = 7; // above the account's tier
pub const reason_not_granted = 8; // the virtual key does not grant this model
pub const reason_unaffordable = 9; // its worst case exceeds the credits available
pub const reason_not_requested = 64;
pub const reason_outside_band = 65; // outside the tiers of the power level
pub const reason_quality = 66; // below the level's least quality
pub const reason_over_budget = 67; // worst case above the level's credits per request
pub const reason_over_tenth = 68; // worst case above a tenth of the credits left
pub const reason_not_preferred = 69; // not at one of the level's providers
pub const reason_outranked = 70; // fit, but not among the best
pub const reason_not_free = 71; // charged, where only a free one will do
pub const reason_output_too_long = 72; // cannot write as much as asked for

// Becauses say why the first step of a plan was chosen.
pub const because_band = 128; // best score in the power level's band
pub const because_private = 129; // privacy asked for: local models only
pub const because_own_key = 130; // the account's own key serves it, uncharged
pub const because_instant = 131; // instant answer wanted and short: the fastest free model
pub const because_low_credits = 132; // almost no credits, or a free account: a free model
pub const because_named = 133; // the model that was named
pub const because_task = 134; // the band's best for this kind of task
pub const because_widened = 135; // nothing in the band could serve it: the nearest cheaper tier
pub const because_fallback = 136; // the engine's own order, because the policy failed
pub const because_nothing = 137; // reject: nothing capable
pub const because_no_credits = 138; // reject: nothing affordable
pub const because_held = 139; // accept: the held answer is good enough

// constants: end

/// One deployment of a model at a provider.
pub const Candidate = extern struct {
    key: u64 align(1), // identity of the deployment, stable across snapshots and restarts
    model: u16 align(1), // number of the model; equal for deployments of one model
    provider: u16 align(1), // number of the provider
    tier: u8, // 0..5
    health: u8, // health_*
    mode: u8, // mode_*
    reserved_1: u8,
    capabilities: u32 align(1), // cap_* bits
    strengths: u32 align(1), // bit 1<<task_* for each task the model is known to be strong at
    context: u32 align(1), // tokens
    max_output: u32 align(1), // tokens, 0 unknown
    rate: i64 align(1), // micro-credits per 1,000 tokens
    price_in: i64 align(1), // pico-USD per input token (1 USD per million tokens = 1,000,000)
    price_out: i64 align(1), // pico-USD per output token
    price_cache: i64 align(1), // pico-USD per input token read from cache
    quality: f32 align(1), // 0..1
    ttft: f32 align(1), // milliseconds to first token, moving average; 0 unknown
    speed: f32 align(1), // output tokens per second, moving average; 0 unknown
    error_rate: f32 align(1), // 0..1, moving average
    samples: u32 align(1), // outcomes seen, saturating
    flags: u32 align(1), // candidate_*
    name_off: u32 align(1), // use Snapshot.modelName
    name_len: u16 align(1),
    provider_len: u16 align(1), // use Snapshot.providerName
    provider_off: u32 align(1),
    reserved_2: u32 align(1),
};

/// What is known about all candidates: one generation.
pub const Snapshot = struct {
    generation: u64,
    wall_millis: i64, // Unix milliseconds when it was taken
    count: usize, // candidates
    stride: usize,
    first: [*]const u8,
    blob: [*]const u8,

    pub fn candidate(s: *const Snapshot, i: usize) *const Candidate {
        return @ptrCast(s.first + i * s.stride);
    }

    pub fn modelName(s: *const Snapshot, c: *const Candidate) []const u8 {
        return s.blob[c.name_off..][0..c.name_len];
    }

    pub fn providerName(s: *const Snapshot, c: *const Candidate) []const u8 {
        return s.blob[c.provider_off..][0..c.provider_len];
    }
};

/// What is known about one request.
pub const Request = extern struct {
    version: u16 align(1),
    header: u16 align(1),
    count: u16 align(1),
    stride: u16 align(1),
    generation: u64 align(1),
    seed: u64 align(1),
    level: u8, // level_*
    task: u8, // task_*
    privacy: u8, // privacy_*
    latency: u8, // latency_*
    account_tier: u8, // 0 free, 1 starter, 2 professional, 3 enterprise
    flags: u8, // flag_* bits
    model: u16 align(1), // number of the model asked for, no_model if none
    needs: u32 align(1), // cap_* bits the answer needs
    input: u32 align(1), // tokens, estimated
    max_output: u32 align(1), // tokens asked for, 0 if not given
    messages: u32 align(1), // messages in the conversation
    credits: i64 align(1), // micro-credits the account has available
    session: u64 align(1), // hash of the session, 0 if none
    text_off: u32 align(1),
    text_len: u32 align(1),
    metadata_off: u32 align(1),
    metadata_len: u32 align(1),
    state: u64 align(1), // number of the state, 0 if none
    reserved: u64 align(1),

    fn bytes(r: *const Request) [*]const u8 {
        return @ptrCast(r);
    }

    pub fn option(r: *const Request, i: usize) *const Option {
        return @ptrCast(r.bytes() + r.header + i * r.stride);
    }

    /// The last user message; empty without grant_text.
    pub fn text(r: *const Request) []const u8 {
        return r.bytes()[r.text_off..][0..r.text_len];
    }

    /// Lines of key=value, sorted; empty without grant_metadata.
    pub fn metadata(r: *const Request) []const u8 {
        return r.bytes()[r.metadata_off..][0..r.metadata_len];
    }
};

/// What holds for one candidate in one request.
pub const Option = extern struct {
    excluded: u8, // 0 if the candidate may be chosen, else the reason_* why not
    flags: u8, // option_* bits
    inflight: u16 align(1), // requests under way at this moment, saturating
};

/// What became of one attempt of a plan.
pub const Outcome = extern struct {
    key: u64 align(1), // of the candidate
    credits: i64 align(1), // micro-credits
    candidate: u16 align(1), // number in the snapshot of the request
    http: u16 align(1), // the provider's status, 0 if none came
    tag: u32 align(1), // of the plan
    input: u32 align(1), // tokens
    output: u32 align(1), // tokens
    ttft: f32 align(1), // milliseconds to the first token, 0 if none came
    latency: f32 align(1), // milliseconds of the whole attempt
    flags: u32 align(1), // outcome_* bits
    text_off: u32 align(1), // use Outcomes.text
    text_len: u16 align(1),
    round: u8, // from 0
    kind: u8, // kind_* of the plan
    failure: u8, // failure_*
    finish: u8, // finish_*
    level: u8, // level_*
    task: u8, // task_*
    reserved: u64 align(1),
};

/// Outcomes, oldest first.
pub const Outcomes = struct {
    count: usize,
    stride: usize,
    first: [*]const u8,
    blob: [*]const u8,

    pub fn outcome(all: *const Outcomes, i: usize) *const Outcome {
        return @ptrCast(all.first + i * all.stride);
    }

    /// The text of a side call's answer.
    pub fn text(all: *const Outcomes, o: *const Outcome) []const u8 {
        return all.blob[o.text_off..][0..o.text_len];
    }
};

/// One candidate to try.
pub const Step = extern struct {
    candidate: u16 align(1) = 0, // number in the snapshot
    attempts: u8 = 1, // 1..3
    flags: u8 = 0,
    timeout: u32 align(1) = 0, // milliseconds to the first byte, 0: the engine's default
    hedge: u32 align(1) = 0, // milliseconds after which the next step starts beside this one, 0: never
    score: f32 align(1) = 0, // any finite number; larger is better
    reason: u16 align(1) = 0, // because_* or reason_*
    reserved: [6]u8 = @splat(0),
};

/// What the policy thought of one candidate.
pub const Verdict = extern struct {
    score: f32 align(1) = 0,
    reason: u16 align(1) = 0, // 0: in the running; else why it is out
    rank: u16 align(1) = 0, // 1 for the first step, 2 ...; 0: not in the plan
};

comptime {
    std.debug.assert(@sizeOf(Candidate) == 104 and @sizeOf(Request) == 96 and @sizeOf(Option) == 4);
    std.debug.assert(@sizeOf(Outcome) == 64 and @sizeOf(Step) == 24 and @sizeOf(Verdict) == 8);
}

/// A decision. It comes empty; set the fields, and use the functions for the rest.
pub const Plan = struct {
    kind: u8 = 0, // kind_*
    flags: u8 = 0, // plan_review or 0
    reason: u16 = 0, // because_* or reason_*
    status: u16 = 0, // HTTP status of a reject, 400..599; 0: 503
    max_output: u32 = 0, // output tokens to reserve credits for when the request gives no limit; 0: the engine's default
    tag: u32 = 0, // comes back in the outcomes
    ask_input: u8 = 0, // ask_* of a side call
    ask_output: u16 = 0, // tokens the side call may answer with at most; 0: 64
    candidates: usize, // of the snapshot
    step_count: usize = 0,
    step_buffer: [max_steps]Step = undefined,
    has_verdicts: bool = false,
    explain_size: usize = 0,
    ask_size: usize = 0,

    /// Adds a step with one attempt and the default times, which may be changed. Returns null if there is no room.
    pub fn step(p: *Plan, i: usize, score: f32, reason: u16) ?*Step {
        if (p.step_count == max_steps) return null;
        const s = &p.step_buffer[p.step_count];
        p.step_count += 1;
        s.* = .{ .candidate = @intCast(i), .score = score, .reason = reason };
        return s;
    }

    pub fn steps(p: *Plan) []Step {
        return p.step_buffer[0..p.step_count];
    }

    /// The verdicts of the plan, one for each candidate. They are not cleared: set each.
    pub fn verdicts(p: *Plan) []Verdict {
        p.has_verdicts = true;
        const all: [*]Verdict = @ptrCast(&out[head_room]);
        return all[0..p.candidates];
    }

    /// Appends to the explanation, cut between characters where that gets too long.
    pub fn explain(p: *Plan, text: []const u8) void {
        p.explain_size += append(explanation[p.explain_size..], text);
    }

    /// Appends a number in decimal to the explanation.
    pub fn explainNumber(p: *Plan, number_: u64) void {
        var digits: [20]u8 = undefined;
        var at: usize = digits.len;
        var n = number_;
        while (true) {
            at -= 1;
            digits[at] = '0' + @as(u8, @intCast(n % 10));
            n /= 10;
            if (n == 0) break;
        }
        if (digits.len - at <= max_explanation - p.explain_size) p.explain(digits[at..]);
    }

    /// Appends to the instruction of a side call.
    pub fn ask(p: *Plan, text: []const u8) void {
        p.ask_size += append(instruction[p.ask_size..], text);
    }
};

/// Reads a decimal: at most 9 digits, a point, at most 6 digits; null if it is not one.
pub fn number(text: []const u8) ?f64 {
    var millionths: i64 = 0;
    var before: u32 = 0;
    var behind: ?u32 = null;
    for (text) |c| {
        if (c == '.' and behind == null) {
            behind = 0;
            continue;
        }
        if (c < '0' or c > '9') return null;
        millionths = millionths * 10 + (c - '0');
        if (behind) |n| behind = n + 1 else before += 1;
        if (before > 9 or (behind orelse 0) > 6) return null;
    }
    if (before == 0 or behind == 0) return null;
    for (behind orelse 0..6) |_| millionths *= 10;
    return @as(f64, @floatFromInt(millionths)) / 1e6;
}

/// Reads true, false, 1 or 0; null if it is none of them.
pub fn boolean(text: []const u8) ?bool {
    if (std.mem.eql(u8, text, "true") or std.mem.eql(u8, text, "1")) return true;
    if (std.mem.eql(u8, text, "false") or std.mem.eql(u8, text, "0")) return false;
    return null;
}

/// The value of a line of key=value among such lines, for metadata; null if there is none.
pub fn lookup(lines: []const u8, key: []const u8) ?[]const u8 {
    var rest = lines;
    while (rest.len > 0) {
        const line = cut(&rest, '\n');
        const name, const value = pair(line);
        if (std.mem.eql(u8, name, key)) return value;
    }
    return null;
}

/// Takes what stands before the separator off the text; all of it if there is none.
pub fn cut(text: *[]const u8, separator: u8) []const u8 {
    var n: usize = 0;
    while (n < text.len and text.*[n] != separator) n += 1;
    const head = text.*[0..n];
    text.* = text.*[@min(n + 1, text.len)..];
    return head;
}

fn pair(line: []const u8) struct { []const u8, []const u8 } {
    var value = line;
    const key = cut(&value, '=');
    return .{ key, value };
}

const host = struct {
    extern "pointsman_policy_v1" fn log(level: i32, at: [*]const u8, size: usize) void;
};

/// Writes a line of at most 256 bytes to the gateway's debug log: level 0 debug to 3 error. It costs fuel, and decides
/// nothing.
pub fn log(level: i32, text: []const u8) void {
    if (builtin.cpu.arch.isWasm()) host.log(level, text.ptr, text.len);
}

// From here on is the other side of the contract; authors need not read it.

const head_room = 64 + max_steps * @sizeOf(Step);
// The plan as the host reads it, the verdicts at head_room; and the texts that are put behind them in the end.
var out: [head_room + max_candidates * @sizeOf(Verdict) + max_explanation + max_ask]u8 align(8) = undefined;
var explanation: [max_explanation]u8 = undefined;
var instruction: [max_ask]u8 = undefined;

fn append(to: []u8, text: []const u8) usize {
    var n = text.len;
    if (n > to.len) {
        n = to.len;
        while (n > 0 and text[n] & 0xC0 == 0x80) n -= 1;
    }
    @memcpy(to[0..n], text[0..n]);
    return n;
}

var heap: usize = 0;
var input: []u8 = &.{};
var facts: []u8 = &.{};
var parameters: []u8 = &.{};
var known: Snapshot = .{ .generation = 0, .wall_millis = 0, .count = 0, .stride = 0, .first = undefined, .blob = undefined };
var state: [max_state]u8 align(8) = undefined;
var next_state: [max_state]u8 align(8) = undefined;
var state_size: usize = 0;

/// Makes the memory at least so long. What was in it is lost, and nothing is freed: sizes double, so that no more is lost
/// than used.
fn reserve(memory: *[]u8, size: usize) void {
    if (memory.len >= size and memory.len > 0) return;
    const length = @max(64, size, memory.len * 2);
    if (heap == 0) heap = @wasmMemorySize(0) << 16;
    const start = heap;
    heap += (length + 15) & ~@as(usize, 15);
    const have = @wasmMemorySize(0) << 16;
    if (heap > have and @wasmMemoryGrow(0, (heap - have + 65535) >> 16) < 0) @trap();
    memory.* = @as([*]u8, @ptrFromInt(start))[0..length];
}

fn span(text: []const u8) u64 {
    return @as(u64, @intFromPtr(text.ptr)) << 32 | text.len;
}

const PlanHeader = extern struct {
    version: u16 = version,
    header: u16,
    kind: u8,
    flags: u8,
    reason: u16,
    steps: u16,
    step_stride: u16 = @sizeOf(Step),
    verdicts: u16,
    verdict_stride: u16 = @sizeOf(Verdict),
    explain_off: u32,
    explain_len: u32,
    max_output: u32,
    status: u16,
    reserved_2: u16 = 0,
    tag: u32,
    ask_off: u32,
    ask_len: u32,
    ask_input: u8,
    reserved_3: u8 = 0,
    ask_output: u16,
    reserved_4: [16]u8 = @splat(0),
};

/// Puts header and steps before the verdicts, and the texts behind them.
fn answer(p: *Plan) u64 {
    const rounds = p.tag != 0 or p.ask_input != 0 or p.ask_output != 0 or p.ask_size != 0;
    const header: usize = if (rounds) 64 else 32;
    const step_bytes = std.mem.sliceAsBytes(p.steps());
    const count = if (p.has_verdicts) p.candidates else 0;
    const start = head_room - step_bytes.len - header;
    const explained = head_room + count * @sizeOf(Verdict);
    const asked = explained + p.explain_size;
    @memcpy(out[explained..][0..p.explain_size], explanation[0..p.explain_size]);
    @memcpy(out[asked..][0..p.ask_size], instruction[0..p.ask_size]);
    @memcpy(out[start + header ..][0..step_bytes.len], step_bytes);
    const head: PlanHeader = .{
        .header = @intCast(header),
        .kind = p.kind,
        .flags = p.flags,
        .reason = p.reason,
        .steps = @intCast(p.step_count),
        .verdicts = @intCast(count),
        .explain_off = if (p.explain_size > 0) @intCast(explained - start) else 0,
        .explain_len = @intCast(p.explain_size),
        .max_output = p.max_output,
        .status = p.status,
        .tag = p.tag,
        .ask_off = if (p.ask_size > 0) @intCast(asked - start) else 0,
        .ask_len = @intCast(p.ask_size),
        .ask_input = p.ask_input,
        .ask_output = p.ask_output,
    };
    @memcpy(out[start..][0..header], std.mem.asBytes(&head)[0..header]);
    return span(out[start .. asked + p.ask_size]);
}

const SnapshotHeader = extern struct {
    version: u16,
    header: u16,
    count: u16,
    stride: u16,
    generation: u64,
    wall_millis: i64,
    blob_off: u32,
    blob_len: u32,
};

const OutcomesHeader = extern struct {
    version: u16,
    header: u16,
    count: u16,
    stride: u16,
    request_off: u32,
    request_len: u32,
    blob_off: u32,
    blob_len: u32,
};

fn readOutcomes() struct { Outcomes, *const Request } {
    const h: *align(1) const OutcomesHeader = @ptrCast(input.ptr);
    return .{
        .{ .count = h.count, .stride = h.stride, .first = input.ptr + h.header, .blob = input.ptr + h.blob_off },
        @ptrCast(input.ptr + h.request_off),
    };
}

/// Exports the policy that the declarations of P are. In a native test it does nothing.
pub fn exportPolicy(comptime P: type) void {
    if (!builtin.cpu.arch.isWasm()) return;
    const E = struct {
        fn abiVersion() callconv(.c) u32 {
            return version;
        }
        fn needs() callconv(.c) u32 {
            return if (@hasDecl(P, "needs")) P.needs else 0;
        }
        fn describe() callconv(.c) u64 {
            return span(if (@hasDecl(P, "description")) P.description else "");
        }
        fn buffer(size: usize) callconv(.c) usize {
            reserve(&input, size);
            return @intFromPtr(input.ptr);
        }
        fn configure(length: usize) callconv(.c) u32 {
            reserve(&parameters, length);
            @memcpy(parameters[0..length], input[0..length]);
            var rest: []const u8 = parameters[0..length];
            while (rest.len > 0) {
                const line = cut(&rest, '\n');
                const key, const value = pair(line);
                if (!@hasDecl(P, "configure") or !P.configure(key, value)) {
                    log(3, line);
                    return 1;
                }
            }
            return 0;
        }
        fn snapshot(length: usize) callconv(.c) u32 {
            reserve(&facts, length);
            @memcpy(facts[0..length], input[0..length]);
            const h: *align(1) const SnapshotHeader = @ptrCast(facts.ptr);
            known = .{
                .generation = h.generation,
                .wall_millis = h.wall_millis,
                .count = h.count,
                .stride = h.stride,
                .first = facts.ptr + h.header,
                .blob = facts.ptr + h.blob_off,
            };
            if (@hasDecl(P, "learn")) P.learn(&known);
            return 0;
        }
        fn remember(length: usize) callconv(.c) u32 {
            if (length > max_state) return 3;
            @memcpy(state[0..length], input[0..length]);
            state_size = length;
            if (@hasDecl(P, "remember") and !P.remember(&known, state[0..length])) return 3;
            return 0;
        }
        fn route(_: usize) callconv(.c) u64 {
            var p: Plan = .{ .candidates = known.count };
            P.route(&known, @ptrCast(input.ptr), &p);
            return answer(&p);
        }
        fn next(_: usize) callconv(.c) u64 {
            if (!@hasDecl(P, "next")) @trap(); // its plans end with the first round
            var p: Plan = .{ .candidates = known.count };
            const outcomes, const request = readOutcomes();
            P.next(&known, request, &outcomes, &p);
            return answer(&p);
        }
        fn observe(_: usize) callconv(.c) u64 {
            const outcomes, _ = readOutcomes();
            const size = if (@hasDecl(P, "observe")) P.observe(state[0..state_size], &outcomes, &next_state) else 0;
            return span(next_state[0..size]);
        }
    };
    @export(&E.abiVersion, .{ .name = "pointsman_abi_version" });
    @export(&E.needs, .{ .name = "pointsman_needs" });
    @export(&E.describe, .{ .name = "pointsman_describe" });
    @export(&E.buffer, .{ .name = "pointsman_buffer" });
    @export(&E.configure, .{ .name = "pointsman_configure" });
    @export(&E.snapshot, .{ .name = "pointsman_snapshot" });
    @export(&E.remember, .{ .name = "pointsman_state" });
    @export(&E.route, .{ .name = "pointsman_route" });
    @export(&E.next, .{ .name = "pointsman_next" });
    @export(&E.observe, .{ .name = "pointsman_observe" });
}
