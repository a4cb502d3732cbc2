// A routing policy to start from: the reference policy, which every language's template holds, equal in every decision.
// The README says what it does; its numbers are added in the order written here. Change it into yours.

#include "pointsman.h"

enum { reason_tried = 1024, max_tallies = 256, halve_at = 256 };

// What became of a candidate's attempts: an entry of the state.
typedef struct PM_RECORD {
	uint64_t key;
	uint32_t successes, failures;
} tally;

static float quality = 1, price = 1, speed = 0.5f;
static pm_text prefer;
static uint32_t max_steps = 3;
static bool review;

static const tally *history; // sorted by key
static uint32_t tallies;
static float scores[PM_MAX_CANDIDATES];    // without what the request adds
static uint16_t barred[PM_MAX_CANDIDATES]; // why an earlier round rules a candidate out, or 0

static bool weight(pm_text value, float *to) {
	double n;
	if (!pm_number(value, &n) || n > 1000) return false;
	*to = (float)n;
	return true;
}

static bool configure(pm_text key, pm_text value) {
	double n;
	if (pm_equal(key, PM_TEXT("quality"))) return weight(value, &quality);
	if (pm_equal(key, PM_TEXT("price"))) return weight(value, &price);
	if (pm_equal(key, PM_TEXT("speed"))) return weight(value, &speed);
	if (pm_equal(key, PM_TEXT("prefer"))) {
		prefer = value;
		return true;
	}
	if (pm_equal(key, PM_TEXT("steps")) && pm_number(value, &n) && n >= 1 && n <= PM_MAX_STEPS) {
		max_steps = (uint32_t)n;
		return true;
	}
	return pm_equal(key, PM_TEXT("review")) && pm_boolean(value, &review);
}

static bool preferred(pm_text provider) {
	for (pm_text list = prefer; list.size > 0;) {
		if (pm_equal(pm_cut(&list, ','), provider)) return true;
	}
	return false;
}

// Where the key is among n entries, or where it belongs.
static uint32_t find(const tally *entries, uint32_t n, uint64_t key) {
	uint32_t low = 0;
	while (low < n) {
		uint32_t middle = (low + n) / 2;
		if (entries[middle].key < key) low = middle + 1;
		else n = middle;
	}
	return low;
}

// Computes all of the scores that does not depend on the request.
static void learn(const pm_snapshot *s) {
	for (uint32_t i = 0; i < s->count; i++) {
		const pm_candidate *c = pm_candidate_at(s, i);
		float score = quality * c->quality;
		score -= price * ((float)c->rate / 1000000.0f);
		score += speed * (c->speed / 100.0f);
		if (preferred(pm_provider_name(s, c))) score += 0.25f;
		if (c->health == PM_HEALTH_DEGRADED) score -= 0.5f;
		uint32_t at = find(history, tallies, c->key);
		if (at < tallies && history[at].key == c->key) {
			const tally *t = &history[at];
			score -= 0.5f * (float)t->failures / (float)(t->successes + t->failures);
		}
		scores[i] = score;
	}
}

// The number of entries in a state, or -1 if it is not one of this policy.
static int32_t check(pm_text state) {
	const tally *t = (const tally *)state.at;
	uint32_t n = state.size / sizeof(tally);
	if (state.size % sizeof(tally) || n > max_tallies) return -1;
	for (uint32_t i = 0; i < n; i++) {
		bool counts = t[i].successes < halve_at && t[i].failures < halve_at && t[i].successes + t[i].failures > 0;
		if (!counts || (i > 0 && t[i - 1].key >= t[i].key)) return -1;
	}
	return (int32_t)n;
}

static bool remember(const pm_snapshot *s, pm_text state) {
	int32_t n = check(state);
	if (n < 0) return false;
	history = (const tally *)state.at;
	tallies = (uint32_t)n;
	learn(s);
	return true;
}

// Plans the best candidates of those that are not barred. Returns false if there are none.
static bool choose(const pm_snapshot *s, const pm_request *r, bool bars, pm_plan *p) {
	uint32_t most = r->flags & PM_FLAG_NO_FALLBACK ? 1 : max_steps, running = 0;
	pm_verdict *verdicts = pm_plan_verdicts(p);
	for (uint32_t i = 0; i < s->count; i++) {
		const pm_option *o = pm_option_at(r, i);
		uint16_t why = o->excluded;
		if (!why && r->privacy == PM_PRIVACY_LOCAL && !(pm_candidate_at(s, i)->flags & PM_CANDIDATE_LOCAL)) why = PM_REASON_NOT_LOCAL;
		if (!why && bars) why = barred[i];
		if (why) {
			verdicts[i] = (pm_verdict){.reason = why};
			continue;
		}
		float score = scores[i];
		if (o->flags & PM_OPTION_WARM) score += 0.1f;
		verdicts[i] = (pm_verdict){.score = score, .reason = PM_REASON_OUTRANKED};
		running++;
		if (p->step_count < most) pm_plan_step(p, 0, 0, 0);
		else if (!(score > p->steps[most - 1].score)) continue;
		uint32_t at = p->step_count - 1;
		for (; at > 0 && p->steps[at - 1].score < score; at--) p->steps[at] = p->steps[at - 1];
		p->steps[at] = (pm_step){.candidate = (uint16_t)i, .attempts = 1, .score = score, .reason = PM_BECAUSE_BAND};
	}
	for (uint32_t i = 0; i < p->step_count; i++) {
		verdicts[p->steps[i].candidate] = (pm_verdict){.score = p->steps[i].score, .rank = (uint16_t)(i + 1)};
	}
	if (p->step_count == 0) return false;
	p->kind = PM_KIND_ANSWER;
	p->reason = PM_BECAUSE_BAND;
	pm_explain(p, PM_TEXT("best of "));
	pm_explain_number(p, running);
	pm_explain(p, PM_TEXT(": "));
	pm_explain(p, pm_model_name(s, pm_candidate_at(s, p->steps[0].candidate)));
	return true;
}

static bool reviews(const pm_request *r) { return review && (r->flags & PM_FLAG_JSON); }

static void route(const pm_snapshot *s, const pm_request *r, pm_plan *p) {
	if (!choose(s, r, false, p)) {
		p->kind = PM_KIND_REJECT;
		p->reason = PM_BECAUSE_NOTHING;
		pm_explain(p, PM_TEXT("nothing can serve this request"));
	} else if (reviews(r)) {
		p->flags = PM_PLAN_REVIEW;
		p->tag = 1;
	}
}

static void accept(pm_plan *p, pm_text why) {
	p->kind = PM_KIND_ACCEPT;
	p->reason = PM_BECAUSE_HELD;
	pm_explain(p, why);
}

static bool good(const pm_request *r, const pm_outcome *o) {
	if (o->flags & (PM_OUTCOME_EMPTY | PM_OUTCOME_REFUSAL)) return false;
	return !(r->flags & PM_FLAG_JSON) || (o->flags & PM_OUTCOME_JSON);
}

static void next(const pm_snapshot *s, const pm_request *r, const pm_outcomes *outcomes, pm_plan *p) {
	const pm_outcome *last = pm_outcome_at(outcomes, outcomes->count - 1);
	bool answered = last->flags & PM_OUTCOME_OK, held = false;
	if (answered && good(r, last)) {
		accept(p, PM_TEXT("the answer is good"));
		return;
	}
	float least = pm_candidate_at(s, last->candidate)->quality;
	for (uint32_t i = 0; i < s->count; i++) {
		barred[i] = answered && pm_candidate_at(s, i)->quality <= least ? PM_REASON_QUALITY : 0;
	}
	for (uint32_t i = 0; i < outcomes->count; i++) {
		const pm_outcome *o = pm_outcome_at(outcomes, i);
		barred[o->candidate] = reason_tried;
		held = held || (o->kind == PM_KIND_ANSWER && (o->flags & PM_OUTCOME_OK));
	}
	uint32_t round = last->round + 1;
	if (round < PM_MAX_ROUNDS && choose(s, r, true, p)) {
		p->tag = last->tag + 1;
		if (reviews(r) && round + 1 < PM_MAX_ROUNDS) p->flags = PM_PLAN_REVIEW;
		return;
	}
	p->verdicts = 0;
	if (held) {
		accept(p, PM_TEXT("nothing better is left"));
		return;
	}
	p->kind = PM_KIND_REJECT;
	p->reason = PM_BECAUSE_NOTHING;
	p->status = 502;
	pm_explain(p, PM_TEXT("nothing answered"));
}

// Counts one outcome among n entries. Returns how many there are then.
static uint32_t count(tally *entries, uint32_t n, const pm_outcome *o) {
	bool succeeded = o->flags & PM_OUTCOME_OK;
	if (!succeeded && (o->failure == PM_FAILURE_NONE || o->failure > PM_FAILURE_NOT_FOUND)) return n;
	uint32_t at = find(entries, n, o->key);
	if (at == n || entries[at].key != o->key) {
		if (n == max_tallies) return n;
		for (uint32_t i = n++; i > at; i--) entries[i] = entries[i - 1];
		entries[at] = (tally){.key = o->key};
	}
	tally *t = &entries[at];
	if (succeeded) t->successes++;
	else t->failures++;
	if (t->successes + t->failures == halve_at) {
		t->successes /= 2;
		t->failures /= 2;
	}
	return n;
}

static uint32_t observe(pm_text state, const pm_outcomes *outcomes, uint8_t *to) {
	tally *entries = (tally *)to;
	int32_t known = check(state);
	uint32_t n = known < 0 ? 0 : (uint32_t)known;
	for (uint32_t i = 0; i < n; i++) entries[i] = ((const tally *)state.at)[i];
	for (uint32_t i = 0; i < outcomes->count; i++) n = count(entries, n, pm_outcome_at(outcomes, i));
	return n * sizeof(tally);
}

PM_EXPORT_POLICY(((pm_policy){
	.describe = "reference policy; C",
	.needs = PM_GRANT_STATE,
	.configure = configure,
	.learn = learn,
	.remember = remember,
	.route = route,
	.next = next,
	.observe = observe,
}))
