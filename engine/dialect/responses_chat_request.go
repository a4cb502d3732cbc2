package dialect

import (
	"slices"
	"strconv"
)

// RequestResponsesToChat appends a chat completion request made of body, a request of the Responses API. It returns the
// paths of the fields that could not be carried over, each once, and without indexes: "truncation", "input[].phase". An
// error is a [*RequestError]: the body is not valid JSON (duplicate names and invalid UTF-8 included), or means something
// that a chat completion cannot express, such as a built-in tool or a response that would have to be stored.
//
// Mappings that are a choice:
//   - instructions are the first message, of the system.
//   - What the assistant did in one go is one message: reasoning, a message, calls of tools. A second message before any
//     call, and reasoning after a message, begin another one.
//   - The text of reasoning (its content, else its summary) becomes reasoning_content; encrypted_content is dropped, as no
//     other model can read it. [RequestOptions.DropThinking] drops the text too.
//   - A single text part is written as a string, which every provider takes.
//   - Images and files in the output of a function stay in the message of the tool.
//   - parallel_tool_calls and tool_choice are not sent without tools, nor are values that are the default, as providers
//     refuse them.
//   - ids and states of items are those of stored objects and mean nothing here; they are not reported.
func RequestResponsesToChat(dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	return translateBody(dst, body, &inputRequest{opt: opt})
}

// inputRequest is a request of the Responses API as raw values, and the state of its translation.
type inputRequest struct {
	losses
	opt RequestOptions

	model, input, instructions, tools, toolChoice, parallel []byte
	text, reasoning, limit, topLogprobs, include, stream    []byte

	same []byte // members that both dialects have, with a comma before each
}

// read collects the top-level members. The body is valid.
func (r *inputRequest) read(body []byte) error {
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) || slices.Contains(r.opt.Consumed, string(key)) && string(key) != "model" {
			continue
		}
		switch string(key) {
		case "model":
			r.model = v
		case "input":
			r.input = v
		case "instructions":
			r.instructions = v
		case "tools":
			r.tools = v
		case "tool_choice":
			r.toolChoice = v
		case "parallel_tool_calls":
			r.parallel = v
		case "text":
			r.text = v
		case "reasoning":
			r.reasoning = v
		case "max_output_tokens":
			r.limit = v
		case "top_logprobs":
			r.topLogprobs = v
		case "include":
			r.include = v
		case "stream":
			r.stream = v
		case "temperature", "top_p", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier":
			r.same = appendMember(r.same, string(key), v)
		case "metadata":
			if !isEmpty(v) {
				r.same = appendMember(r.same, "metadata", v)
			}
		default:
			if err := r.other(string(key), v); err != nil {
				return err
			}
		}
	}
	if !c.end() {
		return requestErrorf("", "the body is not a JSON object, or is nested too deeply")
	}
	return nil
}

// other reads a member that chat completions have no counterpart of.
func (r *inputRequest) other(name string, v []byte) error {
	switch name {
	case "previous_response_id", "conversation":
		return requestErrorf(name, "this gateway stores no responses: send the whole input with each request")
	case "background":
		if string(v) != "false" {
			return requestErrorf(name, "this gateway stores no responses, so that none can be fetched later")
		}
	case "prompt":
		return requestErrorf(name, "templates stored at a provider are not possible with this model: send the text")
	case "moderation":
		return requestErrorf(name, "is not possible with this model")
	case "truncation":
		if string(inner(v)) != "disabled" {
			r.drop(name)
		}
	case "stream_options": // usage is always reported, and nothing is obfuscated
		if string(members(v, "include_obfuscation")[0]) == "true" {
			r.drop("stream_options.include_obfuscation")
		}
	case "prompt_cache_options":
		return r.cacheOptions(v)
	default:
		if !isDefault(name, v) && !isEmpty(v) {
			r.drop(name)
		}
	}
	return nil
}

// cacheOptions carries over what chat completions know of prompt_cache_options.
func (r *inputRequest) cacheOptions(v []byte) error {
	if v[0] != '{' {
		return requestErrorf("prompt_cache_options", "must be an object")
	}
	var known, key []byte
	c := cursor{b: v}
	for c.object(); c.member(&key); {
		switch v := c.value(); string(key) {
		case "mode", "ttl":
			known = appendMember(known, string(key), v)
		default:
			if !isEmpty(v) && string(v) != "false" {
				r.drop("prompt_cache_options." + string(key))
			}
		}
	}
	if len(known) > 0 {
		r.same = append(r.same, `,"prompt_cache_options":`...)
		r.same = appendEnclosed(r.same, '{', known[1:], '}')
	}
	return nil
}

// append writes the translated request.
func (r *inputRequest) append(dst []byte) ([]byte, error) {
	dst = append(dst, `{"model":`...)
	switch {
	case r.opt.Model != "":
		dst = appendQuoted(dst, r.opt.Model)
	case isString(r.model):
		dst = append(dst, r.model...)
	default:
		return nil, requestErrorf("model", "must be a string")
	}
	for _, write := range []func([]byte) ([]byte, error){
		r.appendMessages, r.appendTools, r.appendText, r.appendReasoning, r.appendLogprobs,
	} {
		var err error
		if dst, err = write(dst); err != nil {
			return nil, err
		}
	}
	if len(r.limit) > 0 {
		if n, err := strconv.ParseInt(string(r.limit), 10, 64); err != nil || n < 1 {
			return nil, requestErrorf("max_output_tokens", "must be a positive integer")
		}
		dst = appendMember(dst, "max_completion_tokens", r.limit)
	}
	if len(r.stream) > 0 {
		if k := r.stream[0]; k != 't' && k != 'f' {
			return nil, requestErrorf("stream", "must be a boolean")
		}
		dst = appendMember(dst, "stream", r.stream)
	}
	return append(append(dst, r.same...), '}'), nil
}

// appendText writes response_format and verbosity.
func (r *inputRequest) appendText(dst []byte) ([]byte, error) {
	if len(r.text) == 0 {
		return dst, nil
	}
	if r.text[0] != '{' {
		return nil, requestErrorf("text", "must be an object")
	}
	var format, verbosity, key []byte
	c := cursor{b: r.text}
	for c.object(); c.member(&key); {
		switch v := c.value(); string(key) {
		case "format":
			format = v
		case "verbosity":
			verbosity = v
		default:
			if !isEmpty(v) {
				r.drop("text." + string(key))
			}
		}
	}
	if v := string(inner(verbosity)); v != "" && v != "medium" {
		dst = appendMember(dst, "verbosity", verbosity)
	}
	if isNull(format) {
		return dst, nil
	}
	switch string(inner(members(format, "type")[0])) {
	case "text":
		return dst, nil
	case "json_object":
		return append(dst, `,"response_format":{"type":"json_object"}`...), nil
	case "json_schema":
		return r.appendSchema(dst, format)
	}
	return nil, requestErrorf("text.format.type", "must be text, json_object or json_schema")
}

// appendSchema writes a response_format of the type json_schema, whose members are one level deeper there.
func (r *inputRequest) appendSchema(dst, format []byte) ([]byte, error) {
	m := members(format, "name", "schema")
	if len(inner(m[0])) == 0 {
		return nil, requestErrorf("text.format.name", "must be a string")
	}
	if len(m[1]) == 0 || m[1][0] != '{' {
		return nil, requestErrorf("text.format.schema", "must be an object")
	}
	var known, key []byte
	c := cursor{b: format}
	for c.object(); c.member(&key); {
		switch v := c.value(); string(key) {
		case "type":
		case "name", "description", "schema", "strict":
			if !isNull(v) {
				known = appendMember(known, string(key), v)
			}
		default:
			if !isEmpty(v) {
				r.drop("text.format." + string(key))
			}
		}
	}
	dst = append(dst, `,"response_format":{"type":"json_schema","json_schema":`...)
	return append(appendEnclosed(dst, '{', known[1:], '}'), '}'), nil
}

// appendReasoning writes reasoning_effort.
func (r *inputRequest) appendReasoning(dst []byte) ([]byte, error) {
	if len(r.reasoning) == 0 {
		return dst, nil
	}
	if r.reasoning[0] != '{' {
		return nil, requestErrorf("reasoning", "must be an object")
	}
	var key []byte
	c := cursor{b: r.reasoning}
	for c.object(); c.member(&key); {
		v := c.value()
		switch name := string(key); {
		case isEmpty(v):
		case name == "effort":
			if !isString(v) {
				return nil, requestErrorf("reasoning.effort", "must be a string")
			}
			dst = appendMember(dst, "reasoning_effort", v)
		case name == "context" && string(inner(v)) == "auto", name == "mode" && string(inner(v)) == "standard":
		default:
			r.drop("reasoning." + name)
		}
	}
	return dst, nil
}

// appendLogprobs writes logprobs and top_logprobs, of which either may be asked for.
func (r *inputRequest) appendLogprobs(dst []byte) ([]byte, error) {
	wanted := false
	if len(r.topLogprobs) > 0 {
		n, err := strconv.ParseInt(string(r.topLogprobs), 10, 64)
		if err != nil || n < 0 {
			return nil, requestErrorf("top_logprobs", "must be an integer, not negative")
		}
		wanted = n > 0
	}
	if len(r.include) > 0 && r.include[0] != '[' {
		return nil, requestErrorf("include", "must be an array of strings")
	}
	for v := range elements(r.include) {
		switch name := string(inner(v)); name {
		case "message.output_text.logprobs":
			wanted = true
		case "reasoning.encrypted_content", "web_search_call.results", "web_search_call.action.sources", "file_search_call.results",
			"message.input_image.image_url", "computer_call_output.output.image_url", "code_interpreter_call.outputs":
			r.drop("include." + name)
		default:
			r.drop("include")
		}
	}
	if !wanted {
		return dst, nil
	}
	dst = append(dst, `,"logprobs":true`...)
	if len(r.topLogprobs) > 0 {
		dst = appendMember(dst, "top_logprobs", r.topLogprobs)
	}
	return dst, nil
}

// appendMember appends a member and the comma before it. The name needs no escapes.
func appendMember(dst []byte, name string, v []byte) []byte {
	dst = append(dst, `,"`...)
	dst = append(append(dst, name...), `":`...)
	return append(dst, v...)
}
