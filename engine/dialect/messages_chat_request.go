package dialect

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// RequestMessagesToChat appends a chat completion request made of body, a request of the Messages API, in the form that
// [RequestChatToMessages] takes back. It returns the paths of the fields that could not be carried over, each once, and
// without indexes. An error is a [*RequestError]: the body is not valid JSON (duplicate names and invalid UTF-8 included), or
// means something that chat completions cannot express, such as a file stored at Anthropic. Each turn is translated by itself
// and in its order, so that the beginning of a conversation is the same bytes in every request of it.
//
// Mappings that are a choice:
//   - Consecutive messages of one role are one turn, as they are to the API. A turn of the assistant becomes one message:
//     thinking, texts, calls. Where that moves a block past another, "messages[].content" is reported.
//   - Results of tools become messages of role tool, before everything else in their turn. Those take texts only: images and
//     documents in a result come in the message of the user that follows, under the id of their call.
//   - is_error has no counterpart: the text of such a result begins with "Error", or has "Error: " put before it.
//   - Signed thinking is kept byte for byte in thinking_blocks; thinking without a signature, which other models have done,
//     becomes reasoning_content.
//   - What tools that the API runs itself have done in earlier turns is left out, as are such tools while others remain; both
//     are reported. Tools that clients run by a schema which only Claude knows (computer, bash, ...) are refused.
//   - Documents of plain text, and search results, become texts below their title, source and context.
//   - thinking becomes reasoning_effort: up to 1024 tokens minimal, below 4096 low, below 12288 medium, below 32768 high, else
//     xhigh. The effort of output_config wins over a budget; adaptive thinking without one is high, as it is to the API; max is
//     xhigh. Thinking that is disabled, or between tools only, is reported: the model thinks as it does by itself.
//   - output_config.format becomes a strict response_format. Schemas that OpenAI refuses as strict (properties that are not
//     required, objects that are open) are sent without, which is reported; likewise those of strict tools.
//   - metadata.user_id becomes user; in place of one with more than 64 bytes, which OpenAI refuses, comes its SHA-256.
//   - service_tier standard_only becomes default, and auto is left out.
//   - top_k and cache_control are kept, though OpenAI knows neither.
func RequestMessagesToChat(dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	return translateBody(dst, body, &messagesRequest{opt: opt})
}

// messagesRequest is a request of the Messages API as raw values, and the state of its translation.
type messagesRequest struct {
	losses
	opt RequestOptions

	model, messages, system, maxTokens, tools, toolChoice, servers, stops []byte
	temperature, topP, topK, thinking, outputConfig, outputFormat         []byte
	stream, metadata, tier, cache                                         []byte

	names [][]byte // of the tools that are sent, unquoted
	away  string   // the path of a tool that is not, "" if all are
}

// read collects the top-level members. The body is valid.
func (r *messagesRequest) read(body []byte) error {
	into := map[string]*[]byte{
		"model": &r.model, "messages": &r.messages, "system": &r.system, "max_tokens": &r.maxTokens, "tools": &r.tools,
		"tool_choice": &r.toolChoice, "mcp_servers": &r.servers, "stop_sequences": &r.stops, "temperature": &r.temperature,
		"top_p": &r.topP, "top_k": &r.topK, "thinking": &r.thinking, "output_config": &r.outputConfig,
		"output_format": &r.outputFormat, "stream": &r.stream, "metadata": &r.metadata, "service_tier": &r.tier,
		"cache_control": &r.cache,
	}
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		name := string(key)
		if isNull(v) || slices.Contains(r.opt.Consumed, name) && name != "model" {
			continue
		}
		if to := into[name]; to != nil {
			*to = v
			continue
		}
		switch {
		case name == "inference_geo" && string(inner(v)) != "global": // a promise about where the data go
			return requestErrorf(name, "is not possible with this model")
		case name == "inference_geo", isEmpty(v):
		default:
			r.drop(name)
		}
	}
	if !c.end() {
		return requestErrorf("", "the body is not a JSON object, or is nested too deeply")
	}
	return nil
}

// append writes the translated request.
func (r *messagesRequest) append(dst []byte) ([]byte, error) {
	dst = append(dst, `{"model":`...)
	switch {
	case r.opt.Model != "":
		dst = appendQuoted(dst, r.opt.Model)
	case isString(r.model):
		dst = append(dst, r.model...)
	default:
		return nil, requestErrorf("model", "must be a string")
	}
	if n, err := strconv.ParseInt(string(r.maxTokens), 10, 64); err != nil || n < 1 {
		return nil, requestErrorf("max_tokens", "must be a positive integer")
	}
	dst = append(append(dst, `,"max_tokens":`...), r.maxTokens...)
	for _, write := range []func([]byte) ([]byte, error){
		r.appendMessages, r.appendTools, r.appendToolChoice, r.appendStops, r.appendSampling, r.appendEffort, r.appendFormat,
		r.appendStream, r.appendMetadata, r.appendTier,
	} {
		var err error
		if dst, err = write(dst); err != nil {
			return nil, err
		}
	}
	return append(appendCache(dst, r.cache), '}'), nil
}

func (r *messagesRequest) appendStops(dst []byte) ([]byte, error) {
	if len(r.stops) == 0 {
		return dst, nil
	}
	if r.stops[0] != '[' {
		return nil, requestErrorf("stop_sequences", "must be an array of strings")
	}
	n := 0
	for v := range elements(r.stops) {
		if n++; !isString(v) {
			return nil, requestErrorf("stop_sequences", "must be an array of strings")
		}
	}
	if n == 0 {
		return dst, nil
	}
	return append(append(dst, `,"stop":`...), r.stops...), nil
}

func (r *messagesRequest) appendSampling(dst []byte) ([]byte, error) {
	for _, m := range []struct {
		name  string
		value []byte
	}{{"temperature", r.temperature}, {"top_p", r.topP}, {"top_k", r.topK}} {
		if len(m.value) == 0 {
			continue
		}
		if k := m.value[0]; k < '0' || k > '9' {
			return nil, requestErrorf(m.name, "must be a number, not negative")
		}
		dst = append(append(append(dst, `,"`...), m.name...), `":`...)
		dst = append(dst, m.value...)
	}
	return dst, nil
}

func (r *messagesRequest) appendStream(dst []byte) ([]byte, error) {
	if len(r.stream) == 0 {
		return dst, nil
	}
	if k := r.stream[0]; k != 't' && k != 'f' {
		return nil, requestErrorf("stream", "must be a boolean")
	}
	return append(append(dst, `,"stream":`...), r.stream...), nil
}

func (r *messagesRequest) appendMetadata(dst []byte) ([]byte, error) {
	if len(r.metadata) == 0 {
		return dst, nil
	}
	if r.metadata[0] != '{' {
		return nil, requestErrorf("metadata", "must be an object")
	}
	const longest = 64
	var key []byte
	c := cursor{b: r.metadata}
	for c.object(); c.member(&key); {
		v := c.value()
		switch {
		case isEmpty(v):
		case string(key) != "user_id":
			r.drop("metadata." + string(key))
		case !isString(v):
			return nil, requestErrorf("metadata.user_id", "must be a string")
		case len(unquoted(v)) > longest:
			sum := sha256.Sum256(unquoted(v))
			dst = appendQuoted(append(dst, `,"user":`...), hex.EncodeToString(sum[:]))
		default:
			dst = append(append(dst, `,"user":`...), v...)
		}
	}
	return dst, nil
}

func (r *messagesRequest) appendTier(dst []byte) ([]byte, error) {
	switch string(inner(r.tier)) {
	case "auto": // is what happens anyway
	case "standard_only":
		dst = append(dst, `,"service_tier":"default"`...)
	default:
		if len(r.tier) > 0 {
			r.drop("service_tier")
		}
	}
	return dst, nil
}
