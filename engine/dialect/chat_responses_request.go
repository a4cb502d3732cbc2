package dialect

import (
	"bytes"
	"slices"
	"strconv"
)

// leastOutputTokens is the smallest output limit that the Responses API takes.
const leastOutputTokens = 16

// RequestChatToResponses appends a Responses API request made of body, a chat completion request. It returns the paths of
// the fields that could not be carried over, each once, and without indexes: "seed", "messages[].name". An error is a
// [*RequestError]: the body is not valid JSON (duplicate names and invalid UTF-8 included), or means something that the
// Responses API cannot express, such as n above 1 or stop sequences. Of the options only Model and Consumed matter.
//
// Mappings that are a choice:
//   - store is false always: what passes the gateway is not to be kept elsewhere.
//   - Every message is an item of input at its place, the instructions of the system too.
//   - Texts of the assistant are joined, as are those of a tool's result.
//   - A function without strict gets strict false, as this API would take it for strict otherwise.
//   - An output limit below the API's least, 16 tokens, is raised to that and reported.
//   - reasoning_effort becomes reasoning.effort. No summary of the reasoning is asked for, as OpenAI refuses that to
//     organizations that it has not verified.
//   - ids of tool calls are kept unless they are longer than the API takes: those are replaced by a hash, the same way in
//     the call and its result.
func RequestChatToResponses(dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	return translateBody(dst, body, &responsesRequest{opt: opt})
}

// responsesRequest is a chat completion request as raw values, and the state of its translation.
type responsesRequest struct {
	losses
	opt RequestOptions

	model, messages, tools, toolChoice, parallel, stream, streamOptions []byte
	maxTokens, maxCompletion, effort, format, verbosity                 []byte
	logprobs, topLogprobs                                               []byte

	same []byte // the members that both APIs have, each with a comma before it
}

// read collects the top-level members. The body is valid.
func (r *responsesRequest) read(body []byte) error {
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
		case "stream":
			r.stream = v
		case "stream_options":
			r.streamOptions = v
		case "max_tokens":
			r.maxTokens = v
		case "max_completion_tokens":
			r.maxCompletion = v
		case "reasoning_effort":
			r.effort = v
		case "response_format":
			r.format = v
		case "verbosity":
			r.verbosity = v
		case "logprobs":
			r.logprobs = v
		case "top_logprobs":
			r.topLogprobs = v
		case "temperature", "top_p":
			err = r.keep(string(key), v, isNumber(v), "must be a number")
		case "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier":
			err = r.keep(string(key), v, isString(v), "must be a string")
		case "metadata", "prompt_cache_options", "moderation":
			if !isEmpty(v) {
				err = r.keep(string(key), v, v[0] == '{', "must be an object")
			}
		case "n":
			if string(v) != "1" {
				err = requestErrorf("n", "only one choice is possible with this model")
			}
		case "stop":
			if !isEmpty(v) { // without it the answer would go on where it should end
				err = requestErrorf("stop", "is not possible with this model")
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

// isNumber reports whether a value is a number.
func isNumber(v []byte) bool { return len(v) > 0 && (v[0] == '-' || v[0]-'0' < 10) }

// keep takes over a member that both APIs have.
func (r *responsesRequest) keep(name string, v []byte, ok bool, otherwise string) error {
	if !ok {
		return requestErrorf(name, "%s", otherwise)
	}
	r.same = appendMember(r.same, name, v)
	return nil
}

// append writes the translated request.
func (r *responsesRequest) append(dst []byte) ([]byte, error) {
	var err error
	dst = append(dst, `{"model":`...)
	switch {
	case r.opt.Model != "":
		dst = appendQuoted(dst, r.opt.Model)
	case isString(r.model):
		dst = append(dst, r.model...)
	default:
		return nil, requestErrorf("model", "must be a string")
	}
	if dst, err = r.appendInput(dst); err != nil {
		return nil, err
	}
	if dst, err = r.appendTools(dst); err != nil {
		return nil, err
	}
	if dst, err = r.appendText(dst); err != nil {
		return nil, err
	}
	if len(r.effort) > 0 {
		if !isString(r.effort) {
			return nil, requestErrorf("reasoning_effort", "must be a string")
		}
		dst = append(append(append(dst, `,"reasoning":{"effort":`...), r.effort...), '}')
	}
	if dst, err = r.appendLimit(dst); err != nil {
		return nil, err
	}
	if dst, err = r.appendLogprobs(dst); err != nil {
		return nil, err
	}
	dst = append(append(dst, r.same...), `,"store":false`...)
	if dst, err = r.appendStream(dst); err != nil {
		return nil, err
	}
	return append(dst, '}'), nil
}

// appendText writes text: the format and the verbosity of the answer.
func (r *responsesRequest) appendText(dst []byte) ([]byte, error) {
	format, err := r.textFormat()
	if err != nil {
		return nil, err
	}
	if len(r.verbosity) > 0 && !isString(r.verbosity) {
		return nil, requestErrorf("verbosity", "must be a string")
	}
	if len(format) == 0 && len(r.verbosity) == 0 {
		return dst, nil
	}
	var members []byte
	if len(format) > 0 {
		members = append(append(members, `"format":`...), format...)
	}
	if len(r.verbosity) > 0 {
		members = appendElement(members, append([]byte(`"verbosity":`), r.verbosity...))
	}
	return appendEnclosed(append(dst, `,"text":`...), '{', members, '}'), nil
}

// textFormat is the format of the answer, nil for text without one.
func (r *responsesRequest) textFormat() ([]byte, error) {
	if len(r.format) == 0 {
		return nil, nil
	}
	m := members(r.format, "type", "json_schema")
	switch string(inner(m[0])) {
	case "text":
		return nil, nil
	case "json_object":
		return []byte(`{"type":"json_object"}`), nil
	case "json_schema":
	default:
		return nil, requestErrorf("response_format.type", "must be text, json_object or json_schema")
	}
	const path = "response_format.json_schema"
	s := members(m[1], "name", "schema", "strict", "description")
	switch {
	case len(inner(s[0])) == 0:
		return nil, requestErrorf(path+".name", "must be a string")
	case len(s[1]) == 0 || s[1][0] != '{':
		return nil, requestErrorf(path+".schema", "must be an object")
	case len(s[2]) > 0 && !isBool(s[2]):
		return nil, requestErrorf(path+".strict", "must be a boolean")
	}
	format := appendMember([]byte(`{"type":"json_schema"`), "name", s[0])
	if isString(s[3]) {
		format = appendMember(format, "description", s[3])
	}
	format = appendMember(format, "schema", s[1])
	format = appendMember(format, "strict", orElse(s[2], "false"))
	return append(format, '}'), nil
}

// isBool reports whether a value is a boolean.
func isBool(v []byte) bool { return len(v) > 0 && (v[0] == 't' || v[0] == 'f') }

// appendLimit writes the output limit.
func (r *responsesRequest) appendLimit(dst []byte) ([]byte, error) {
	name, v := "max_completion_tokens", r.maxCompletion
	if len(v) == 0 {
		name, v = "max_tokens", r.maxTokens
	}
	if len(v) == 0 {
		return dst, nil
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n < 1 {
		return nil, requestErrorf(name, "must be a positive integer")
	}
	if n < leastOutputTokens {
		r.drop(name)
		n = leastOutputTokens
	}
	return strconv.AppendInt(append(dst, `,"max_output_tokens":`...), n, 10), nil
}

// appendLogprobs writes include and top_logprobs.
func (r *responsesRequest) appendLogprobs(dst []byte) ([]byte, error) {
	switch {
	case len(r.logprobs) > 0 && !isBool(r.logprobs):
		return nil, requestErrorf("logprobs", "must be a boolean")
	case len(r.topLogprobs) > 0 && !isNumber(r.topLogprobs):
		return nil, requestErrorf("top_logprobs", "must be an integer")
	case string(r.logprobs) == "true":
		dst = append(dst, `,"include":["message.output_text.logprobs"]`...)
		if len(r.topLogprobs) > 0 {
			dst = appendMember(dst, "top_logprobs", r.topLogprobs)
		}
	case len(r.topLogprobs) > 0 && !isDefault("top_logprobs", r.topLogprobs):
		r.drop("top_logprobs") // there is nothing for it to add to
	}
	return dst, nil
}

// appendStream writes stream and what it can be told. Usage is always reported.
func (r *responsesRequest) appendStream(dst []byte) ([]byte, error) {
	if len(r.stream) == 0 {
		return dst, nil
	}
	if !isBool(r.stream) {
		return nil, requestErrorf("stream", "must be a boolean")
	}
	dst = appendMember(dst, "stream", r.stream)
	if obfuscation := members(r.streamOptions, "include_obfuscation")[0]; isBool(obfuscation) && string(r.stream) == "true" {
		dst = appendMember(dst, "stream_options", append(append([]byte(`{"include_obfuscation":`), obfuscation...), '}'))
	}
	return dst, nil
}
