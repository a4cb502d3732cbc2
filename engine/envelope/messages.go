package envelope

import (
	"strconv"

	"github.com/pointsman/pointsman/sdk/abi"
)

// messages reads the conversation. Every string in a message counts as prompt text, whatever its key, except roles and
// encoded media: a price must not depend on the gateway knowing each provider's fields.
func (p *parser) messages() {
	p.hasMessages = true
	off := p.i
	if p.peek() != '[' {
		p.invalid(off, "", "must be an array")
		p.value()
		return
	}
	var f frame
	for p.begin(&f); p.element(&f); {
		if f.n > maxMessages {
			p.invalid(off, "", "must have at most "+strconv.Itoa(maxMessages)+" messages")
		}
		if f.n == 1 {
			p.opening = uint32(p.i)
		}
		p.message()
	}
	if p.e.Messages = f.n; f.n == 0 {
		p.invalid(off, "", "must have at least one message")
	}
}

func (p *parser) message() {
	off := p.i
	if p.peek() != '{' {
		p.invalid(off, "", "must be an object")
		p.value()
		return
	}
	text, wide := p.text, p.textWide
	hasRole, user := false, false
	var said span
	var f frame
	for p.begin(&f); p.member(&f); {
		switch string(p.key) {
		case "role":
			hasRole = true
			user = p.role()
		case "content":
			said = p.content()
		case "thinking_blocks":
			if p.peek() != '[' {
				p.value()
				break
			}
			var blocks frame
			for p.begin(&blocks); p.element(&blocks); {
				p.part()
			}
		default:
			p.messageVariant()
			p.value()
		}
	}
	if p.fault != nil {
		return
	}
	if !hasRole {
		p.invalid(off, ".role", "is required")
	}
	p.turn(user, said)
	p.e.TextBytes += p.text - text
	p.e.WideBytes += p.textWide - wide
}

// turn notes what a message tells of the conversation: the user's last words, and where it opened.
func (p *parser) turn(user bool, said span) {
	if user && said.end > 0 {
		p.lastUser = said
	}
	switch opened := p.e.opening.end > 0; {
	case user && !opened:
		p.e.opening = span{p.opening, uint32(p.i)}
	case !user && opened:
		p.e.later = true
	}
}

// messageVariant refuses "Role" and "Content", which a lenient reader further on would take for the real ones.
func (p *parser) messageVariant() {
	for _, name := range [...]string{"role", "content"} {
		if folds(p.key, name) && p.refusal == nil {
			p.refuse(400, CodeUnknownParameter, cut(pathAt(p.b, p.keyOff)), "unknown parameter %s: did you mean %q?", quote(p.key), name)
		}
	}
}

// role reads a message's role and tells whether it is the user's. It is not prompt text.
func (p *parser) role() (user bool) {
	off, text := p.i, p.text
	if p.peek() == '"' && p.textValue() {
		p.text = text
		switch string(p.decoded()) {
		case "user":
			return true
		case "assistant":
			return false
		case "system", "developer", "tool", "function":
			if !p.e.form.anthropic() {
				return false
			}
		}
	} else if p.fault == nil {
		p.value()
	}
	if p.e.form.anthropic() {
		p.invalid(off, "", "must be user or assistant")
	} else {
		p.invalid(off, "", "must be one of system, developer, user, assistant, tool, function")
	}
	return false
}

// content reads a message's content and returns where its last text stands.
func (p *parser) content() (said span) {
	off := p.i
	switch p.peek() {
	case '"':
		if p.textValue() {
			said = span{uint32(p.off), uint32(p.end)}
		}
	case 'n':
		p.value()
	case '[':
		var f frame
		for p.begin(&f); p.element(&f); {
			if part := p.part(); part.end > 0 {
				said = part
			}
		}
	default:
		p.invalid(off, "", "must be a string, an array of parts or null")
		p.value()
	}
	return said
}

// part reads one content part. Parts of a type not known here pass, as text.
func (p *parser) part() (said span) {
	off := p.i
	if p.peek() != '{' {
		p.invalid(off, "", "must be an object")
		p.value()
		return said
	}
	hasType, image, file, audio, encoded := false, false, false, false, 0
	var f frame
	for p.begin(&f); p.member(&f); {
		text, wide := p.text, p.textWide
		switch string(p.key) {
		case "type":
			if hasType = p.optionalText(); hasType {
				switch string(p.decoded()) {
				case "image_url", "image", "input_image":
					image = true
				case "file", "document", "input_file":
					file = true
				case "input_audio":
					audio = true
				case "thinking", "redacted_thinking":
					p.e.thinking = true
				}
				p.text, p.textWide = text, wide
			}
		case "text":
			at, c := p.i, p.peek()
			p.value()
			if c != '"' {
				p.invalid(at, "", "must be a string")
			} else {
				said = span{uint32(p.off), uint32(p.end)}
			}
		case "image_url", "image":
			image = true
			p.value()
			p.text, p.textWide = text, wide
		case "file", "file_data", "file_url":
			file = true
			p.value()
			p.fileBytes += p.text - text
			p.text, p.textWide = text, wide
		case "source":
			encoded = p.source()
		case "content": // of a tool's result, or a document
			p.content()
		case "signature", "data": // of thinking
			p.value()
			p.text, p.textWide = text, wide
		case "input_audio":
			audio = true
			p.value()
			p.audioBytes += p.text - text
			p.text, p.textWide = text, wide
		default:
			p.value()
		}
	}
	if p.fault != nil {
		return span{}
	}
	if !hasType {
		p.invalid(off, ".type", "is required")
	}
	if image {
		p.e.Images++
		p.e.Needs |= abi.CapVision
	}
	if file {
		p.files++
		p.fileBytes += encoded
		p.e.Needs |= abi.CapPDF
	}
	if audio {
		p.e.Needs |= abi.CapAudio
	}
	return said
}

// source reads where an image or a document of the Messages API comes from, and returns how long it is encoded. Only a document's
// own text is prompt text.
func (p *parser) source() (encoded int) {
	if p.peek() != '{' {
		p.value()
		return 0
	}
	text, wide := p.text, p.textWide
	plain := false
	var f frame
	for p.begin(&f); p.member(&f); {
		at := p.text
		switch string(p.key) {
		case "type":
			plain = p.optionalText() && string(p.decoded()) == "text"
		case "data":
			p.value()
			encoded = p.text - at
		case "content":
			plain = true
			p.content()
		default:
			p.value()
		}
	}
	if plain {
		return 0
	}
	p.text, p.textWide = text, wide
	return encoded
}
