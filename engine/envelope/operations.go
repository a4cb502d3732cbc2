package envelope

import (
	"slices"
	"unicode/utf8"
)

const (
	maxImages     = 128
	maxDocuments  = 10_000
	documentBytes = 1500 // of a document that counts as one: about 500 tokens; a longer one counts as several
)

// SearchDocuments are the documents of one search, as Cohere and its followers count.
const SearchDocuments = 100

// operationField reads a member of a request that is no conversation.
func (p *parser) operationField() field {
	key := string(p.key)
	if key == p.e.form.content() {
		p.hasMessages = true
		p.subject()
		return fieldOther
	}
	switch {
	case key == "dimensions" && p.e.form == FormEmbeddings:
		p.integer(1, 1<<20, 0)
	case key == "n" && p.e.form == FormImages:
		p.e.N = int(p.integer(1, maxImages, 1))
		p.e.Units = p.e.N
	case key == "stream" && p.e.form == FormImages:
		if value, _ := p.flag(); value {
			p.refuse(400, CodeUnsupported, "stream", "stream is not supported for images")
		}
	case key == "query" && p.e.form == FormRerank:
		p.texts(p.value)
	default:
		if !slices.Contains(p.e.form.known(), key) {
			p.unknown()
		}
		p.value()
	}
	return fieldOther
}

// subject reads what a request that is no conversation is about.
func (p *parser) subject() {
	var last span // nothing that a policy could route on
	switch p.e.form {
	case FormEmbeddings:
		p.texts(func() { p.strings(&last) })
		p.e.N = max(p.inputs, 1)
	case FormImages:
		p.texts(p.requiredText)
		p.e.Units = p.e.N
	case FormSpeech:
		p.texts(p.requiredText)
		if p.fault == nil && p.refusal == nil {
			p.e.Units = utf8.RuneCount(p.decoded())
		}
	case FormModerations:
		p.e.Units = 1
		if p.peek() == '"' || p.peek() == '[' { // texts, or parts with texts and images
			p.texts(p.value)
			return
		}
		p.invalid(p.i, "", "must be a string or an array")
		p.value()
	case FormRerank:
		p.texts(p.documents)
	}
}

// requiredText reads a string that must have something in it.
func (p *parser) requiredText() {
	off := p.i
	if p.peek() != '"' {
		p.invalid(off, "", "must be a string")
		p.value()
		return
	}
	if p.textValue() && p.off == p.end {
		p.invalid(off, "", "must not be empty")
	}
}

// documents reads the documents of a reranking, texts or objects, and counts the searches that they come to at most.
func (p *parser) documents() {
	off := p.i
	if p.peek() != '[' {
		p.invalid(off, "", "must be an array")
		p.value()
		return
	}
	counted := 0
	var f frame
	for p.begin(&f); p.element(&f); {
		before := p.text
		if c := p.peek(); c != '"' && c != '{' {
			p.invalid(p.i, "", "must be a string or an object")
		}
		p.value()
		counted += 1 + (p.text-before)/documentBytes
	}
	if f.n == 0 {
		p.invalid(off, "", "must have at least one entry")
	}
	if f.n > maxDocuments {
		p.invalid(off, "", "must have at most 10000 entries")
	}
	p.e.Units = (counted + SearchDocuments - 1) / SearchDocuments
}
