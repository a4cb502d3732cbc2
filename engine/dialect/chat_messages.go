package dialect

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Thinking is the form in which a model takes its share of reasoning, and what goes with that.
type Thinking int

// The forms.
const (
	ThinkingBudget   Thinking = iota // a budget in tokens: models up to Claude 4.5
	ThinkingAdaptive                 // adaptive thinking with an effort: Claude 4.6
	ThinkingEffort                   // nothing else, in a summary if that is asked for, and no temperature, top_p or top_k: Claude 4.7 and later
	ThinkingDefault                  // likewise, and they think unless it is disabled: Claude 5, but for those that always do
)

// ThinkingOf is the form for a model, by its name at the provider: "claude-sonnet-4-6", "us.anthropic.claude-opus-5-20270101-v1:0", "claude-haiku-5@20270101". The sources are Anthropic's
// migration guides for 4.6, 4.7 and 5.
func ThinkingOf(model string) Thinking {
	_, name, ok := strings.Cut(strings.NewReplacer(".", "-", "@", "-").Replace(strings.ToLower(model)), "claude-")
	if !ok {
		return ThinkingBudget
	}
	parts := strings.Split(name, "-")
	if parts[0] == "fable" || parts[0] == "mythos" {
		return ThinkingEffort
	}
	if parts[0] > "9" {
		parts = parts[1:] // the name of the line stands before the version, but for old ones
	}
	version := 0 // in tenths; a longer number is a date
	for i, part := range parts[:min(len(parts), 2)] {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > 9 {
			break
		}
		version += n * [...]int{10, 1}[i]
	}
	switch {
	case version >= 50:
		return ThinkingDefault
	case version >= 47:
		return ThinkingEffort
	case version == 46:
		return ThinkingAdaptive
	}
	return ThinkingBudget
}

// RequestOptions are what the gateway decides about a translated request.
type RequestOptions struct {
	// Model is the upstream's model id, "" for the one in the body.
	Model string
	// DefaultMaxTokens is the output limit if the caller gave none, as the Messages API demands one; 0 means 4096.
	DefaultMaxTokens int
	// Thinking says how reasoning_effort is expressed, and whether the model takes sampling.
	Thinking Thinking
	// DropThinking removes the signed thinking of earlier turns: another model refuses signatures that are not its own.
	DropThinking bool
	// Consumed names top-level fields that the gateway has acted on: they are neither sent nor reported as dropped.
	Consumed []string
}

const defaultMaxTokens = 4096

// RequestChatToMessages appends a Messages API request made of body, a chat completion request. It returns the paths
// of the fields that could not be carried over, each once, and without indexes: "seed", "messages[].name". An error is a
// [*RequestError]: the body is not valid JSON (duplicate names and invalid UTF-8 included), or means something that the
// Messages API cannot express, such as n above 1 or audio.
//
// Mappings that are a choice:
//   - system and developer messages are joined into system; one that stood after other messages loses its place, which
//     is reported as "messages[].role".
//   - Consecutive messages of one side become one turn, so that all results of parallel tool calls come together.
//   - temperature above 1 is cut to 1, and top_p is not sent beside temperature, as current models refuse the pair; both
//     are reported.
//   - reasoning_effort becomes a thinking budget: minimal 1024, low 2048, medium 8192, high 16384, xhigh 32768 tokens, at
//     most half of max_tokens; or an effort of output_config, xhigh being high for [ThinkingAdaptive]. It is dropped, and reported, where the
//     API would refuse: less than 1024 tokens, a forced tool, a tool loop whose call was made without signed thinking.
//     While thinking, temperature, top_k, and top_p below 0.95 are dropped, and all of them from [ThinkingEffort] on. A member thinking in
//     Anthropic's own form is sent as it is instead.
//   - response_format json_schema becomes output_config.format; json_object becomes an instruction at the end of system.
//   - parallel_tool_calls false becomes disable_parallel_tool_use.
//   - ids of tool calls are kept unless they have characters that the API refuses: those are replaced, the same way in the
//     call and its result.
//   - service_tier default becomes standard_only, auto needs no counterpart, and any other is dropped.
//   - cache_control is kept on parts, messages, tools and at the top.
func RequestChatToMessages(dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	return translateBody(dst, body, &request{opt: opt})
}

// request is a chat completion request as raw values, and the state of its translation.
type request struct {
	losses
	opt RequestOptions

	model, messages, tools, toolChoice, parallel, stop, stream, user, safety []byte
	maxTokens, maxCompletion, temperature, topP, topK                        []byte
	effort, thinking, format, cache, tier                                    []byte

	limit     int64 // the output limit that is sent
	hasTools  bool
	forced    bool // a tool must be called
	noThought bool // the conversation does not allow a thinking budget
}

// read collects the top-level members. The body is valid.
func (r *request) read(body []byte) error {
	var key []byte
	var err error
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) || slices.Contains(r.opt.Consumed, string(key)) && string(key) != "model" {
			continue
		}
		switch string(key) {
		case "model":
			r.model = v
		case "messages":
			r.messages = v
		case "tools":
			r.tools = v
		case "tool_choice":
			r.toolChoice = v
		case "parallel_tool_calls":
			r.parallel = v
		case "stop":
			r.stop = v
		case "stream":
			r.stream = v
		case "user":
			r.user = v
		case "safety_identifier":
			r.safety = v
		case "max_tokens":
			r.maxTokens = v
		case "max_completion_tokens":
			r.maxCompletion = v
		case "temperature":
			r.temperature = v
		case "top_p":
			r.topP = v
		case "top_k":
			r.topK = v
		case "reasoning_effort":
			r.effort = v
		case "thinking":
			r.thinking = v
		case "response_format":
			r.format = v
		case "cache_control":
			r.cache = v
		case "service_tier":
			r.tier = v
		case "stream_options": // usage is always reported
		case "n":
			if string(v) != "1" {
				err = requestErrorf("n", "only one choice is possible with this model")
			}
		case "modalities":
			if string(bytes.Join(bytes.Fields(v), nil)) != `["text"]` {
				err = requestErrorf("modalities", "only text is possible with this model")
			}
		case "functions", "function_call":
			err = requestErrorf(string(key), "is not supported with this model, use tools")
		default:
			if name := string(key); !isDefault(name, v) {
				r.drop(name)
			}
		}
		if err != nil {
			return err
		}
	}
	if !c.end() {
		return requestErrorf("", "the body is not a JSON object, or is nested too deeply")
	}
	return nil
}

// isDefault tells values that ask for nothing, so that leaving them out loses nothing.
func isDefault(name string, v []byte) bool {
	switch name {
	case "logprobs", "store":
		return string(v) == "false"
	case "frequency_penalty", "presence_penalty", "top_logprobs":
		f, err := strconv.ParseFloat(string(v), 64)
		return err == nil && f == 0
	case "logit_bias", "metadata":
		return isEmpty(v)
	}
	return false
}

// append writes the translated request.
func (r *request) append(dst []byte) ([]byte, error) {
	var err error
	if r.limit, err = r.outputLimit(); err != nil {
		return nil, err
	}
	dst = append(dst, `{"model":`...)
	switch {
	case r.opt.Model != "":
		dst = appendQuoted(dst, r.opt.Model)
	case isString(r.model):
		dst = append(dst, r.model...)
	default:
		return nil, requestErrorf("model", "must be a string")
	}
	dst = append(dst, `,"max_tokens":`...)
	dst = strconv.AppendInt(dst, r.limit, 10)

	var instruction string
	var outputFormat []byte
	if outputFormat, instruction, err = r.responseFormat(); err != nil {
		return nil, err
	}
	if dst, err = r.appendMessages(dst, instruction); err != nil {
		return nil, err
	}
	if dst, err = r.appendTools(dst); err != nil {
		return nil, err
	}
	if dst, err = r.appendStops(dst); err != nil {
		return nil, err
	}
	if dst, err = r.appendThinkingAndSampling(dst, outputFormat); err != nil {
		return nil, err
	}
	if len(r.stream) > 0 {
		if k := r.stream[0]; k != 't' && k != 'f' {
			return nil, requestErrorf("stream", "must be a boolean")
		}
		dst = append(append(dst, `,"stream":`...), r.stream...)
	}
	if dst, err = r.appendUser(dst); err != nil {
		return nil, err
	}
	switch string(inner(r.tier)) {
	case "auto": // is what happens anyway
	case "default":
		dst = append(dst, `,"service_tier":"standard_only"`...)
	default:
		if len(r.tier) > 0 {
			r.drop("service_tier")
		}
	}
	if len(r.cache) > 0 {
		dst = append(append(dst, `,"cache_control":`...), r.cache...)
	}
	return append(dst, '}'), nil
}

func (r *request) outputLimit() (int64, error) {
	name, v := "max_completion_tokens", r.maxCompletion
	if len(v) == 0 {
		name, v = "max_tokens", r.maxTokens
	}
	if len(v) == 0 {
		if r.opt.DefaultMaxTokens > 0 {
			return int64(r.opt.DefaultMaxTokens), nil
		}
		return defaultMaxTokens, nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 1 {
		return 0, requestErrorf(name, "must be a positive integer")
	}
	return n, nil
}

// responseFormat returns the format member of output_config, or an instruction for the model.
func (r *request) responseFormat() (format []byte, instruction string, err error) {
	if len(r.format) == 0 {
		return nil, "", nil
	}
	f := members(r.format, "type", "json_schema")
	switch string(inner(f[0])) {
	case "text":
		return nil, "", nil
	case "json_object":
		return nil, "Answer with a single valid JSON object and nothing else.", nil
	case "json_schema":
	default:
		return nil, "", requestErrorf("response_format.type", "must be text, json_object or json_schema")
	}
	// The API always holds the model to the schema: strict needs no counterpart, name and description have none.
	s := members(f[1], "schema")
	if len(s[0]) == 0 || s[0][0] != '{' {
		return nil, "", requestErrorf("response_format.json_schema.schema", "must be an object")
	}
	format = append(format, `{"type":"json_schema","schema":`...)
	return append(append(format, s[0]...), '}'), "", nil
}

func (r *request) appendStops(dst []byte) ([]byte, error) {
	if len(r.stop) == 0 {
		return dst, nil
	}
	one := append(append([]byte{'['}, r.stop...), ']')
	list := r.stop
	if isString(r.stop) {
		list = one
	} else if r.stop[0] != '[' {
		return nil, requestErrorf("stop", "must be a string or an array of strings")
	}
	n := 0
	c := cursor{b: list}
	for c.array(); c.element(); {
		v := c.value()
		switch {
		case !isString(v):
			return nil, requestErrorf("stop", "must be a string or an array of strings")
		case len(bytes.TrimSpace(unquoted(v))) == 0: // refused by the API
			r.drop("stop")
			continue
		case n == 0:
			dst = append(dst, `,"stop_sequences":[`...)
		default:
			dst = append(dst, ',')
		}
		dst = append(dst, v...)
		n++
	}
	if n > 0 {
		dst = append(dst, ']')
	}
	return dst, nil
}

func (r *request) appendUser(dst []byte) ([]byte, error) {
	name, v := "user", r.user
	if len(v) == 0 {
		name, v = "safety_identifier", r.safety
	} else if len(r.safety) > 0 {
		r.drop("safety_identifier")
	}
	const longest = 256
	switch {
	case len(v) == 0:
		return dst, nil
	case !isString(v):
		return nil, requestErrorf(name, "must be a string")
	case len(unquoted(v)) > longest:
		r.drop(name)
		return dst, nil
	}
	dst = append(append(dst, `,"metadata":{"user_id":`...), v...)
	return append(dst, '}'), nil
}

// members returns the values of the named members of an object, nil for those that are absent or null, and for all if v
// is not an object.
func members(v []byte, names ...string) [4][]byte {
	var out [4][]byte
	if len(v) == 0 || v[0] != '{' {
		return out
	}
	var key []byte
	c := cursor{b: v}
	for c.object(); c.member(&key); {
		v := c.value()
		if i := slices.Index(names, string(key)); i >= 0 && !isNull(v) {
			out[i] = v
		}
	}
	return out
}
