package envelope

import "strings"

// Bounds of the values that the gateway checks before any provider sees them.
const (
	maxOutputTokens = 1<<31 - 1
	maxAnswers      = 128
	maxMessages     = 10_000
	maxStops        = 64
	maxBiases       = 1024
	maxTopLogprobs  = 20
	maxModelName    = 128
	maxName         = 32 // of power levels and policies
	maxSession      = 256
)

// parser gives meaning to what the scanner walks over.
type parser struct {
	scanner
	e       *Envelope
	old     texts  // of the request before
	refusal *Error // the first value fault

	maxTokens, maxCompletion uint32
	files                    int
	fileBytes, audioBytes    int  // encoded
	tokens                   int  // of the prompt that came as tokens
	inputs                   int  // texts of an input or a prompt
	lastUser                 span // raw text of the last user message
	opening                  uint32
	hasMessages              bool
}

// texts are the strings an envelope keeps; one equal to that of the request before is used again, not copied.
type texts struct{ model, level, policy string }

// body reads the whole request.
func (p *parser) body() {
	p.space()
	switch {
	case p.i == len(p.b):
		p.fail(p.i, "the request body is empty")
		return
	case p.b[p.i] != '{':
		p.fail(p.i, "the request body must be an object")
		return
	}
	var f frame
	for p.begin(&f); p.member(&f); {
		m := member{off: uint32(p.keyOff), keyEnd: uint32(p.keyEnd), val: uint32(p.i)}
		counted, text, mark := p.e.TextBytes, p.text, len(p.pieces)
		m.field = p.field()
		m.end = uint32(p.i)
		if p.noting {
			p.sift(mark, m, p.e.TextBytes-counted, p.text-text)
		}
		p.e.members = append(p.e.members, m)
	}
	if p.space(); p.fault == nil && p.i < len(p.b) {
		p.fail(p.i, "data after the request object")
	}
	if !p.hasMessages {
		name := p.e.form.content()
		p.refuse(400, CodeInvalidValue, name, "%s is required", name)
	}
	if p.e.form == FormMessages && p.maxTokens == 0 {
		p.refuse(400, CodeInvalidValue, "max_tokens", "max_tokens is required")
	}
	switch {
	case p.maxCompletion > 0:
		p.e.MaxTokens, p.e.limit = p.maxCompletion, fieldMaxCompletionTokens
	case p.maxTokens > 0:
		p.e.MaxTokens, p.e.limit = p.maxTokens, fieldMaxTokens
	}
}

// field reads the value of one top-level member, named by p.key: one that all forms have, or one of the form's own.
func (p *parser) field() field {
	switch string(p.key) {
	case "model":
		p.model()
		return fieldModel
	case "power_level":
		p.powerLevel()
		return fieldPowerLevel
	case "pointsman":
		p.extension()
		return fieldPointsman
	case "user":
		if p.optionalText() {
			p.e.user = span{uint32(p.off), uint32(p.end)}
		}
		return fieldOther
	case "metadata":
		p.e.notes.off = uint32(p.i)
		p.value()
		p.e.notes.end = uint32(p.i)
		return fieldOther
	}
	if p.e.form.conversation() {
		switch string(p.key) {
		case "provider":
			p.provider()
			return fieldRouting
		case "models":
			p.models()
			return fieldRouting
		}
	}
	switch p.e.form {
	case FormMessages, FormTokenCount:
		return p.messagesField()
	case FormResponses:
		return p.responsesField()
	case FormEmbeddings, FormImages, FormSpeech, FormModerations, FormRerank:
		return p.operationField()
	}
	return p.chatField()
}

// chatField reads a member of a chat completion request, or of its legacy form.
func (p *parser) chatField() field {
	switch string(p.key) {
	case "messages":
		p.messages()
	case "prompt":
		if p.e.form != FormCompletions {
			p.value()
			break
		}
		p.prompt()
	case "stream":
		p.e.Stream, _ = p.flag()
	case "stream_options":
		p.streamOptions()
		return fieldStreamOptions
	case "max_tokens":
		p.maxTokens = uint32(p.integer(1, maxOutputTokens, 0))
		return fieldMaxTokens
	case "max_completion_tokens":
		p.maxCompletion = uint32(p.integer(1, maxOutputTokens, 0))
		return fieldMaxCompletionTokens
	case "n":
		p.e.N = int(p.integer(1, maxAnswers, 1))
	case "tools", "functions":
		p.tools()
	case "response_format":
		p.responseFormat()
	case "temperature":
		p.float(0, 2)
	case "top_p":
		p.float(0, 1)
	case "presence_penalty", "frequency_penalty":
		p.float(-2, 2)
	case "top_logprobs":
		p.integer(0, maxTopLogprobs, 0)
	case "logprobs":
		if p.e.form == FormCompletions {
			p.integer(0, maxTopLogprobs, 0)
			break
		}
		p.flag()
	case "stop":
		p.stop()
	case "logit_bias":
		p.logitBias()
	default:
		p.unknown()
		p.value()
	}
	return fieldOther
}

// known lists the fields whose case variants are refused: a lenient reader further on would take them for the real one.
func (f Form) known() []string {
	shared := []string{"model", "power_level", "pointsman", "provider", "models", "stream", "user", "metadata", "temperature", "top_p", "tools"}
	switch f {
	case FormMessages, FormTokenCount:
		return append(shared, "messages", "system", "max_tokens", "tool_choice", "stop_sequences", "thinking", "output_config", "top_k",
			"mcp_servers", "inference_geo", "speed", "context_management", "compaction")
	case FormResponses:
		return append(shared, "input", "instructions", "max_output_tokens", "tool_choice", "text", "reasoning", "store", "previous_response_id", "prompt")
	case FormEmbeddings:
		return append(shared[:3:3], "user", "input", "dimensions", "encoding_format")
	case FormImages:
		return append(shared[:3:3], "user", "prompt", "n", "size", "quality", "response_format", "stream")
	case FormSpeech:
		return append(shared[:3:3], "input", "voice", "response_format", "speed")
	case FormModerations:
		return append(shared[:3:3], "input")
	case FormRerank:
		return append(shared[:3:3], "query", "documents", "top_n", "return_documents")
	case FormCompletions:
		shared = append(shared, "prompt")
	}
	return append(shared, "messages", "stream_options", "max_tokens", "max_completion_tokens",
		"n", "functions", "response_format", "frequency_penalty", "presence_penalty",
		"top_logprobs", "logprobs", "stop", "logit_bias")
}

// unknown lets a top-level field pass unless it varies a known one or would send the request, or a key, elsewhere.
func (p *parser) unknown() {
	if p.refusal != nil {
		return
	}
	if elsewhere(p.key) {
		p.refuse(400, CodeUnknownParameter, cut(string(p.key)), "unknown parameter %s: providers and keys are configured in the gateway, never in a request", quote(p.key))
		return
	}
	p.variant("", p.e.form.known())
}

// variant refuses p.key if it is one of names but for the case of its letters.
func (p *parser) variant(path string, names []string) {
	for _, name := range names {
		if string(p.key) == name {
			return
		}
		if folds(p.key, name) {
			p.refuse(400, CodeUnknownParameter, cut(path+string(p.key)), "unknown parameter %s: did you mean %q?", quote(p.key), name)
			return
		}
	}
}

func folds(key []byte, name string) bool {
	return len(key) >= len(name) && strings.EqualFold(view(key), name)
}

// elsewhere tells names such as base_url, api_base, apiKey, azure_endpoint or webhook_url.
func elsewhere(key []byte) bool {
	if len(key) < len("apikey") || len(key) > 64 {
		return false
	}
	var buf [64]byte
	plain := buf[:0]
	for _, c := range key {
		if c != '_' && c != '-' && c != '.' {
			if c-'A' < 26 {
				c |= 0x20
			}
			plain = append(plain, c)
		}
	}
	for _, tail := range [...]string{"baseurl", "apibase", "apikey", "apiurl", "apihost", "endpoint", "endpointurl", "webhook", "webhookurl", "callbackurl", "proxyurl"} {
		if len(plain) >= len(tail) && string(plain[len(plain)-len(tail):]) == tail {
			return true
		}
	}
	return false
}

// decoded returns the meaning of the string scanned last, valid until the pass ends.
func (p *parser) decoded() []byte {
	raw := p.b[p.off:p.end]
	if !p.escaped {
		return raw
	}
	at := len(p.scratch)
	p.scratch = unescape(p.scratch, raw)
	return p.scratch[at:]
}

// keep copies b to a string, or returns the equal one of an earlier request.
func keep(b []byte, old string) string {
	if string(b) == old {
		return old
	}
	return string(b)
}

func (p *parser) model() {
	if p.peek() == 'n' {
		p.value()
		return
	}
	if p.peek() != '"' {
		p.value()
		p.refuse(404, CodeModelNotFound, "model", "model must be a string")
		return
	}
	if !p.textValue() {
		return
	}
	name := p.decoded()
	if !modelName(name) {
		p.refuse(404, CodeModelNotFound, "model", "the model %s does not exist: names are 1 to %d of A-Z a-z 0-9 . _ : / @ -", quote(name), maxModelName)
		return
	}
	p.e.Model, p.e.HasModel = keep(name, p.old.model), true
}

// modelName checks the grammar of model names: 1 to 128 of [A-Za-z0-9._:/@-], with no empty, "." or ".." segment
// between slashes.
func modelName(name []byte) bool {
	if len(name) == 0 || len(name) > maxModelName {
		return false
	}
	segment := 0
	for i, c := range name {
		switch {
		case c == '/':
			if emptySegment(name[segment:i]) {
				return false
			}
			segment = i + 1
		case c-'A' < 26, c-'a' < 26, c-'0' < 10, c == '.', c == '_', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return !emptySegment(name[segment:])
}

func emptySegment(s []byte) bool {
	return len(s) == 0 || string(s) == "." || string(s) == ".."
}

// shortName checks the grammar of power levels and policies: 1 to 32 of [a-z0-9_-].
func shortName(name []byte) bool {
	for _, c := range name {
		if c-'a' >= 26 && c-'0' >= 10 && c != '_' && c != '-' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= maxName
}

func (p *parser) powerLevel() {
	if p.peek() == 'n' {
		p.value()
		return
	}
	if p.peek() != '"' {
		p.value()
		p.refuse(400, CodeInvalidPowerLevel, "power_level", "power_level must be a string")
		return
	}
	if !p.textValue() {
		return
	}
	name := p.decoded()
	if !shortName(name) {
		p.refuse(400, CodeInvalidPowerLevel, "power_level", "invalid power_level %s: names are 1 to %d of a-z 0-9 _ -", quote(name), maxName)
		return
	}
	p.e.PowerLevel, p.e.HasLevel = keep(name, p.old.level), true
}
