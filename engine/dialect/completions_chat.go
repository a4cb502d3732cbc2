package dialect

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// RequestCompletionsToChat appends a chat completion request made of body, a legacy completion request: the prompt becomes the
// one message of the user, so that the model answers it where the old ones went on with it. Other members are copied byte for
// byte. It returns the paths of the fields that could not be carried over. An error is a [*RequestError]: the body is not valid
// JSON, or asks for what chat completions cannot do: several prompts, prompts in tokens, suffix, echo, logprobs.
func RequestCompletionsToChat(dst, body []byte, opt RequestOptions) (out []byte, dropped []string, err error) {
	if !jsontext.Value(body).IsValid() {
		return dst, nil, requestErrorf("", "the body is not valid JSON")
	}
	start, first := len(dst), true
	var lost losses
	var prompt, key []byte
	member := func(name string, value []byte) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(appendQuoted(dst, name), ':'), value...)
	}
	dst = append(dst, '{')
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		v := c.value()
		name := string(key)
		switch {
		case isNull(v) || slices.Contains(opt.Consumed, name) && name != "model":
		case name == "prompt":
			prompt = v
		case name == "model" && opt.Model != "":
			member(name, appendQuoted(nil, opt.Model))
		case (name == "suffix" || name == "echo" || name == "logprobs") && !isEmpty(v) && string(v) != "false":
			return dst[:start], nil, requestErrorf(name, "is not possible with this model")
		case name == "suffix", name == "echo", name == "logprobs":
		case name == "messages":
			return dst[:start], nil, requestErrorf(name, "is not a field of completions")
		case name == "best_of":
			if string(v) != "1" {
				lost.drop(name)
			}
		default:
			member(name, v)
		}
	}
	if !c.end() {
		return dst[:start], nil, requestErrorf("", "the body is not a JSON object, or is nested too deeply")
	}
	if prompt, err = onePrompt(prompt); err != nil {
		return dst[:start], nil, err
	}
	message := append([]byte(`[{"role":"user","content":`), prompt...)
	member("messages", append(message, `}]`...))
	return append(dst, '}'), lost.dropped, nil
}

// onePrompt is the prompt as a raw string.
func onePrompt(prompt []byte) ([]byte, error) {
	var one []byte
	n := 0
	for v := range elements(prompt) {
		one = v
		n++
	}
	switch {
	case isString(prompt):
		return prompt, nil
	case n == 1 && isString(one):
		return one, nil
	}
	return nil, requestErrorf("prompt", "must be one text with this model")
}
