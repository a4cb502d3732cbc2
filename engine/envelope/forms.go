package envelope

import "github.com/pointsman/pointsman/sdk/abi"

// Form is which API a request belongs to.
type Form uint8

// The forms.
const (
	FormChat        Form = iota // OpenAI's chat completions
	FormMessages                // Anthropic's Messages
	FormResponses               // OpenAI's Responses
	FormCompletions             // OpenAI's legacy completions
	FormEmbeddings              // OpenAI's embeddings
	FormTokenCount              // what Anthropic's count_tokens takes: a request of Messages without a limit
	FormImages                  // OpenAI's image generation
	FormSpeech                  // OpenAI's text to speech
	FormModerations             // OpenAI's moderations
	FormRerank                  // reranking, as Cohere, Jina and Together have it
	FormAudio                   // OpenAI's transcriptions and translations, see ParseMultipart
)

// content is the member that holds what the request is about.
func (f Form) content() string {
	switch f {
	case FormResponses, FormEmbeddings, FormSpeech, FormModerations:
		return "input"
	case FormCompletions, FormImages:
		return "prompt"
	case FormRerank:
		return "documents"
	}
	return "messages"
}

// conversation tells the forms that ask for the next answer of a conversation.
func (f Form) conversation() bool { return f <= FormCompletions || f == FormTokenCount }

func (f Form) anthropic() bool { return f == FormMessages || f == FormTokenCount }

// limit is the member that limits the output.
func (f Form) limit() string {
	if f == FormResponses {
		return "max_output_tokens"
	}
	return "max_tokens"
}

// messagesField reads a member of a request of the Messages API.
func (p *parser) messagesField() field {
	switch string(p.key) {
	case "messages":
		p.messages()
	case "system":
		p.texts(func() { p.content() })
	case "stream":
		p.e.Stream, _ = p.flag()
	case "max_tokens":
		p.maxTokens = uint32(p.integer(1, maxOutputTokens, 0))
		return fieldMaxTokens
	case "tools":
		p.messagesTools()
	case "temperature", "top_p":
		p.float(0, 1)
	case "stop_sequences":
		p.stop()
	case "output_config", "output_format":
		p.outputConfig()
	case "context_management":
		p.contextEdits()
	case "compaction":
		if p.peek() == '{' {
			p.besides(p.i)
		}
		p.value()
	case "mcp_servers":
		p.servers()
	case "inference_geo":
		p.surcharge("global")
	case "speed":
		p.surcharge("standard")
	default:
		p.unknown()
		p.value()
	}
	return fieldOther
}

// texts counts the strings that read walks over as prompt text.
func (p *parser) texts(read func()) {
	text, wide := p.text, p.textWide
	read()
	p.e.TextBytes += p.text - text
	p.e.WideBytes += p.textWide - wide
}

// messagesTools reads tools, most of which have no type.
func (p *parser) messagesTools() {
	off, wide := p.i, p.textWide
	if !p.opens('[') {
		return
	}
	var f frame
	for p.begin(&f); p.element(&f); {
		if p.peek() != '{' {
			p.invalid(p.i, "", "must be an object")
			p.value()
			continue
		}
		p.typed(p.toolKind)
	}
	if f.n > 0 {
		p.e.Needs |= abi.CapTools
		p.e.TextBytes += p.i - off
		p.e.WideBytes += p.textWide - wide
	}
}

// outputConfig looks for a format with a schema: output_config.format, or output_format itself.
func (p *parser) outputConfig() {
	off, wide := p.i, p.textWide
	if !p.opens('{') {
		return
	}
	schema := false
	var f frame
	for p.begin(&f); p.member(&f); {
		switch {
		case string(p.key) == "format" && p.peek() == '{':
			var inside frame
			for p.begin(&inside); p.member(&inside); {
				schema = p.schema() || schema
			}
		default:
			schema = p.schema() || schema
		}
	}
	p.wantSchema(schema, off, wide)
}

// schema reads a member of a format and tells whether it says that there is a schema.
func (p *parser) schema() bool {
	if string(p.key) != "type" {
		p.value()
		return false
	}
	return p.optionalText() && string(p.decoded()) == "json_schema"
}

// wantSchema notes that the answer follows a schema, which began at off.
func (p *parser) wantSchema(schema bool, off, wide int) {
	if !schema || p.fault != nil {
		return
	}
	p.e.WantsJSON = true
	p.e.Needs |= abi.CapJSONSchema
	p.e.TextBytes += p.i - off
	p.e.WideBytes += p.textWide - wide
}

// responsesField reads a member of a request of the Responses API.
func (p *parser) responsesField() field {
	switch string(p.key) {
	case "input":
		p.input()
	case "instructions":
		p.texts(func() { p.optionalText() })
	case "stream":
		p.e.Stream, _ = p.flag()
	case "max_output_tokens":
		p.maxTokens = uint32(p.integer(1, maxOutputTokens, 0))
		return fieldMaxTokens
	case "tools":
		p.tools()
	case "temperature":
		p.float(0, 2)
	case "top_p":
		p.float(0, 1)
	case "top_logprobs":
		p.integer(0, maxTopLogprobs, 0)
	case "text":
		p.textOptions()
	case "previous_response_id", "conversation":
		name := string(p.key)
		if p.peek() != 'n' {
			p.refuse(400, CodeUnsupported, name, "%s is not supported: this gateway stores no responses, send the whole input", name)
		}
		p.value()
	case "prompt": // a template of the key's owner, with tools of its own
		if p.peek() == '{' {
			p.besides(p.i)
		}
		p.value()
	case "background":
		if value, _ := p.flag(); value {
			p.refuse(400, CodeUnsupported, "background", "background is not supported: this gateway stores no responses")
		}
	default:
		p.unknown()
		p.value()
	}
	return fieldOther
}

// textOptions looks for text.format.
func (p *parser) textOptions() {
	off, wide := p.i, p.textWide
	if !p.opens('{') {
		return
	}
	schema := false
	var f frame
	for p.begin(&f); p.member(&f); {
		if string(p.key) != "format" || p.peek() != '{' {
			p.value()
			continue
		}
		var inside frame
		for p.begin(&inside); p.member(&inside); {
			if string(p.key) != "type" {
				p.value()
			} else if p.optionalText() {
				schema = string(p.decoded()) == "json_schema"
				p.e.WantsJSON = schema || string(p.decoded()) == "json_object"
			}
		}
	}
	p.wantSchema(schema, off, wide)
}

// input reads what a request of the Responses API is about: a text of the user, or items.
func (p *parser) input() {
	p.hasMessages = true
	off := p.i
	switch p.peek() {
	case '"':
		p.texts(func() {
			if p.textValue() {
				p.lastUser = span{uint32(p.off), uint32(p.end)}
			}
		})
		p.e.Messages = 1
	case '[':
		var f frame
		for p.begin(&f); p.element(&f); {
			if f.n > maxMessages {
				p.invalid(off, "", "must have at most 10000 items")
			}
			if f.n == 1 {
				p.opening = uint32(p.i)
			}
			p.texts(p.item)
		}
		if p.e.Messages = f.n; f.n == 0 {
			p.invalid(off, "", "must have at least one item")
		}
	default:
		p.invalid(off, "", "must be a string or an array of items")
		p.value()
	}
}

// item reads one input item: a message, or something that a model or a tool did.
func (p *parser) item() {
	off := p.i
	if p.peek() != '{' {
		p.invalid(off, "", "must be an object")
		p.value()
		return
	}
	user := false
	var said span
	var f frame
	for p.begin(&f); p.member(&f); {
		text, wide := p.text, p.textWide
		switch string(p.key) {
		case "role":
			user = p.role()
		case "content":
			said = p.content()
		case "output": // of a function: a text, or parts
			if p.peek() == '[' {
				p.content()
			} else {
				p.value()
			}
		case "encrypted_content", "type", "id", "call_id", "status":
			p.e.thinking = p.e.thinking || string(p.key) == "encrypted_content" && p.peek() == '"'
			p.value()
			p.text, p.textWide = text, wide
		default:
			p.value()
		}
	}
	p.turn(user, said)
}

// prompt reads the prompt of a legacy completion.
func (p *parser) prompt() {
	p.hasMessages = true
	p.e.Messages = 1
	p.texts(func() { p.strings(&p.lastUser) })
}

// strings reads a text, an array of texts, or texts as tokens. last is where the last text stands.
func (p *parser) strings(last *span) {
	off := p.i
	switch c := p.peek(); {
	case c == '"':
		p.inputs++
		if p.textValue() {
			*last = span{uint32(p.off), uint32(p.end)}
		}
	case c == '[':
		var f frame
		for p.begin(&f); p.element(&f); {
			if f.n == 1 && p.peek()-'0' < 10 {
				p.inputs++ // one text, as tokens
			}
			p.strings(last)
		}
		if f.n == 0 {
			p.invalid(off, "", "must not be empty")
		}
	case c-'0' < 10:
		p.tokens++
		p.value()
	default:
		p.invalid(off, "", "must be a string or an array of strings")
		p.value()
	}
}
