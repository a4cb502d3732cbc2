package policy

import "github.com/pointsman/pointsman/sdk/abi"

// ReasonName is the stable snake_case name of an abi.Reason* or abi.Because* code: "policy" for a policy's own codes
// (1024 and above), "unknown" for others.
func ReasonName(code uint16) string { name, _ := reason(code); return name }

// ReasonText says an abi.Reason* or abi.Because* code in words, without a full stop.
func ReasonText(code uint16) string { _, text := reason(code); return text }

func reason(code uint16) (name, text string) {
	switch code {
	case abi.ReasonNone:
		return "none", "in the running"
	case abi.ReasonMode:
		return "mode", "it is another kind of model"
	case abi.ReasonCapability:
		return "capability", "it lacks a capability the request needs"
	case abi.ReasonContext:
		return "context", "the prompt does not fit its context window"
	case abi.ReasonDown:
		return "down", "it is down: its circuit is open"
	case abi.ReasonNoKey:
		return "no_key", "there is no key for its provider"
	case abi.ReasonNotLocal:
		return "not_local", "the request must stay on local models"
	case abi.ReasonAccountTier:
		return "account_tier", "it is above the account's tier"
	case abi.ReasonNotGranted:
		return "not_granted", "the key in use does not grant this model"
	case abi.ReasonUnaffordable:
		return "unaffordable", "its worst case exceeds the credits available"
	case abi.ReasonNotRequested:
		return "not_requested", "another model or provider was asked for"
	case abi.ReasonOutsideBand:
		return "outside_band", "it is outside the tiers of the power level"
	case abi.ReasonQuality:
		return "quality", "it is below the least quality of the power level"
	case abi.ReasonOverBudget:
		return "over_budget", "its worst case is above the level's credits per request"
	case abi.ReasonOverTenth:
		return "over_tenth", "its worst case is above a tenth of the credits left"
	case abi.ReasonNotPreferred:
		return "not_preferred", "it is not at one of the level's providers"
	case abi.ReasonOutranked:
		return "outranked", "it is fit, but not among the best"
	case abi.ReasonNotFree:
		return "not_free", "it is charged, where only a free one will do"
	case abi.ReasonOutputTooLong:
		return "output_too_long", "it cannot write as much as asked for"
	case abi.BecauseBand:
		return "band", "it has the best score of the power level"
	case abi.BecausePrivate:
		return "private", "the request must stay on local models"
	case abi.BecauseOwnKey:
		return "own_key", "the account's own key serves it, uncharged"
	case abi.BecauseInstant:
		return "instant", "an instant answer was wanted: it is the fastest free model"
	case abi.BecauseLowCredits:
		return "low_credits", "almost no credits or a free account: it is free"
	case abi.BecauseNamed:
		return "named", "it is the model that was named"
	case abi.BecauseTask:
		return "task", "it is the level's best for this kind of task"
	case abi.BecauseWidened:
		return "widened", "nothing in the power level could serve: it is of the nearest cheaper tier"
	case abi.BecauseFallback:
		return "fallback", "it is next in the gateway's own order, because the policy failed"
	case abi.BecauseNothing:
		return "nothing", "no model can serve the request"
	case abi.BecauseNoCredits:
		return "no_credits", "no model that could serve the request is affordable"
	case abi.BecauseHeld:
		return "held", "the answer that was held back is good enough"
	}
	if code >= 1024 {
		return "policy", "for a reason of the policy's own"
	}
	return "unknown", "for a reason this version does not know"
}

// The names below follow the order of the codes in sdk/abi. They are functions because a package holds no variables.

func taskNames() [9]string {
	return [...]string{"unknown", "code", "chat", "rag", "creative", "analysis", "translation", "summarization", "reasoning"}
}

func healthNames() [4]string { return [...]string{"unknown", "healthy", "degraded", "down"} }

func levelNames() [5]string { return [...]string{"", "eco", "balanced", "precision", "custom"} }

func latencyNames() [4]string { return [...]string{"", "instant", "fast", "normal"} }

func capabilityNames() [7]string {
	return [...]string{"tools", "vision", "json_schema", "reasoning", "prompt_cache", "pdf", "audio"}
}

// TaskName is the name of an abi.Task* code, "unknown" for a code out of range.
func TaskName(task uint8) string {
	if names := taskNames(); int(task) < len(names) {
		return names[task]
	}
	return "unknown"
}

// ParseTask is the abi.Task* code of a name; false if there is none of that name.
func ParseTask(name string) (uint8, bool) { names := taskNames(); return index(names[:], name) }

// HealthName is the name of an abi.Health* code, "unknown" for a code out of range.
func HealthName(health uint8) string {
	if names := healthNames(); int(health) < len(names) {
		return names[health]
	}
	return "unknown"
}

// LevelName is the name of an abi.Level* code, "" for a code out of range.
func LevelName(level uint8) string {
	if names := levelNames(); int(level) < len(names) {
		return names[level]
	}
	return ""
}

// ParseLevel is the abi.Level* code of a name; false if there is none of that name.
func ParseLevel(name string) (uint8, bool) {
	names := levelNames()
	code, ok := index(names[:], name)
	return code, ok && name != ""
}

// LatencyName is the name of an abi.Latency* code, "" for unset or out of range.
func LatencyName(latency uint8) string {
	if names := latencyNames(); int(latency) < len(names) {
		return names[latency]
	}
	return ""
}

// ParseLatency is the abi.Latency* code of a name, unset for ""; false if there is none of that name.
func ParseLatency(name string) (uint8, bool) { names := latencyNames(); return index(names[:], name) }

// CapabilityNames names the abi.Cap* bits that are set, lowest first.
func CapabilityNames(bits uint32) []string {
	var set []string
	for i, name := range capabilityNames() {
		if bits&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return set
}

// ParseCapability is the abi.Cap* bit of a name; false if there is none of that name.
func ParseCapability(name string) (uint32, bool) {
	names := capabilityNames()
	i, ok := index(names[:], name)
	return 1 << i, ok
}

func index(names []string, name string) (uint8, bool) {
	for i, n := range names {
		if n == name {
			return uint8(i), true
		}
	}
	return 0, false
}

func grantNames() [4]string { return [...]string{"text", "metadata", "side_calls", "state"} }

// GrantNames names the abi.Grant* bits that are set, lowest first.
func GrantNames(bits uint32) []string {
	var set []string
	for i, name := range grantNames() {
		if bits&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return set
}

// ParseGrant is the abi.Grant* bit of a name, 0 for "features", which every policy has; false if there is none of that
// name.
func ParseGrant(name string) (uint32, bool) {
	if name == "features" {
		return 0, true
	}
	names := grantNames()
	i, ok := index(names[:], name)
	return 1 << i, ok
}

func failureNames() [14]string {
	return [...]string{
		"", "connect", "timeout", "server", "overloaded", "rate_limited", "auth", "quota", "not_found", "bad_request",
		"context_length", "content_filter", "cancelled", "unaffordable",
	}
}

// FailureName is the name of an abi.Failure* code, "" for none or a code out of range.
func FailureName(failure uint8) string {
	if names := failureNames(); int(failure) < len(names) {
		return names[failure]
	}
	return ""
}

// ParseFailure is the abi.Failure* code of a name, that of a server failure for a name it does not know.
func ParseFailure(name string) uint8 {
	names := failureNames()
	if code, ok := index(names[:], name); ok {
		return code
	}
	return abi.FailureServer
}

func signNames() [7]string {
	return [...]string{"whole", "empty", "json", "refusal", "refusal_phrase", "simulated", "own_key"}
}

func finishNames() [5]string {
	return [...]string{"", "stop", "length", "tool_calls", "content_filter"}
}

// FinishName is the name of an abi.Finish* code, "" for unknown.
func FinishName(finish uint8) string {
	if names := finishNames(); int(finish) < len(names) {
		return names[finish]
	}
	return ""
}

// SignNames names the abi.Outcome* bits that are set, lowest first, and then why the answer ended, if that is known.
func SignNames(flags uint32, finish uint8) []string {
	var set []string
	for i, name := range signNames() {
		if flags&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	if name := FinishName(finish); name != "" {
		set = append(set, "finish_"+name)
	}
	return set
}
