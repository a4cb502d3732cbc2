package scenario

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// apiFields are the fields of a chat completion that a case may hold.
func apiFields() []string {
	return strings.Fields("model messages power_level pointsman stream stream_options max_tokens max_completion_tokens n tools tool_choice " +
		"parallel_tool_calls functions response_format temperature top_p presence_penalty frequency_penalty logprobs top_logprobs stop " +
		"logit_bias user metadata reasoning_effort verbosity store service_tier modalities prediction")
}

// wishes are the fields of the API's "pointsman" object; here they may stand beside the others.
func wishes() []string {
	return []string{"privacy", "latency", "task", "session", "fallback", "policy"}
}

// request reads what is asked. The body goes through the gateway's own parser, so that everything means what it means there.
func (w *world) request(t *fields) *policy.Request {
	body := map[string]any{}
	for _, key := range apiFields() {
		if v, ok := t.get(key); ok {
			body[key] = v
		}
	}
	wished := map[string]any{}
	if given, ok := body["pointsman"].(map[string]any); ok {
		maps.Copy(wished, given)
	}
	for _, key := range wishes() {
		if v, ok := t.get(key); ok {
			wished[key] = v
		}
	}
	if len(wished) > 0 {
		body["pointsman"] = wished
	}
	text := t.text("text", "")
	if _, given := body["messages"]; !given {
		if text == "" {
			text = "Hello"
		}
		body["messages"] = []any{map[string]any{"role": "user", "content": text}}
	}
	r := &policy.Request{Generation: 1, Model: abi.NoModel}
	data, err := json.Marshal(body, json.Deterministic(true))
	if err != nil {
		t.fault("%v", err)
		return r
	}
	e, refused := envelope.Parse(data, envelope.DefaultLimits())
	if refused != nil {
		t.fault("%s: %s", refused.Param, refused.Message)
		t.known = append(t.known, strings.Fields("json needs account_tier credits seed input_tokens account key")...)
		t.done()
		return r
	}
	pinned := w.describe(t, r, e, text)
	if t.has("input_tokens") {
		r.InputTokens = uint32(t.whole("input_tokens", 0, 1<<32-1))
	}
	t.done()
	r.Options = w.options(r, pinned)
	return r
}

// describe fills in what the gateway would tell the policy. It returns the provider that the request insists on.
func (w *world) describe(t *fields, r *policy.Request, e *envelope.Envelope, text string) (pinned string) {
	r.Task, r.Privacy, r.Latency, r.Needs = e.Task, e.Privacy, e.Latency, e.Needs
	r.InputTokens, r.MaxOutput, r.Messages, r.Session = e.InputTokens, e.MaxTokens, uint32(e.Messages), e.Session
	for flag, on := range map[uint8]bool{abi.FlagStream: e.Stream, abi.FlagNoFallback: e.NoFallback, abi.FlagJSON: t.flag("json", e.Needs&abi.CapJSONSchema != 0)} {
		if on {
			r.Flags |= flag
		}
	}
	if e.HasLevel {
		level, ok := policy.ParseLevel(e.PowerLevel)
		if !ok {
			t.fault("power_level %q is not known%s", e.PowerLevel, instead(e.PowerLevel, []string{"eco", "balanced", "precision", "custom"}))
		}
		r.Level = level
	}
	pinned = w.named(t, r, e.Model)
	if t.has("needs") {
		r.Needs |= bitsOf(t, "needs", policy.ParseCapability, policy.CapabilityNames(^uint32(0)))
	}
	tiers := []string{"free", "starter", "professional", "enterprise"}
	r.AccountTier = oneOf(t, "account_tier", 3, func(name string) (uint8, bool) {
		i := slices.Index(tiers, name)
		return uint8(max(i, 0)), i >= 0
	}, tiers...)
	r.Credits = int64(t.number("credits", 1000, 0, 1e9)*1e6 + 0.5)
	r.Seed = t.whole("seed", 1, 1<<53)
	if text != "" {
		r.Text = []byte(text)
	} else if given, ok := lastUserText(t.values["messages"]); ok {
		r.Text = []byte(given)
	}
	if len(r.Text) > abi.MaxText {
		r.Text = r.Text[:abi.MaxText]
	}
	r.Metadata = metadataText(t)
	return pinned
}

// named resolves the model of the request, as the gateway does, and the level that follows from it.
func (w *world) named(t *fields, r *policy.Request, asked string) (pinned string) {
	level, isLevel := policy.ParseLevel(asked)
	switch {
	case asked == "" || asked == "auto" || strings.HasPrefix(asked, "auto/"):
		if r.Level == 0 {
			r.Level = abi.LevelBalanced // of a new account
		}
	case isLevel && level != abi.LevelCustom:
		if r.Level == 0 {
			r.Level = level
		}
	default:
		if r.Level == 0 {
			r.Level = abi.LevelCustom
		}
		found := w.find(t, "model", asked)
		if len(found) > 0 {
			r.Model = w.all[found[0]].Model
		}
		if res, ok := w.catalog.Resolve(asked); ok {
			pinned = res.Provider
		}
	}
	return pinned
}

// lastUserText is the text of the last user message.
func lastUserText(messages any) (string, bool) {
	list, _ := messages.([]any)
	if tables, ok := messages.([]map[string]any); ok {
		for _, m := range tables {
			list = append(list, m)
		}
	}
	for _, m := range slices.Backward(list) {
		message, _ := m.(map[string]any)
		if message["role"] == "user" {
			text, ok := message["content"].(string)
			return text, ok
		}
	}
	return "", false
}

// metadataText is the request's metadata as a policy with that grant gets it.
func metadataText(t *fields) []byte {
	values := map[string]any{"account": t.text("account", "default"), "key": t.text("key", "key-1")}
	if user, ok := t.values["user"].(string); ok {
		values["user"] = user
	}
	if given, ok := t.values["metadata"].(map[string]any); ok {
		for key, v := range given {
			values["metadata."+key] = v
		}
	}
	var lines strings.Builder
	for _, key := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&lines, "%s=%v\n", key, values[key])
	}
	return []byte(lines.String())
}

// history reads what became of the rounds before.
func (w *world) history(tables []*fields) []policy.Outcome {
	var all []policy.Outcome
	kinds := []string{"", "answer", "ask"}
	finishes := []string{"", "stop", "length", "tool_calls", "content_filter"}
	index := func(names []string) func(string) (uint8, bool) {
		return func(name string) (uint8, bool) {
			i := slices.Index(names, name)
			return uint8(max(i, 0)), i >= 0 && name != ""
		}
	}
	for _, t := range tables {
		o := policy.Outcome{
			Round: uint8(t.whole("round", 0, abi.MaxRounds-1)), Kind: oneOf(t, "kind", abi.KindAnswer, index(kinds), kinds...),
			HTTP: uint16(t.whole("status", 200, 599)), Tag: uint32(t.whole("tag", 0, 1<<32-1)), Input: uint32(t.whole("input_tokens", 0, 1<<32-1)),
			Output: uint32(t.whole("output_tokens", 0, 1<<32-1)), TTFT: float32(t.number("ttft", 0, 0, 1e9)), Latency: float32(t.number("latency", 0, 0, 1e9)),
			Finish: oneOf(t, "finish", abi.FinishStop, index(finishes), finishes...), Credits: int64(t.number("credits", 0, 0, 1e9)*1e6 + 0.5),
			Text: []byte(t.text("text", "")),
		}
		if t.has("failure") {
			o.Failure, o.Finish = policy.ParseFailure(t.text("failure", "")), abi.FinishUnknown
		} else {
			o.Flags |= abi.OutcomeOK
		}
		for flag, key := range map[uint32]string{
			abi.OutcomeEmpty: "empty", abi.OutcomeJSON: "json", abi.OutcomeRefusal: "refusal", abi.OutcomeRefusalPhrase: "refusal_phrase",
			abi.OutcomeSimulated: "simulated", abi.OutcomeOwnKey: "byok",
		} {
			if t.flag(key, false) {
				o.Flags |= flag
			}
		}
		if found := w.find(t, "model", t.text("model", "")); len(found) > 0 {
			o.Candidate, o.Key = uint16(found[0]), w.all[found[0]].Key
		}
		t.done()
		all = append(all, o)
	}
	return all
}
