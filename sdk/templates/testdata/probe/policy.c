// Folds everything that a policy can be told into one number, and uses everything that a plan can say: see probe_test.go.

#include "pointsman.h"

static uint64_t settings = 14695981039346656037u, remembered;

static void fold(uint64_t *hash, uint64_t v) { *hash = (*hash ^ v) * 1099511628211u; }

static void fold_float(uint64_t *hash, float v) {
	uint32_t bits;
	__builtin_memcpy(&bits, &v, 4);
	fold(hash, bits);
}

static void fold_text(uint64_t *hash, pm_text text) {
	fold(hash, text.size);
	for (uint32_t i = 0; i < text.size; i++) fold(hash, (uint8_t)text.at[i]);
}

static bool configure(pm_text key, pm_text value) {
	double n;
	fold_text(&settings, key);
	fold_text(&settings, value);
	if (pm_number(value, &n)) fold(&settings, (uint64_t)(n * 1e6));
	pm_log(1, key);
	return true;
}

static bool remember(const pm_snapshot *s, pm_text state) {
	(void)s;
	remembered = 1;
	fold_text(&remembered, state);
	return state.size != 1;
}

static uint64_t facts(const pm_snapshot *s, const pm_request *r) {
	uint64_t h = settings;
	fold(&h, remembered);
	fold(&h, s->generation), fold(&h, (uint64_t)s->wall_millis), fold(&h, s->count);
	for (uint32_t i = 0; i < s->count; i++) {
		const pm_candidate *c = pm_candidate_at(s, i);
		fold(&h, c->key), fold(&h, c->model), fold(&h, c->provider), fold(&h, c->tier), fold(&h, c->health), fold(&h, c->mode);
		fold(&h, c->capabilities), fold(&h, c->strengths), fold(&h, c->context), fold(&h, c->max_output);
		fold(&h, (uint64_t)c->rate), fold(&h, (uint64_t)c->price_in), fold(&h, (uint64_t)c->price_out), fold(&h, (uint64_t)c->price_cache);
		fold_float(&h, c->quality), fold_float(&h, c->ttft), fold_float(&h, c->speed), fold_float(&h, c->error_rate);
		fold(&h, c->samples), fold(&h, c->flags);
		fold_text(&h, pm_model_name(s, c)), fold_text(&h, pm_provider_name(s, c));
		const pm_option *o = pm_option_at(r, i);
		fold(&h, o->excluded), fold(&h, o->flags), fold(&h, o->inflight);
	}
	fold(&h, r->generation), fold(&h, r->seed), fold(&h, r->level), fold(&h, r->task), fold(&h, r->privacy), fold(&h, r->latency);
	fold(&h, r->account_tier), fold(&h, r->flags), fold(&h, r->model), fold(&h, r->needs), fold(&h, r->input), fold(&h, r->max_output);
	fold(&h, r->messages), fold(&h, (uint64_t)r->credits), fold(&h, r->session), fold(&h, r->state);
	fold_text(&h, pm_request_text(r)), fold_text(&h, pm_request_metadata(r));
	return h;
}

static void route(const pm_snapshot *s, const pm_request *r, pm_plan *p) {
	uint64_t h = facts(s, r);
	pm_explain(p, PM_TEXT("facts "));
	pm_explain_number(p, h);
	if (s->count == 0) {
		p->kind = PM_KIND_REJECT;
		p->status = 418;
		return;
	}
	p->kind = PM_KIND_ASK;
	p->reason = 1025;
	p->max_output = 4321;
	p->tag = (uint32_t)h;
	p->ask_input = PM_ASK_PROMPT;
	p->ask_output = 77;
	pm_ask(p, PM_TEXT("account "));
	pm_ask(p, pm_lookup(pm_request_metadata(r), PM_TEXT("account")));
	for (int i = 0; i < 30; i++) pm_ask(p, pm_request_text(r)); // cut where that gets too long
	for (uint32_t i = 0; i < s->count && i < PM_MAX_STEPS; i++) {
		pm_step *step = pm_plan_step(p, i, -0.5f, 1026);
		step->attempts = 2;
		step->timeout = 1500;
		step->hedge = 250 + i;
	}
}

static uint64_t history(const pm_outcomes *outcomes, uint64_t h) {
	for (uint32_t i = 0; i < outcomes->count; i++) {
		const pm_outcome *o = pm_outcome_at(outcomes, i);
		fold(&h, o->key), fold(&h, (uint64_t)o->credits), fold(&h, o->candidate), fold(&h, o->http), fold(&h, o->tag);
		fold(&h, o->input), fold(&h, o->output), fold_float(&h, o->ttft), fold_float(&h, o->latency), fold(&h, o->flags);
		fold(&h, o->round), fold(&h, o->kind), fold(&h, o->failure), fold(&h, o->finish), fold(&h, o->level), fold(&h, o->task);
		fold_text(&h, pm_outcome_text(outcomes, o));
	}
	return h;
}

static void next(const pm_snapshot *s, const pm_request *r, const pm_outcomes *outcomes, pm_plan *p) {
	p->kind = PM_KIND_REJECT;
	p->status = 599;
	pm_explain_number(p, history(outcomes, facts(s, r)));
	for (int i = 0; i < 9; i++) pm_explain(p, pm_request_text(r));
	pm_verdict *verdicts = pm_plan_verdicts(p);
	for (uint32_t i = 0; i < s->count; i++) verdicts[i] = (pm_verdict){.score = 0.25f, .reason = (uint16_t)(2000 + i)};
}

static uint32_t observe(pm_text state, const pm_outcomes *outcomes, uint8_t *to) {
	uint64_t h = 3;
	fold_text(&h, state);
	h = history(outcomes, h);
	__builtin_memcpy(to, &h, sizeof h);
	return sizeof h;
}

PM_EXPORT_POLICY(((pm_policy){
	.describe = "probe",
	.needs = PM_GRANT_TEXT | PM_GRANT_METADATA | PM_GRANT_SIDE_CALLS | PM_GRANT_STATE,
	.configure = configure,
	.remember = remember,
	.route = route,
	.next = next,
	.observe = observe,
}))
