//! A routing policy to start from: the reference policy, which every language's template holds, equal in every decision.
//! The README says what it does; its numbers are added in the order written here. Change it into yours.

const std = @import("std");
const pm = @import("pointsman.zig");

pub const description = "reference policy; Zig";
pub const needs = pm.grant_state;

const reason_tried = 1024;
const max_tallies = 256;
const halve_at = 256;

/// What became of a candidate's attempts: an entry of the state.
const Tally = extern struct { key: u64, successes: u32, failures: u32 };

var quality: f32 = 1;
var price: f32 = 1;
var speed: f32 = 0.5;
var prefer: []const u8 = "";
var most_steps: usize = 3;
var review = false;

var history_buffer: [max_tallies]Tally = undefined;
var history: []Tally = history_buffer[0..0]; // sorted by key
var scores: [pm.max_candidates]f32 = undefined; // without what the request adds
var barred: [pm.max_candidates]u16 = undefined; // why an earlier round rules a candidate out, or 0

pub fn configure(key: []const u8, value: []const u8) bool {
    if (std.mem.eql(u8, key, "prefer")) {
        prefer = value;
        return true;
    }
    if (std.mem.eql(u8, key, "review")) {
        review = pm.boolean(value) orelse return false;
        return true;
    }
    const n = pm.number(value) orelse return false;
    if (std.mem.eql(u8, key, "steps")) {
        if (n < 1 or n > pm.max_steps) return false;
        most_steps = @intFromFloat(n);
        return true;
    }
    const names = [_][]const u8{ "quality", "price", "speed" };
    for (names, [_]*f32{ &quality, &price, &speed }) |name, weight| {
        if (!std.mem.eql(u8, key, name)) continue;
        weight.* = @floatCast(n);
        return n <= 1000;
    }
    return false;
}

fn preferred(provider: []const u8) bool {
    var list = prefer;
    while (list.len > 0) {
        if (std.mem.eql(u8, pm.cut(&list, ','), provider)) return true;
    }
    return false;
}

/// Where the key is among the entries, or where it belongs.
fn find(entries: []const Tally, key: u64) usize {
    var low: usize = 0;
    var high = entries.len;
    while (low < high) {
        const middle = (low + high) / 2;
        if (entries[middle].key < key) low = middle + 1 else high = middle;
    }
    return low;
}

/// Computes all of the scores that does not depend on the request.
pub fn learn(s: *const pm.Snapshot) void {
    for (0..s.count) |i| {
        const c = s.candidate(i);
        var score = quality * c.quality;
        score -= price * (@as(f32, @floatFromInt(c.rate)) / 1e6);
        score += speed * (c.speed / 100);
        if (preferred(s.providerName(c))) score += 0.25;
        if (c.health == pm.health_degraded) score -= 0.5;
        const at = find(history, c.key);
        if (at < history.len and history[at].key == c.key) {
            const t = history[at];
            score -= 0.5 * @as(f32, @floatFromInt(t.failures)) / @as(f32, @floatFromInt(t.successes + t.failures));
        }
        scores[i] = score;
    }
}

/// Reads the entries of a state; null if it is not one of this policy.
fn decode(state: []const u8, to: *[max_tallies]Tally) ?[]Tally {
    if (state.len % @sizeOf(Tally) != 0 or state.len > @sizeOf(@TypeOf(to.*))) return null;
    @memcpy(std.mem.asBytes(to)[0..state.len], state);
    const entries = to[0 .. state.len / @sizeOf(Tally)];
    for (entries, 0..) |t, i| {
        if (t.successes >= halve_at or t.failures >= halve_at or t.successes + t.failures == 0) return null;
        if (i > 0 and entries[i - 1].key >= t.key) return null;
    }
    return entries;
}

pub fn remember(s: *const pm.Snapshot, state: []const u8) bool {
    history = decode(state, &history_buffer) orelse return false;
    learn(s);
    return true;
}

/// Plans the best candidates of those that are not barred. Returns false if there are none.
fn choose(s: *const pm.Snapshot, r: *const pm.Request, bars: bool, p: *pm.Plan) bool {
    const most = if (r.flags & pm.flag_no_fallback != 0) 1 else most_steps;
    const verdicts = p.verdicts();
    var running: usize = 0;
    for (verdicts, 0..) |*verdict, i| {
        const o = r.option(i);
        var why: u16 = o.excluded;
        if (why == 0 and r.privacy == pm.privacy_local and s.candidate(i).flags & pm.candidate_local == 0) why = pm.reason_not_local;
        if (why == 0 and bars) why = barred[i];
        if (why != 0) {
            verdict.* = .{ .reason = why };
            continue;
        }
        var score = scores[i];
        if (o.flags & pm.option_warm != 0) score += 0.1;
        verdict.* = .{ .score = score, .reason = pm.reason_outranked };
        running += 1;
        insert(p, most, i, score);
    }
    for (p.steps(), 1..) |step, rank| verdicts[step.candidate] = .{ .score = step.score, .rank = @intCast(rank) };
    if (p.step_count == 0) return false;
    p.kind = pm.kind_answer;
    p.reason = pm.because_band;
    p.explain("best of ");
    p.explainNumber(running);
    p.explain(": ");
    p.explain(s.modelName(s.candidate(p.steps()[0].candidate)));
    return true;
}

/// Puts a candidate behind those that are at least as good, and drops the last if there are too many.
fn insert(p: *pm.Plan, most: usize, candidate: usize, score: f32) void {
    if (p.step_count < most) {
        _ = p.step(0, 0, 0);
    } else if (score <= p.step_buffer[most - 1].score) {
        return;
    }
    const steps = p.steps();
    var at = steps.len - 1;
    while (at > 0 and steps[at - 1].score < score) : (at -= 1) steps[at] = steps[at - 1];
    steps[at] = .{ .candidate = @intCast(candidate), .score = score, .reason = pm.because_band };
}

fn reviews(r: *const pm.Request) bool {
    return review and r.flags & pm.flag_json != 0;
}

pub fn route(s: *const pm.Snapshot, r: *const pm.Request, p: *pm.Plan) void {
    if (!choose(s, r, false, p)) {
        p.kind = pm.kind_reject;
        p.reason = pm.because_nothing;
        p.explain("nothing can serve this request");
    } else if (reviews(r)) {
        p.flags = pm.plan_review;
        p.tag = 1;
    }
}

fn accept(p: *pm.Plan, why: []const u8) void {
    p.kind = pm.kind_accept;
    p.reason = pm.because_held;
    p.explain(why);
}

fn good(r: *const pm.Request, o: *const pm.Outcome) bool {
    if (o.flags & (pm.outcome_empty | pm.outcome_refusal) != 0) return false;
    return r.flags & pm.flag_json == 0 or o.flags & pm.outcome_json != 0;
}

pub fn next(s: *const pm.Snapshot, r: *const pm.Request, outcomes: *const pm.Outcomes, p: *pm.Plan) void {
    const last = outcomes.outcome(outcomes.count - 1);
    const answered = last.flags & pm.outcome_ok != 0;
    if (answered and good(r, last)) return accept(p, "the answer is good");
    const least = s.candidate(last.candidate).quality;
    for (barred[0..s.count], 0..) |*why, i| {
        why.* = if (answered and s.candidate(i).quality <= least) pm.reason_quality else 0;
    }
    var held = false;
    for (0..outcomes.count) |i| {
        const o = outcomes.outcome(i);
        barred[o.candidate] = reason_tried;
        held = held or o.kind == pm.kind_answer and o.flags & pm.outcome_ok != 0;
    }
    const round: u32 = @as(u32, last.round) + 1;
    if (round < pm.max_rounds and choose(s, r, true, p)) {
        p.tag = last.tag + 1;
        if (reviews(r) and round + 1 < pm.max_rounds) p.flags = pm.plan_review;
        return;
    }
    p.* = .{ .candidates = s.count };
    if (held) return accept(p, "nothing better is left");
    p.kind = pm.kind_reject;
    p.reason = pm.because_nothing;
    p.status = 502;
    p.explain("nothing answered");
}

var counted: [max_tallies]Tally = undefined;

/// Counts one outcome among n entries. Returns how many there are then.
fn count(n: usize, o: *const pm.Outcome) usize {
    const succeeded = o.flags & pm.outcome_ok != 0;
    if (!succeeded and (o.failure == pm.failure_none or o.failure > pm.failure_not_found)) return n;
    const at = find(counted[0..n], o.key);
    var total = n;
    if (at == n or counted[at].key != o.key) {
        if (n == max_tallies) return n;
        total += 1;
        var i = n;
        while (i > at) : (i -= 1) counted[i] = counted[i - 1];
        counted[at] = .{ .key = o.key, .successes = 0, .failures = 0 };
    }
    const t = &counted[at];
    if (succeeded) t.successes += 1 else t.failures += 1;
    if (t.successes + t.failures == halve_at) {
        t.successes /= 2;
        t.failures /= 2;
    }
    return total;
}

pub fn observe(state: []const u8, outcomes: *const pm.Outcomes, to: []u8) usize {
    var n = if (decode(state, &counted)) |entries| entries.len else 0;
    for (0..outcomes.count) |i| n = count(n, outcomes.outcome(i));
    const bytes = std.mem.sliceAsBytes(counted[0..n]);
    @memcpy(to[0..bytes.len], bytes);
    return bytes.len;
}

comptime {
    pm.exportPolicy(@This());
}

test "parameters" {
    try std.testing.expect(configure("quality", "1.5") and quality == 1.5);
    try std.testing.expect(configure("prefer", "groq,openai") and preferred("openai") and !preferred("open"));
    try std.testing.expect(!configure("quality", "1e3") and !configure("steps", "9") and !configure("nonsense", "1"));
    try std.testing.expect(pm.number(".5") == null and pm.number("0.0000001") == null and pm.number("12.25").? == 12.25);
}

test "entries are found or placed" {
    const entries = [_]Tally{ .{ .key = 3, .successes = 1, .failures = 0 }, .{ .key = 7, .successes = 0, .failures = 2 } };
    for ([_]u64{ 1, 3, 5, 7, 9 }, [_]usize{ 0, 0, 1, 1, 2 }) |key, at| try std.testing.expectEqual(at, find(&entries, key));
}
