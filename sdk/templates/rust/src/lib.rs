//! A routing policy to start from: the reference policy, which every language's template holds, equal in every decision.
//! The README says what it does; its numbers are added in the order written here. Change it into yours.
#![cfg_attr(not(test), no_std)]

mod pointsman;
use pointsman::*;

/// The candidate had its chance in an earlier round.
const REASON_TRIED: u16 = 1024;
const MAX_TALLIES: usize = 256;
const TALLY_SIZE: usize = 16;
const HALVE_AT: u32 = 256;

/// What became of a candidate's attempts: an entry of the state.
#[derive(Clone, Copy)]
struct Tally {
    key: u64,
    successes: u32,
    failures: u32,
}

/// Tallies, sorted by key.
struct Tallies {
    entries: Table<Tally>,
    count: usize,
}

impl Tallies {
    const fn new() -> Tallies {
        Tallies { entries: Table::new(), count: 0 }
    }

    /// Where the key is, or where it belongs.
    fn find(&self, key: u64) -> Result<usize, usize> {
        self.entries[..self.count].binary_search_by_key(&key, |t| t.key)
    }

    /// Reads a state. Returns false, and has no entries, if it is not one of this policy.
    fn decode(&mut self, state: &[u8]) -> bool {
        self.entries.resize(MAX_TALLIES, Tally { key: 0, successes: 0, failures: 0 });
        self.count = 0;
        if state.len() % TALLY_SIZE != 0 || state.len() > MAX_TALLIES * TALLY_SIZE {
            return false;
        }
        for (i, entry) in state.chunks_exact(TALLY_SIZE).enumerate() {
            let (key, counts) = entry.split_at(8);
            let number = |at| u32::from_le_bytes(counts[at..at + 4].try_into().unwrap());
            let t = Tally { key: u64::from_le_bytes(key.try_into().unwrap()), successes: number(0), failures: number(4) };
            let counted = t.successes < HALVE_AT && t.failures < HALVE_AT && t.successes + t.failures > 0;
            if !counted || i > 0 && self.entries[i - 1].key >= t.key {
                self.count = 0;
                return false;
            }
            self.entries[i] = t;
            self.count = i + 1;
        }
        true
    }

    /// Writes the state and returns its size.
    fn encode(&self, to: &mut [u8]) -> usize {
        for (t, entry) in self.entries[..self.count].iter().zip(to.chunks_exact_mut(TALLY_SIZE)) {
            entry[..8].copy_from_slice(&t.key.to_le_bytes());
            entry[8..12].copy_from_slice(&t.successes.to_le_bytes());
            entry[12..].copy_from_slice(&t.failures.to_le_bytes());
        }
        self.count * TALLY_SIZE
    }

    fn add(&mut self, o: &Outcome) {
        let succeeded = o.flags & OUTCOME_OK != 0;
        if !succeeded && (o.failure == FAILURE_NONE || o.failure > FAILURE_NOT_FOUND) {
            return;
        }
        let at = match self.find(o.key) {
            Ok(at) => at,
            Err(_) if self.count == MAX_TALLIES => return,
            Err(at) => {
                self.entries.copy_within(at..self.count, at + 1);
                self.entries[at] = Tally { key: o.key, successes: 0, failures: 0 };
                self.count += 1;
                at
            }
        };
        let t = &mut self.entries[at];
        if succeeded {
            t.successes += 1;
        } else {
            t.failures += 1;
        }
        if t.successes + t.failures == HALVE_AT {
            t.successes /= 2;
            t.failures /= 2;
        }
    }
}

struct Reference {
    quality: f32,
    price: f32,
    speed: f32,
    prefer: &'static [u8],
    steps: usize,
    review: bool,
    history: Tallies,
    counted: Tallies,   // what observe works on
    scores: Table<f32>, // without what the request adds
    barred: Table<u16>, // why an earlier round rules a candidate out, or 0
}

impl Reference {
    const fn new() -> Reference {
        Reference {
            quality: 1.0,
            price: 1.0,
            speed: 0.5,
            prefer: b"",
            steps: 3,
            review: false,
            history: Tallies::new(),
            counted: Tallies::new(),
            scores: Table::new(),
            barred: Table::new(),
        }
    }
}

impl Policy for Reference {
    const DESCRIPTION: &'static str = "reference policy; Rust";
    const NEEDS: u32 = GRANT_STATE;

    fn configure(&mut self, key: &'static [u8], value: &'static [u8]) -> bool {
        if key == b"prefer" {
            self.prefer = value;
            return true;
        }
        if key == b"review" {
            self.review = boolean(value) == Some(true);
            return boolean(value).is_some();
        }
        let Some(n) = number(value) else { return false };
        match key {
            b"quality" => self.quality = n as f32,
            b"price" => self.price = n as f32,
            b"speed" => self.speed = n as f32,
            b"steps" => self.steps = n as usize,
            _ => return false,
        }
        match key {
            b"steps" => n >= 1.0 && n <= MAX_STEPS as f64,
            _ => n <= 1000.0,
        }
    }

    fn learn(&mut self, s: &Snapshot) {
        self.scores.resize(s.count(), 0.0);
        self.barred.resize(s.count(), 0);
        for (i, c) in s.candidates().enumerate() {
            self.scores[i] = self.score(s, c);
        }
    }

    fn remember(&mut self, s: &Snapshot, state: &[u8]) -> bool {
        let known = self.history.decode(state);
        self.learn(s);
        known
    }

    fn route(&mut self, s: &Snapshot, r: &Request, p: &mut Plan) {
        if !self.choose(s, r, false, p) {
            p.kind = KIND_REJECT;
            p.reason = BECAUSE_NOTHING;
            p.explain("nothing can serve this request");
        } else if self.reviews(r) {
            p.flags = PLAN_REVIEW;
            p.tag = 1;
        }
    }

    fn next(&mut self, s: &Snapshot, r: &Request, outcomes: &Outcomes, p: &mut Plan) {
        let last = outcomes.outcome(outcomes.count() - 1);
        let answered = last.flags & OUTCOME_OK != 0;
        if answered && good(r, last) {
            return accept(p, "the answer is good");
        }
        let least = s.candidate(last.candidate.into()).quality;
        for (why, c) in self.barred.iter_mut().zip(s.candidates()) {
            *why = if answered && c.quality <= least { REASON_QUALITY } else { 0 };
        }
        let mut held = false;
        for o in outcomes.iter() {
            self.barred[usize::from(o.candidate)] = REASON_TRIED;
            held |= o.kind == KIND_ANSWER && o.flags & OUTCOME_OK != 0;
        }
        let round = usize::from(last.round) + 1;
        if round < MAX_ROUNDS && self.choose(s, r, true, p) {
            p.tag = last.tag + 1;
            if self.reviews(r) && round + 1 < MAX_ROUNDS {
                p.flags = PLAN_REVIEW;
            }
            return;
        }
        p.reset();
        if held {
            return accept(p, "nothing better is left");
        }
        p.kind = KIND_REJECT;
        p.reason = BECAUSE_NOTHING;
        p.status = 502;
        p.explain("nothing answered");
    }

    fn observe(&mut self, state: &[u8], outcomes: &Outcomes, next: &mut [u8]) -> usize {
        self.counted.decode(state);
        for o in outcomes.iter() {
            self.counted.add(o);
        }
        self.counted.encode(next)
    }
}

impl Reference {
    /// All of the score that does not depend on the request.
    fn score(&self, s: &Snapshot, c: &Candidate) -> f32 {
        let mut score = self.quality * c.quality;
        score -= self.price * (c.rate as f32 / 1e6);
        score += self.speed * (c.speed / 100.0);
        let provider = s.provider_name(c);
        if !self.prefer.is_empty() && self.prefer.split(|&c| c == b',').any(|name| name == provider) {
            score += 0.25;
        }
        if c.health == HEALTH_DEGRADED {
            score -= 0.5;
        }
        if let Ok(at) = self.history.find(c.key) {
            let t = self.history.entries[at];
            score -= 0.5 * t.failures as f32 / (t.successes + t.failures) as f32;
        }
        score
    }

    /// Plans the best candidates of those that are not barred. Returns false if there are none.
    fn choose(&self, s: &Snapshot, r: &Request, bars: bool, p: &mut Plan) -> bool {
        let most = if r.flags & FLAG_NO_FALLBACK != 0 { 1 } else { self.steps };
        let mut running = 0;
        for i in 0..s.count() {
            let o = r.option(i);
            let mut why = u16::from(o.excluded);
            if why == 0 && r.privacy == PRIVACY_LOCAL && s.candidate(i).flags & CANDIDATE_LOCAL == 0 {
                why = REASON_NOT_LOCAL;
            }
            if why == 0 && bars {
                why = self.barred[i];
            }
            if why != 0 {
                p.verdict(i, 0.0, why, 0);
                continue;
            }
            let mut score = self.scores[i];
            if o.flags & OPTION_WARM != 0 {
                score += 0.1;
            }
            p.verdict(i, score, REASON_OUTRANKED, 0);
            running += 1;
            insert(p, most, i, score);
        }
        let chosen = p.steps().len();
        for rank in 0..chosen {
            let step = p.steps()[rank];
            p.verdict(step.candidate.into(), step.score, 0, rank as u16 + 1);
        }
        if chosen == 0 {
            return false;
        }
        let first = p.steps()[0].candidate.into();
        p.kind = KIND_ANSWER;
        p.reason = BECAUSE_BAND;
        p.explain("best of ");
        p.explain_number(running);
        p.explain(": ");
        p.explain(s.model_name(s.candidate(first)));
        true
    }

    fn reviews(&self, r: &Request) -> bool {
        self.review && r.flags & FLAG_JSON != 0
    }
}

/// Puts a candidate behind those that are at least as good, and drops the last if there are too many.
fn insert(p: &mut Plan, most: usize, candidate: usize, score: f32) {
    match p.steps().get(most - 1) {
        None => p.step(0, 0.0, 0),
        Some(last) if score <= last.score => return,
        Some(_) => {}
    }
    let steps = p.steps();
    let mut at = steps.len() - 1;
    while at > 0 && steps[at - 1].score < score {
        steps[at] = steps[at - 1];
        at -= 1;
    }
    steps[at] = Step::new(candidate, score, BECAUSE_BAND);
}

fn accept(p: &mut Plan, why: &str) {
    p.kind = KIND_ACCEPT;
    p.reason = BECAUSE_HELD;
    p.explain(why);
}

fn good(r: &Request, o: &Outcome) -> bool {
    let unusable = o.flags & (OUTCOME_EMPTY | OUTCOME_REFUSAL) != 0;
    !unusable && (r.flags & FLAG_JSON == 0 || o.flags & OUTCOME_JSON != 0)
}

export_policy!(Reference, Reference::new());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let mut p = Reference::new();
        assert!(p.configure(b"quality", b"1.5") && p.quality == 1.5);
        assert!(p.configure(b"prefer", b"groq,openai"));
        for (key, value) in [("quality", "1e3"), ("quality", "1001"), ("steps", "9"), ("review", "2"), ("nonsense", "1")] {
            assert!(!p.configure(key.as_bytes(), value.as_bytes()), "{key}={value}");
        }
        assert_eq!((number(b".5"), number(b"1."), number(b"12.25")), (None, None, Some(12.25)));
    }

    #[test]
    fn states() {
        let mut known = Tallies::new();
        let state =
            [[1u64.to_le_bytes(), [2, 0, 0, 0, 1, 0, 0, 0]], [9u64.to_le_bytes(), [0, 0, 0, 0, 7, 0, 0, 0]]].concat().concat();
        let mut again = [0; 64];
        assert!(known.decode(&state) && known.encode(&mut again) == 32 && again[..32] == state);
        assert_eq!((known.find(9), known.find(2)), (Ok(1), Err(1)));
        assert!(!known.decode(&state[..31]) && !known.decode(&[&state[16..], &state[..16]].concat()));
    }
}
