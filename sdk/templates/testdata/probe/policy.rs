//! Folds everything that a policy can be told into one number, and uses everything that a plan can say: see probe_test.go.
#![no_std]

mod pointsman;
use pointsman::*;

#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn fold(&mut self, v: u64) {
        self.0 = (self.0 ^ v).wrapping_mul(1099511628211);
    }

    fn all<const N: usize>(&mut self, values: [u64; N]) {
        values.into_iter().for_each(|v| self.fold(v));
    }

    fn text(&mut self, text: &[u8]) {
        self.fold(text.len() as u64);
        text.iter().for_each(|&b| self.fold(b.into()));
    }
}

fn bits(v: f32) -> u64 {
    v.to_bits().into()
}

struct Probe {
    settings: Hash,
    remembered: Hash,
}

impl Probe {
    fn facts(&self, s: &Snapshot, r: &Request) -> Hash {
        let mut h = self.settings;
        h.all([self.remembered.0, s.generation, s.wall_millis as u64, s.count() as u64]);
        for (i, c) in s.candidates().enumerate() {
            h.all([c.key, c.model.into(), c.provider.into(), c.tier.into(), c.health.into(), c.mode.into()]);
            h.all([c.capabilities.into(), c.strengths.into(), c.context.into(), c.max_output.into()]);
            h.all([c.rate as u64, c.price_in as u64, c.price_out as u64, c.price_cache as u64]);
            h.all([bits(c.quality), bits(c.ttft), bits(c.speed), bits(c.error_rate), c.samples.into(), c.flags.into()]);
            h.text(s.model_name(c));
            h.text(s.provider_name(c));
            let o = r.option(i);
            h.all([o.excluded.into(), o.flags.into(), o.inflight.into()]);
        }
        h.all([r.generation, r.seed, r.level.into(), r.task.into(), r.privacy.into(), r.latency.into(), r.account_tier.into()]);
        h.all([r.flags.into(), r.model.into(), r.needs.into(), r.input.into(), r.max_output.into(), r.messages.into()]);
        h.all([r.credits as u64, r.session, r.state]);
        h.text(r.text());
        h.text(r.metadata());
        h
    }
}

fn history(outcomes: &Outcomes, mut h: Hash) -> Hash {
    for o in outcomes.iter() {
        h.all([o.key, o.credits as u64, o.candidate.into(), o.http.into(), o.tag.into(), o.input.into(), o.output.into()]);
        h.all([bits(o.ttft), bits(o.latency), o.flags.into(), o.round.into(), o.kind.into(), o.failure.into(), o.finish.into()]);
        h.all([o.level.into(), o.task.into()]);
        h.text(outcomes.text(o));
    }
    h
}

impl Policy for Probe {
    const DESCRIPTION: &'static str = "probe";
    const NEEDS: u32 = GRANT_TEXT | GRANT_METADATA | GRANT_SIDE_CALLS | GRANT_STATE;

    fn configure(&mut self, key: &'static [u8], value: &'static [u8]) -> bool {
        self.settings.text(key);
        self.settings.text(value);
        if let Some(n) = number(value) {
            self.settings.fold((n * 1e6) as u64);
        }
        log(1, key);
        true
    }

    fn remember(&mut self, _: &Snapshot, state: &[u8]) -> bool {
        self.remembered = Hash(1);
        self.remembered.text(state);
        state.len() != 1
    }

    fn route(&mut self, s: &Snapshot, r: &Request, p: &mut Plan) {
        let h = self.facts(s, r).0;
        p.explain("facts ");
        p.explain_number(h);
        if s.count() == 0 {
            p.kind = KIND_REJECT;
            p.status = 418;
            return;
        }
        p.kind = KIND_ASK;
        p.reason = 1025;
        p.max_output = 4321;
        p.tag = h as u32;
        p.ask_input = ASK_PROMPT;
        p.ask_output = 77;
        p.ask("account ");
        p.ask(lookup(r.metadata(), b"account").unwrap_or(b""));
        for _ in 0..30 {
            p.ask(r.text()); // cut where that gets too long
        }
        for i in 0..s.count() {
            p.step(i, -0.5, 1026);
        }
        for (i, step) in p.steps().iter_mut().enumerate() {
            step.attempts = 2;
            step.timeout = 1500;
            step.hedge = 250 + i as u32;
        }
    }

    fn next(&mut self, s: &Snapshot, r: &Request, outcomes: &Outcomes, p: &mut Plan) {
        p.kind = KIND_REJECT;
        p.status = 599;
        p.explain_number(history(outcomes, self.facts(s, r)).0);
        for _ in 0..9 {
            p.explain(r.text());
        }
        for i in 0..s.count() {
            p.verdict(i, 0.25, 2000 + i as u16, 0);
        }
    }

    fn observe(&mut self, state: &[u8], outcomes: &Outcomes, next: &mut [u8]) -> usize {
        let mut h = Hash(3);
        h.text(state);
        next[..8].copy_from_slice(&history(outcomes, h).0.to_le_bytes());
        8
    }
}

export_policy!(Probe, Probe { settings: Hash(14695981039346656037), remembered: Hash(0) });
