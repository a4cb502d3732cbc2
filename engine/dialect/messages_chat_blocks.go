package dialect

import (
	"fmt"
)

// inputBlock is a content block of a request, as raw values.
type inputBlock struct {
	raw, kind, text, source, title, context, content, cache []byte
	id, name, input, toolUseID, isError                     []byte
	thinking, signature, data                               []byte
}

// readInput reads a block, which is an object. Members without a counterpart are dropped.
func (l *losses) readInput(raw []byte) inputBlock {
	b := inputBlock{raw: raw}
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			b.kind = inner(v)
		case "text":
			b.text = v
		case "source":
			b.source = v
		case "title":
			b.title = v
		case "context":
			b.context = v
		case "content":
			b.content = v
		case "cache_control":
			b.cache = v
		case "id":
			b.id = v
		case "name":
			b.name = v
		case "input":
			b.input = v
		case "tool_use_id":
			b.toolUseID = v
		case "is_error":
			b.isError = v
		case "thinking":
			b.thinking = v
		case "signature":
			b.signature = v
		case "data":
			b.data = v
		case "citations":
			if !isEmpty(v) && string(members(v, "enabled")[0]) != "false" {
				l.drop("messages[].content[].citations")
			}
		case "caller": // the model itself, or code that the API runs
			if string(inner(members(v, "type")[0])) != "direct" && !isEmpty(v) {
				l.drop("messages[].content[].caller")
			}
		case "tool_name": // of a reference to a tool, which is dropped as a whole
		default:
			if !isEmpty(v) {
				l.drop("messages[].content[]." + string(key))
			}
		}
	}
	return b
}

func (t *chatTurns) text(to *partList, b *inputBlock, path string) error {
	if !isString(b.text) {
		return requestErrorf(path+".text", "must be a string")
	}
	to.text(b.text, b.cache)
	return nil
}

// visible adds a block that the user or a tool shows to the model to texts, or to media if it is none.
func (t *chatTurns) visible(texts, media *partList, b *inputBlock, path string) error {
	switch string(b.kind) {
	case "text":
		return t.text(texts, b, path)
	case "image":
		part, err := b.image(path)
		if err == nil {
			media.add(part)
		}
		return err
	case "document":
		return t.document(texts, media, b, path)
	case "search_result":
		return t.searchResult(texts, b, path)
	}
	return requestErrorf(path+".type", "is not possible here with this model")
}

func (b *inputBlock) image(path string) ([]byte, error) {
	m := members(b.source, "type", "media_type", "data", "url")
	out := []byte(`{"type":"image_url","image_url":{"url":`)
	switch kind := string(inner(m[0])); {
	case kind == "base64" && isString(m[1]) && isString(m[2]):
		out = appendDataURL(out, m[1], m[2])
	case kind == "url" && isString(m[3]):
		out = append(out, m[3]...)
	case kind == "file":
		return nil, requestErrorf(path+".source.type", "files stored at a provider are not possible with this model")
	default:
		return nil, requestErrorf(path+".source", "must be of type base64 or url")
	}
	return append(appendCache(append(out, '}'), b.cache), '}'), nil
}

// appendDataURL appends a data URL as a string; media and data are raw strings.
func appendDataURL(dst, media, data []byte) []byte {
	dst = append(append(dst, `"data:`...), inner(media)...)
	dst = append(append(dst, `;base64,`...), inner(data)...)
	return append(dst, '"')
}

func (t *chatTurns) document(texts, media *partList, b *inputBlock, path string) error {
	m := members(b.source, "type", "media_type", "data", "content")
	switch kind := string(inner(m[0])); kind {
	case "base64":
		if string(unquoted(m[1])) != "application/pdf" || !isString(m[2]) {
			return requestErrorf(path+".source.media_type", "must be application/pdf")
		}
		texts.text(joined(b.context), nil)
		name := []byte(`"document.pdf"`) // OpenAI demands one
		if len(inner(b.title)) > 0 {
			name = b.title
		}
		part := append([]byte(`{"type":"file","file":{"filename":`), name...)
		part = appendDataURL(append(part, `,"file_data":`...), m[1], m[2])
		media.add(append(appendCache(append(part, '}'), b.cache), '}'))
	case "text":
		if !isString(m[2]) {
			return requestErrorf(path+".source.data", "must be a string")
		}
		texts.text(joined(b.title, b.context, m[2]), b.cache)
	case "content":
		texts.text(joined(b.title, b.context), nil)
		return t.within(texts, media, m[3], b.cache, path+".source.content")
	case "url", "file":
		return requestErrorf(path+".source.type", "documents must be in the request with this model")
	default:
		return requestErrorf(path+".source.type", "must be base64, text or content")
	}
	return nil
}

// within adds the blocks inside of a document; the breakpoint after it is that of the last.
func (t *chatTurns) within(texts, media *partList, content, cache []byte, path string) error {
	last := -1
	for range elements(content) {
		last++
	}
	i := 0
	return t.blocks(content, path, func(b *inputBlock, path string) error {
		if i++; i > last && isNull(b.cache) {
			b.cache = cache
		}
		if kind := string(b.kind); kind != "text" && kind != "image" {
			return requestErrorf(path+".type", "must be text or image")
		}
		return t.visible(texts, media, b, path)
	})
}

func (t *chatTurns) searchResult(texts *partList, b *inputBlock, path string) error {
	lines := [][]byte{b.title, b.source}
	err := t.blocks(b.content, path+".content", func(b *inputBlock, path string) error {
		if string(b.kind) != "text" || !isString(b.text) {
			return requestErrorf(path, "must be a text")
		}
		if !isNull(b.cache) {
			t.r.drop("messages[].content[].content[].cache_control")
		}
		lines = append(lines, b.text)
		return nil
	})
	texts.text(joined(lines...), b.cache)
	return err
}

// joined is a string of those texts that are not empty, each on its own line.
func joined(texts ...[]byte) []byte {
	out := []byte{'"'}
	for _, text := range texts {
		if len(inner(text)) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, `\n`...)
		}
		out = append(out, inner(text)...)
	}
	return append(out, '"')
}

// call translates a call of a tool.
func (b *inputBlock) call(path string) ([]byte, error) {
	input := objectOrEmpty(b.input)
	for _, m := range []struct {
		name string
		ok   bool
		must string
	}{
		{"id", len(inner(b.id)) > 0, "must be a string"},
		{"name", len(inner(b.name)) > 0, "must be a string"},
		{"input", input[0] == '{', "must be an object"},
	} {
		if !m.ok {
			return nil, requestErrorf(fmt.Sprintf("%s.%s", path, m.name), "%s", m.must)
		}
	}
	out := appendToolCall(nil, contentBlock{id: b.id, name: b.name}, -1)
	out = append(appendQuoted(out, input), '}')
	return append(appendCache(out, b.cache), '}'), nil
}
