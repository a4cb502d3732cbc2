// pointsman.h: write a routing policy for Pointsman in C. One header, no libc, nothing to link.
//
// Fill a pm_policy with your functions and hand it to PM_EXPORT_POLICY, once:
//
//	static void route(const pm_snapshot *s, const pm_request *r, pm_plan *p) {
//		for (uint32_t i = 0; i < s->count; i++) {
//			if (pm_option_at(r, i)->excluded) continue;
//			p->kind = PM_KIND_ANSWER;
//			pm_plan_step(p, i, 1, PM_BECAUSE_BAND);
//			return;
//		}
//		p->kind = PM_KIND_REJECT;
//	}
//	PM_EXPORT_POLICY(((pm_policy){.describe = "first fit; C", .route = route}))
//
// The records below are the gateway's own bytes, read where they lie: numbers are little-endian, and records are longer in
// later versions, so step from one to the next with the functions that are given here and never with ++ or sizeof.
// A policy is a pure function: what it keeps between calls may only be what follows from its parameters, the snapshot
// and the state. Everything is called by one thread.
#ifndef POINTSMAN_H
#define POINTSMAN_H

#include <stdbool.h>
#include <stdint.h>

// constants: begin

// Version is what pointsman_abi_version must return.
#define PM_VERSION 1u

// Grants a policy may need; the operator gives them.
#define PM_GRANT_TEXT 1u
#define PM_GRANT_METADATA 2u
#define PM_GRANT_SIDE_CALLS 4u
#define PM_GRANT_STATE 8u

// Limits the host enforces.
#define PM_MAX_STEPS 8u // steps of a plan
#define PM_MAX_CANDIDATES 8192u // records of a snapshot
#define PM_MAX_EXPLANATION 512u // bytes
#define PM_MAX_CONFIG 65536u // bytes of configuration text
#define PM_MAX_PLAN 262144u // bytes
#define PM_MAX_TEXT 32768u // bytes of the last user message; what is longer is cut between characters
#define PM_MAX_METADATA 4096u // bytes of metadata text; whole lines are left out
#define PM_MAX_STATE 32768u // bytes
#define PM_MAX_ROUNDS 4u // plans of one request that are carried out
#define PM_MAX_ASK 8192u // bytes of the instruction of a side call
#define PM_MAX_ASK_OUTPUT 1024u // tokens of a side call's answer
#define PM_MAX_ASK_TEXT 1024u // bytes of a side call's answer that the policy gets; what is longer is cut between characters
#define PM_MAX_OUTCOMES 512u // records of one pointsman_observe
#define PM_CANDIDATE_LOCAL 1u // CandidateFlags: runs on the operator's own machines
#define PM_CANDIDATE_OWN_KEY 2u // CandidateFlags: the gateway has no key for it, only callers who bring one can be served

// Health of a candidate.
#define PM_HEALTH_UNKNOWN 0u
#define PM_HEALTH_HEALTHY 1u
#define PM_HEALTH_DEGRADED 2u
#define PM_HEALTH_DOWN 3u

// Mode of a candidate's model.
#define PM_MODE_CHAT 0u
#define PM_MODE_EMBEDDING 1u
#define PM_MODE_RESPONSES 2u
#define PM_MODE_IMAGE 3u
#define PM_MODE_TRANSCRIPTION 4u
#define PM_MODE_SPEECH 5u
#define PM_MODE_MODERATION 6u
#define PM_MODE_RERANK 7u

// Capability bits.
#define PM_CAP_TOOLS 1u
#define PM_CAP_VISION 2u
#define PM_CAP_JSON_SCHEMA 4u
#define PM_CAP_REASONING 8u
#define PM_CAP_PROMPT_CACHE 16u
#define PM_CAP_PDF 32u
#define PM_CAP_AUDIO 64u

// Task kinds.
#define PM_TASK_UNKNOWN 0u
#define PM_TASK_CODE 1u
#define PM_TASK_CHAT 2u
#define PM_TASK_RAG 3u
#define PM_TASK_CREATIVE 4u
#define PM_TASK_ANALYSIS 5u
#define PM_TASK_TRANSLATION 6u
#define PM_TASK_SUMMARIZATION 7u
#define PM_TASK_REASONING 8u
#define PM_OPTION_OWN_KEY 1u // served with the account's own key: nothing is charged
#define PM_OPTION_SIMULATED 2u // the simulated provider would answer
#define PM_OPTION_WARM 4u // this session's prompt cache is warm here

// NoModel in RequestModel says that the request names no model.
#define PM_NO_MODEL 65535u

// Power levels.
#define PM_LEVEL_ECO 1u
#define PM_LEVEL_BALANCED 2u
#define PM_LEVEL_PRECISION 3u
#define PM_LEVEL_CUSTOM 4u

// Privacy wishes.
#define PM_PRIVACY_ANY 0u
#define PM_PRIVACY_LOCAL 1u

// Latency objectives: to the first token, under 500 ms, 2 s, 5 s.
#define PM_LATENCY_UNSET 0u
#define PM_LATENCY_INSTANT 1u
#define PM_LATENCY_FAST 2u
#define PM_LATENCY_NORMAL 3u

// RequestFlags bits.
#define PM_FLAG_STREAM 1u
#define PM_FLAG_NO_FALLBACK 2u // the caller wants one model or an error
#define PM_FLAG_JSON 4u // the caller wants JSON: response_format json_object or json_schema
#define PM_PLAN_REVIEW 1u // PlanFlags of a KindAnswer: call pointsman_next before the answer is sent, also if there is none

// Kinds of plan.
#define PM_KIND_ANSWER 1u // try the steps in order
#define PM_KIND_ASK 2u // a side call to the steps in order; its outcome comes back through pointsman_next
#define PM_KIND_REJECT 3u // refuse the request with PlanStatus and the explanation
#define PM_KIND_ACCEPT 4u // only from pointsman_next: send the held answer; no steps

// What a side call is asked about, after its instruction: PlanAskInput.
#define PM_ASK_PROMPT 1u // the last user message
#define PM_ASK_ANSWER 2u // the held answer
#define PM_ASK_BOTH 3u // first the one, then the other
#define PM_OUTCOME_OK 1u // an answer came, whole
#define PM_OUTCOME_EMPTY 2u // it has neither text nor tool calls
#define PM_OUTCOME_JSON 4u // its text is one JSON value, or it has none and calls tools
#define PM_OUTCOME_REFUSAL 8u // the provider marked it as a refusal or filtered it
#define PM_OUTCOME_REFUSAL_PHRASE 16u // it is short and begins like a refusal in English
#define PM_OUTCOME_SIMULATED 32u // the simulated provider answered
#define PM_OUTCOME_OWN_KEY 64u // with the account's own key: uncharged

// Kinds of failure of an attempt.
#define PM_FAILURE_NONE 0u
#define PM_FAILURE_CONNECT 1u
#define PM_FAILURE_TIMEOUT 2u
#define PM_FAILURE_SERVER 3u
#define PM_FAILURE_OVERLOADED 4u
#define PM_FAILURE_RATE_LIMITED 5u
#define PM_FAILURE_AUTH 6u
#define PM_FAILURE_QUOTA 7u
#define PM_FAILURE_NOT_FOUND 8u
#define PM_FAILURE_BAD_REQUEST 9u
#define PM_FAILURE_CONTEXT_LENGTH 10u
#define PM_FAILURE_CONTENT_FILTER 11u
#define PM_FAILURE_CANCELLED 12u // the client left; only pointsman_observe sees it
#define PM_FAILURE_UNAFFORDABLE 13u // nothing was tried: the account cannot pay for the round, or it costs more than rounds may

// Why an answer ended.
#define PM_FINISH_UNKNOWN 0u
#define PM_FINISH_STOP 1u
#define PM_FINISH_LENGTH 2u
#define PM_FINISH_TOOL_CALLS 3u
#define PM_FINISH_CONTENT_FILTER 4u

// Reasons why a candidate is out. Those below 64 are decided by the engine before the policy is asked (OptionExcluded); the others by policies. Policies may use 1024 and above for reasons of their own.
#define PM_REASON_NONE 0u
#define PM_REASON_MODE 1u // another kind of model (embedding, …)
#define PM_REASON_CAPABILITY 2u // lacks a capability the request needs
#define PM_REASON_CONTEXT 3u // the prompt does not fit its context window
#define PM_REASON_DOWN 4u // circuit open
#define PM_REASON_NO_KEY 5u // no key for the provider, and no simulator
#define PM_REASON_NOT_LOCAL 6u // the request must stay on local models
#define PM_REASON_ACCOUNT_TIER 7u // above the account's tier
#define PM_REASON_NOT_GRANTED 8u // the virtual key does not grant this model
#define PM_REASON_UNAFFORDABLE 9u // its worst case exceeds the credits available
#define PM_REASON_NOT_REQUESTED 64u
#define PM_REASON_OUTSIDE_BAND 65u // outside the tiers of the power level
#define PM_REASON_QUALITY 66u // below the level's least quality
#define PM_REASON_OVER_BUDGET 67u // worst case above the level's credits per request
#define PM_REASON_OVER_TENTH 68u // worst case above a tenth of the credits left
#define PM_REASON_NOT_PREFERRED 69u // not at one of the level's providers
#define PM_REASON_OUTRANKED 70u // fit, but not among the best
#define PM_REASON_NOT_FREE 71u // charged, where only a free one will do
#define PM_REASON_OUTPUT_TOO_LONG 72u // cannot write as much as asked for

// Becauses say why the first step of a plan was chosen.
#define PM_BECAUSE_BAND 128u // best score in the power level's band
#define PM_BECAUSE_PRIVATE 129u // privacy asked for: local models only
#define PM_BECAUSE_OWN_KEY 130u // the account's own key serves it, uncharged
#define PM_BECAUSE_INSTANT 131u // instant answer wanted and short: the fastest free model
#define PM_BECAUSE_LOW_CREDITS 132u // almost no credits, or a free account: a free model
#define PM_BECAUSE_NAMED 133u // the model that was named
#define PM_BECAUSE_TASK 134u // the band's best for this kind of task
#define PM_BECAUSE_WIDENED 135u // nothing in the band could serve it: the nearest cheaper tier
#define PM_BECAUSE_FALLBACK 136u // the engine's own order, because the policy failed
#define PM_BECAUSE_NOTHING 137u // reject: nothing capable
#define PM_BECAUSE_NO_CREDITS 138u // reject: nothing affordable
#define PM_BECAUSE_HELD 139u // accept: the held answer is good enough

// constants: end

// Some bytes, mostly UTF-8; they do not end in a zero.
typedef struct {
	const char *at;
	uint32_t size;
} pm_text;

#define PM_TEXT(literal) ((pm_text){literal, sizeof(literal) - 1})
#define PM_RECORD __attribute__((packed, may_alias))

// One deployment of a model at a provider.
typedef struct PM_RECORD {
	uint64_t key;          // identity of the deployment, stable across snapshots and restarts
	uint16_t model;        // number of the model; equal for deployments of one model
	uint16_t provider;     // number of the provider
	uint8_t tier;          // 0..5
	uint8_t health;        // PM_HEALTH_*
	uint8_t mode;          // PM_MODE_*
	uint8_t reserved_1;
	uint32_t capabilities; // PM_CAP_* bits
	uint32_t strengths;    // bit 1<<PM_TASK_* for each task the model is known to be strong at
	uint32_t context;      // tokens
	uint32_t max_output;   // tokens, 0 unknown
	int64_t rate;          // micro-credits per 1,000 tokens
	int64_t price_in;      // pico-USD per input token (1 USD per million tokens = 1,000,000)
	int64_t price_out;     // pico-USD per output token
	int64_t price_cache;   // pico-USD per input token read from cache
	float quality;         // 0..1
	float ttft;            // milliseconds to first token, moving average; 0 unknown
	float speed;           // output tokens per second, moving average; 0 unknown
	float error_rate;      // 0..1, moving average
	uint32_t samples;      // outcomes seen, saturating
	uint32_t flags;        // PM_CANDIDATE_*
	uint32_t name_off;     // use pm_model_name
	uint16_t name_len;
	uint16_t provider_len; // use pm_provider_name
	uint32_t provider_off;
	uint32_t reserved_2;
} pm_candidate;

// What is known about all candidates: one generation.
typedef struct {
	uint64_t generation;
	int64_t wall_millis; // Unix milliseconds when it was taken
	uint32_t count;      // candidates, read with pm_candidate_at
	uint32_t stride;
	const uint8_t *first;
	const char *blob;
} pm_snapshot;

// What is known about one request.
typedef struct PM_RECORD {
	uint16_t version, header, count, stride;
	uint64_t generation;
	uint64_t seed;
	uint8_t level;        // PM_LEVEL_*
	uint8_t task;         // PM_TASK_*
	uint8_t privacy;      // PM_PRIVACY_*
	uint8_t latency;      // PM_LATENCY_*
	uint8_t account_tier; // 0 free, 1 starter, 2 professional, 3 enterprise
	uint8_t flags;        // PM_FLAG_* bits
	uint16_t model;       // number of the model asked for, PM_NO_MODEL if none
	uint32_t needs;       // PM_CAP_* bits the answer needs
	uint32_t input;       // tokens, estimated
	uint32_t max_output;  // tokens asked for, 0 if not given
	uint32_t messages;    // messages in the conversation
	int64_t credits;      // micro-credits the account has available
	uint64_t session;     // hash of the session, 0 if none
	uint32_t text_off, text_len;         // use pm_request_text
	uint32_t metadata_off, metadata_len; // use pm_request_metadata
	uint64_t state;       // number of the state, 0 if none
	uint64_t reserved;
} pm_request;

// What holds for one candidate in one request.
typedef struct PM_RECORD {
	uint8_t excluded;  // 0 if the candidate may be chosen, else the PM_REASON_* why not
	uint8_t flags;     // PM_OPTION_* bits
	uint16_t inflight; // requests under way at this moment, saturating
} pm_option;

// What became of one attempt of a plan.
typedef struct PM_RECORD {
	uint64_t key;       // of the candidate
	int64_t credits;    // micro-credits
	uint16_t candidate; // number in the snapshot of the request
	uint16_t http;      // the provider's status, 0 if none came
	uint32_t tag;       // of the plan
	uint32_t input;     // tokens
	uint32_t output;    // tokens
	float ttft;         // milliseconds to the first token, 0 if none came
	float latency;      // milliseconds of the whole attempt
	uint32_t flags;     // PM_OUTCOME_* bits
	uint32_t text_off;  // use pm_outcome_text
	uint16_t text_len;
	uint8_t round;      // from 0
	uint8_t kind;       // PM_KIND_* of the plan
	uint8_t failure;    // PM_FAILURE_*
	uint8_t finish;     // PM_FINISH_*
	uint8_t level;      // PM_LEVEL_*
	uint8_t task;       // PM_TASK_*
	uint64_t reserved;
} pm_outcome;

// Outcomes, oldest first.
typedef struct {
	uint32_t count; // read with pm_outcome_at
	uint32_t stride;
	const uint8_t *first;
	const char *blob;
} pm_outcomes;

// One candidate to try.
typedef struct PM_RECORD {
	uint16_t candidate; // number in the snapshot
	uint8_t attempts;   // 1..3
	uint8_t flags;      // 0
	uint32_t timeout;   // milliseconds to the first byte, 0: the engine's default
	uint32_t hedge;     // milliseconds after which the next step starts beside this one, 0: never
	float score;        // any finite number; larger is better
	uint16_t reason;    // PM_BECAUSE_* or PM_REASON_*
	uint8_t reserved[6];
} pm_step;

// What the policy thought of one candidate.
typedef struct PM_RECORD {
	float score;
	uint16_t reason; // 0: in the running; else why it is out
	uint16_t rank;   // 1 for the first step, 2 ...; 0: not in the plan
} pm_verdict;

_Static_assert(sizeof(pm_candidate) == 104 && sizeof(pm_request) == 96 && sizeof(pm_option) == 4, "records as in the contract");
_Static_assert(sizeof(pm_outcome) == 64 && sizeof(pm_step) == 24 && sizeof(pm_verdict) == 8, "records as in the contract");

// A decision. It comes empty; set the fields, and use the functions below for the rest.
typedef struct {
	uint8_t kind;        // PM_KIND_*
	uint8_t flags;       // PM_PLAN_REVIEW or 0
	uint16_t reason;     // PM_BECAUSE_* or PM_REASON_*
	uint16_t status;     // HTTP status of a reject, 400..599; 0: 503
	uint32_t max_output; // output tokens to reserve credits for when the request gives no limit; 0: the engine's default
	uint32_t tag;        // comes back in the outcomes
	uint8_t ask_input;   // PM_ASK_* of a side call
	uint16_t ask_output; // tokens the side call may answer with at most; 0: 64
	uint32_t candidates; // of the snapshot
	uint32_t step_count; // at most PM_MAX_STEPS
	pm_step steps[PM_MAX_STEPS];
	pm_verdict *verdicts; // 0 until pm_plan_verdicts
	uint32_t explain_size, ask_size;
} pm_plan;

// What you write. Only route must be there.
typedef struct {
	const char *describe; // a line of UTF-8: what it does, and in which language
	uint32_t needs;       // PM_GRANT_* bits it cannot do without
	// Takes one parameter; the texts stay valid. Returns false to refuse it.
	bool (*configure)(pm_text key, pm_text value);
	// Called with each new snapshot, before the first request about it: compute here what depends on it alone.
	void (*learn)(const pm_snapshot *);
	// Called with each new state, before the first request on it. The bytes are valid until the next. Returns false to drop it.
	bool (*remember)(const pm_snapshot *, pm_text state);
	void (*route)(const pm_snapshot *, const pm_request *, pm_plan *);
	// Decides a further round, after PM_KIND_ASK or PM_PLAN_REVIEW. There is at least one outcome, of this request.
	void (*next)(const pm_snapshot *, const pm_request *, const pm_outcomes *, pm_plan *);
	// Writes the state that follows into next, which has room for PM_MAX_STATE bytes. Returns its size.
	uint32_t (*observe)(pm_text state, const pm_outcomes *, uint8_t *next);
} pm_policy;

static inline const pm_candidate *pm_candidate_at(const pm_snapshot *s, uint32_t i) {
	return (const pm_candidate *)(s->first + i * s->stride);
}

static inline pm_text pm_model_name(const pm_snapshot *s, const pm_candidate *c) {
	return (pm_text){s->blob + c->name_off, c->name_len};
}

static inline pm_text pm_provider_name(const pm_snapshot *s, const pm_candidate *c) {
	return (pm_text){s->blob + c->provider_off, c->provider_len};
}

static inline const pm_option *pm_option_at(const pm_request *r, uint32_t i) {
	return (const pm_option *)((const uint8_t *)r + r->header + i * r->stride);
}

// The last user message; empty without PM_GRANT_TEXT.
static inline pm_text pm_request_text(const pm_request *r) {
	return (pm_text){(const char *)r + r->text_off, r->text_len};
}

// Lines of key=value, sorted; empty without PM_GRANT_METADATA.
static inline pm_text pm_request_metadata(const pm_request *r) {
	return (pm_text){(const char *)r + r->metadata_off, r->metadata_len};
}

static inline const pm_outcome *pm_outcome_at(const pm_outcomes *o, uint32_t i) {
	return (const pm_outcome *)(o->first + i * o->stride);
}

// The text of a side call's answer.
static inline pm_text pm_outcome_text(const pm_outcomes *all, const pm_outcome *o) {
	return (pm_text){all->blob + o->text_off, o->text_len};
}

static inline bool pm_equal(pm_text a, pm_text b) {
	if (a.size != b.size) return false;
	for (uint32_t i = 0; i < a.size; i++) {
		if (a.at[i] != b.at[i]) return false;
	}
	return true;
}

// Takes what stands before the separator off the text; all of it if there is none.
static inline pm_text pm_cut(pm_text *text, char separator) {
	pm_text head = {text->at, 0};
	while (head.size < text->size && text->at[head.size] != separator) head.size++;
	uint32_t taken = head.size < text->size ? head.size + 1 : head.size;
	text->at += taken;
	text->size -= taken;
	return head;
}

// The value of a line of key=value among such lines, for metadata; its address is 0 if there is none.
static inline pm_text pm_lookup(pm_text lines, pm_text key) {
	while (lines.size > 0) {
		pm_text value = pm_cut(&lines, '\n');
		if (pm_equal(pm_cut(&value, '='), key)) return value;
	}
	return (pm_text){0, 0};
}

// Reads a decimal: at most 9 digits, a point, at most 6 digits. Returns false if it is not one.
static inline bool pm_number(pm_text text, double *number) {
	int64_t millionths = 0;
	int before = 0, behind = -1;
	for (uint32_t i = 0; i < text.size; i++) {
		char c = text.at[i];
		if (c == '.' && behind < 0) {
			behind = 0;
			continue;
		}
		if (c < '0' || c > '9') return false;
		millionths = millionths * 10 + (c - '0');
		if (behind >= 0) behind++;
		else before++;
		if (before > 9 || behind > 6) return false;
	}
	if (before == 0 || behind == 0) return false;
	for (int i = behind < 0 ? 0 : behind; i < 6; i++) millionths *= 10;
	*number = (double)millionths / 1e6;
	return true;
}

// Reads true, false, 1 or 0. Returns false if it is none of them.
static inline bool pm_boolean(pm_text text, bool *value) {
	*value = pm_equal(text, PM_TEXT("true")) || pm_equal(text, PM_TEXT("1"));
	return *value || pm_equal(text, PM_TEXT("false")) || pm_equal(text, PM_TEXT("0"));
}

__attribute__((import_module("pointsman_policy_v1"), import_name("log"))) void pm_host_log(int32_t level, const char *at, uint32_t size);

// Writes a line of at most 256 bytes to the gateway's debug log: level 0 debug to 3 error. It costs fuel, and decides nothing.
static inline void pm_log(int32_t level, pm_text text) { pm_host_log(level, text.at, text.size); }

// Adds a step with one attempt and the default times, which may be changed. Returns 0 if there is no room.
static inline pm_step *pm_plan_step(pm_plan *p, uint32_t candidate, float score, uint16_t reason) {
	if (p->step_count == PM_MAX_STEPS) return 0;
	pm_step *s = &p->steps[p->step_count++];
	*s = (pm_step){.candidate = (uint16_t)candidate, .attempts = 1, .score = score, .reason = reason};
	return s;
}

enum { pm_head_room = 64 + PM_MAX_STEPS * 24, pm_texts_size = PM_MAX_EXPLANATION + PM_MAX_ASK };
// The plan as the host reads it, the verdicts at pm_head_room; and the texts that are put behind them in the end.
static _Alignas(8) uint8_t pm_out[pm_head_room + PM_MAX_CANDIDATES * 8 + pm_texts_size];
static char pm_explanation[PM_MAX_EXPLANATION], pm_instruction[PM_MAX_ASK];

// The verdicts of the plan, one for each candidate. They are not cleared: set each.
static inline pm_verdict *pm_plan_verdicts(pm_plan *p) { return p->verdicts = (pm_verdict *)(pm_out + pm_head_room); }

// Copies what fits, cut between characters.
static inline uint32_t pm_append(char *to, uint32_t size, uint32_t most, pm_text text) {
	uint32_t n = text.size;
	if (n > most - size) {
		n = most - size;
		while (n > 0 && (text.at[n] & 0xC0) == 0x80) n--;
	}
	__builtin_memcpy(to + size, text.at, n);
	return size + n;
}

// Appends to the explanation.
static inline void pm_explain(pm_plan *p, pm_text text) {
	p->explain_size = pm_append(pm_explanation, p->explain_size, PM_MAX_EXPLANATION, text);
}

// Appends a number in decimal to the explanation.
static inline void pm_explain_number(pm_plan *p, uint64_t n) {
	char digits[20];
	uint32_t at = sizeof digits;
	do digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	if (sizeof digits - at <= PM_MAX_EXPLANATION - p->explain_size) pm_explain(p, (pm_text){digits + at, sizeof digits - at});
}

// Appends to the instruction of a side call.
static inline void pm_ask(pm_plan *p, pm_text text) {
	p->ask_size = pm_append(pm_instruction, p->ask_size, PM_MAX_ASK, text);
}

// From here on is the other side of the contract; authors need not read it.

typedef struct {
	uint8_t *at;
	uint32_t size;
} pm_memory;

extern uint8_t __heap_base;
static uint8_t *pm_heap;
static pm_memory pm_input, pm_facts, pm_parameters;
static pm_snapshot pm_known;
static _Alignas(8) uint8_t pm_state[PM_MAX_STATE], pm_next_state[PM_MAX_STATE];
static uint32_t pm_state_size;

// Makes m at least so long. What was in it is lost, and nothing is freed: sizes double, so that no more is lost than used.
static inline void pm_reserve(pm_memory *m, uint32_t size) {
	if (m->at && size <= m->size) return;
	m->size = size < 64 ? 64 : size > m->size * 2 ? size : m->size * 2;
	if (!pm_heap) pm_heap = &__heap_base;
	m->at = (uint8_t *)(((uintptr_t)pm_heap + 15) & ~(uintptr_t)15);
	pm_heap = m->at + m->size;
	int64_t missing = (int64_t)(uintptr_t)pm_heap - ((int64_t)__builtin_wasm_memory_size(0) << 16);
	if (missing > 0 && __builtin_wasm_memory_grow(0, (uintptr_t)((missing + 65535) >> 16)) == (uintptr_t)-1) __builtin_trap();
}

static inline uint64_t pm_span(const void *at, uint32_t size) { return (uint64_t)(uintptr_t)at << 32 | size; }

static inline int32_t pm_configure_all(const pm_policy *policy, uint32_t length) {
	pm_reserve(&pm_parameters, length);
	__builtin_memcpy(pm_parameters.at, pm_input.at, length);
	pm_text rest = {(const char *)pm_parameters.at, length};
	while (rest.size > 0) {
		pm_text line = pm_cut(&rest, '\n'), value = line, key = pm_cut(&value, '=');
		if (!policy->configure || !policy->configure(key, value)) {
			pm_log(3, line);
			return 1;
		}
	}
	return 0;
}

static inline int32_t pm_learn(const pm_policy *policy, uint32_t length) {
	pm_reserve(&pm_facts, length);
	__builtin_memcpy(pm_facts.at, pm_input.at, length);
	const struct PM_RECORD {
		uint16_t version, header, count, stride;
		uint64_t generation;
		int64_t wall_millis;
		uint32_t blob_off, blob_len;
	} *h = (const void *)pm_facts.at;
	pm_known = (pm_snapshot){h->generation, h->wall_millis, h->count, h->stride, pm_facts.at + h->header, (const char *)pm_facts.at + h->blob_off};
	if (policy->learn) policy->learn(&pm_known);
	return 0;
}

static inline int32_t pm_remember(const pm_policy *policy, uint32_t length) {
	if (length > PM_MAX_STATE) return 3;
	__builtin_memcpy(pm_state, pm_input.at, length);
	pm_state_size = length;
	if (policy->remember && !policy->remember(&pm_known, (pm_text){(const char *)pm_state, length})) return 3;
	return 0;
}

static inline pm_outcomes pm_read_outcomes(const pm_request **request) {
	const struct PM_RECORD {
		uint16_t version, header, count, stride;
		uint32_t request_off, request_len, blob_off, blob_len;
	} *h = (const void *)pm_input.at;
	if (request) *request = (const pm_request *)(pm_input.at + h->request_off);
	return (pm_outcomes){h->count, h->stride, pm_input.at + h->header, (const char *)pm_input.at + h->blob_off};
}

// Puts header and steps before the verdicts, and the texts behind them.
static inline uint64_t pm_answer(const pm_plan *p) {
	bool rounds = p->tag || p->ask_input || p->ask_output || p->ask_size;
	uint32_t header = rounds ? 64 : 32, steps = p->step_count * sizeof(pm_step), count = p->verdicts ? p->candidates : 0;
	uint8_t *verdicts = pm_out + pm_head_room, *start = verdicts - steps - header;
	uint8_t *explanation = verdicts + count * sizeof(pm_verdict), *ask = explanation + p->explain_size;
	__builtin_memcpy(explanation, pm_explanation, p->explain_size);
	__builtin_memcpy(ask, pm_instruction, p->ask_size);
	__builtin_memcpy(start + header, p->steps, steps);
	struct PM_RECORD {
		uint16_t version, header;
		uint8_t kind, flags;
		uint16_t reason, steps, step_stride, verdicts, verdict_stride;
		uint32_t explain_off, explain_len, max_output;
		uint16_t status, reserved_2;
		uint32_t tag, ask_off, ask_len;
		uint8_t ask_input, reserved_3;
		uint16_t ask_output;
		uint8_t reserved_4[16];
	} h = {
		.version = PM_VERSION, .header = (uint16_t)header, .kind = p->kind, .flags = p->flags, .reason = p->reason,
		.steps = (uint16_t)p->step_count, .step_stride = sizeof(pm_step), .verdicts = (uint16_t)count, .verdict_stride = sizeof(pm_verdict),
		.explain_off = p->explain_size ? (uint32_t)(explanation - start) : 0, .explain_len = p->explain_size,
		.max_output = p->max_output, .status = p->status, .tag = p->tag,
		.ask_off = p->ask_size ? (uint32_t)(ask - start) : 0, .ask_len = p->ask_size, .ask_input = p->ask_input, .ask_output = p->ask_output,
	};
	__builtin_memcpy(start, &h, header);
	return pm_span(start, (uint32_t)(ask + p->ask_size - start));
}

static inline uint64_t pm_route(const pm_policy *policy) {
	pm_plan p = {.candidates = pm_known.count};
	policy->route(&pm_known, (const pm_request *)pm_input.at, &p);
	return pm_answer(&p);
}

static inline uint64_t pm_next(const pm_policy *policy) {
	pm_plan p = {.candidates = pm_known.count};
	const pm_request *request;
	pm_outcomes outcomes = pm_read_outcomes(&request);
	if (!policy->next) __builtin_trap(); // its plans end with the first round
	policy->next(&pm_known, request, &outcomes, &p);
	return pm_answer(&p);
}

static inline uint64_t pm_observe(const pm_policy *policy) {
	pm_outcomes outcomes = pm_read_outcomes(0);
	uint32_t size = policy->observe ? policy->observe((pm_text){(const char *)pm_state, pm_state_size}, &outcomes, pm_next_state) : 0;
	return pm_span(pm_next_state, size);
}

#define PM_EXPORT(name) __attribute__((export_name(#name)))
// Exports the policy. Use it once, behind your functions, with parentheses around the braces.
#define PM_EXPORT_POLICY(policy) \
	static const pm_policy pm_this = policy; \
	PM_EXPORT(pointsman_abi_version) int32_t pm_export_version(void) { return PM_VERSION; } \
	PM_EXPORT(pointsman_needs) int32_t pm_export_needs(void) { return (int32_t)pm_this.needs; } \
	PM_EXPORT(pointsman_describe) uint64_t pm_export_describe(void) { \
		uint32_t n = 0; \
		while (pm_this.describe && pm_this.describe[n]) n++; \
		return pm_span(pm_this.describe, n); \
	} \
	PM_EXPORT(pointsman_buffer) int32_t pm_export_buffer(int32_t size) { \
		pm_reserve(&pm_input, (uint32_t)size); \
		return (int32_t)(uintptr_t)pm_input.at; \
	} \
	PM_EXPORT(pointsman_configure) int32_t pm_export_configure(int32_t length) { return pm_configure_all(&pm_this, (uint32_t)length); } \
	PM_EXPORT(pointsman_snapshot) int32_t pm_export_snapshot(int32_t length) { return pm_learn(&pm_this, (uint32_t)length); } \
	PM_EXPORT(pointsman_state) int32_t pm_export_state(int32_t length) { return pm_remember(&pm_this, (uint32_t)length); } \
	PM_EXPORT(pointsman_route) uint64_t pm_export_route(int32_t length) { return (void)length, pm_route(&pm_this); } \
	PM_EXPORT(pointsman_next) uint64_t pm_export_next(int32_t length) { return (void)length, pm_next(&pm_this); } \
	PM_EXPORT(pointsman_observe) uint64_t pm_export_observe(int32_t length) { return (void)length, pm_observe(&pm_this); }

#endif
