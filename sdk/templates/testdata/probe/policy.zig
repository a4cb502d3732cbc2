//! Folds everything that a policy can be told into one number, and uses everything that a plan can say: see probe_test.go.

const std = @import("std");
const pm = @import("pointsman.zig");

pub const description = "probe";
pub const needs = pm.grant_text | pm.grant_metadata | pm.grant_side_calls | pm.grant_state;

var settings: Hash = .{};
var remembered: Hash = .{ .value = 0 };

const Hash = struct {
    value: u64 = 14695981039346656037,

    fn fold(h: *Hash, v: anytype) void {
        const bits: u64 = switch (@TypeOf(v)) {
            f32 => @as(u32, @bitCast(v)),
            i64 => @bitCast(v),
            else => v,
        };
        h.value = (h.value ^ bits) *% 1099511628211;
    }

    fn all(h: *Hash, values: anytype) void {
        inline for (values) |v| h.fold(v);
    }

    fn text(h: *Hash, bytes: []const u8) void {
        h.fold(@as(u64, bytes.len));
        for (bytes) |b| h.fold(b);
    }
};

pub fn configure(key: []const u8, value: []const u8) bool {
    settings.text(key);
    settings.text(value);
    if (pm.number(value)) |n| settings.fold(@as(u64, @intFromFloat(n * 1e6)));
    pm.log(1, key);
    return true;
}

pub fn remember(_: *const pm.Snapshot, state: []const u8) bool {
    remembered = .{ .value = 1 };
    remembered.text(state);
    return state.len != 1;
}

fn facts(s: *const pm.Snapshot, r: *const pm.Request) Hash {
    var h = settings;
    h.all(.{ remembered.value, s.generation, s.wall_millis, @as(u64, s.count) });
    for (0..s.count) |i| {
        const c = s.candidate(i);
        h.all(.{ c.key, c.model, c.provider, c.tier, c.health, c.mode, c.capabilities, c.strengths, c.context, c.max_output });
        h.all(.{ c.rate, c.price_in, c.price_out, c.price_cache, c.quality, c.ttft, c.speed, c.error_rate, c.samples, c.flags });
        h.text(s.modelName(c));
        h.text(s.providerName(c));
        const o = r.option(i);
        h.all(.{ o.excluded, o.flags, o.inflight });
    }
    h.all(.{ r.generation, r.seed, r.level, r.task, r.privacy, r.latency, r.account_tier, r.flags, r.model, r.needs, r.input });
    h.all(.{ r.max_output, r.messages, r.credits, r.session, r.state });
    h.text(r.text());
    h.text(r.metadata());
    return h;
}

pub fn route(s: *const pm.Snapshot, r: *const pm.Request, p: *pm.Plan) void {
    const h = facts(s, r).value;
    p.explain("facts ");
    p.explainNumber(h);
    if (s.count == 0) {
        p.kind = pm.kind_reject;
        p.status = 418;
        return;
    }
    p.kind = pm.kind_ask;
    p.reason = 1025;
    p.max_output = 4321;
    p.tag = @truncate(h);
    p.ask_input = pm.ask_prompt;
    p.ask_output = 77;
    p.ask("account ");
    p.ask(pm.lookup(r.metadata(), "account") orelse "");
    for (0..30) |_| p.ask(r.text()); // cut where that gets too long
    for (0..@min(s.count, pm.max_steps)) |i| {
        const step = p.step(i, -0.5, 1026).?;
        step.attempts = 2;
        step.timeout = 1500;
        step.hedge = 250 + @as(u32, @intCast(i));
    }
}

fn history(outcomes: *const pm.Outcomes, begin: Hash) Hash {
    var h = begin;
    for (0..outcomes.count) |i| {
        const o = outcomes.outcome(i);
        h.all(.{ o.key, o.credits, o.candidate, o.http, o.tag, o.input, o.output, o.ttft, o.latency, o.flags });
        h.all(.{ o.round, o.kind, o.failure, o.finish, o.level, o.task });
        h.text(outcomes.text(o));
    }
    return h;
}

pub fn next(s: *const pm.Snapshot, r: *const pm.Request, outcomes: *const pm.Outcomes, p: *pm.Plan) void {
    p.kind = pm.kind_reject;
    p.status = 599;
    p.explainNumber(history(outcomes, facts(s, r)).value);
    for (0..9) |_| p.explain(r.text());
    for (p.verdicts(), 2000..) |*verdict, reason| verdict.* = .{ .score = 0.25, .reason = @intCast(reason) };
}

pub fn observe(state: []const u8, outcomes: *const pm.Outcomes, to: []u8) usize {
    var h: Hash = .{ .value = 3 };
    h.text(state);
    std.mem.writeInt(u64, to[0..8], history(outcomes, h).value, .little);
    return 8;
}

comptime {
    pm.exportPolicy(@This());
}
