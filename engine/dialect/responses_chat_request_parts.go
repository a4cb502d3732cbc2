package dialect

import "fmt"

const (
	partAudio partKinds = 1 << 7

	inputUserParts = userParts | partAudio
)

// chatContent is the content of a chat message that is being made.
type chatContent struct {
	parts []byte // elements
	n     int
	text  []byte // a raw string: the only part, if that is a plain text
}

// add adds a part; text is its raw string if it is nothing else.
func (c *chatContent) add(part, text []byte) {
	c.parts = appendElement(c.parts, part)
	if c.n++; c.n == 1 {
		c.text = text
	} else {
		c.text = nil
	}
}

// append appends the content as a value. A single text is written as a string, which every provider takes.
func (c *chatContent) append(dst []byte) []byte {
	switch {
	case c.n == 0:
		return append(dst, `""`...)
	case c.text != nil:
		return append(dst, c.text...)
	}
	return appendEnclosed(dst, '[', c.parts, ']')
}

// readContent adds the content of a message or the output of a tool: a string, or parts. name is that of the member.
func (r *inputRequest) readContent(to *chatContent, v []byte, allowed partKinds, path, name string) error {
	if isString(v) {
		to.add(append(append([]byte(`{"type":"text","text":`), v...), '}'), v)
		return nil
	}
	path += "." + name
	if isNull(v) || v[0] != '[' {
		return requestErrorf(path, "must be a string or an array")
	}
	c := cursor{b: v}
	for i := 0; nextElement(&c, i); i++ {
		part, text, err := r.part(c.value(), allowed, fmt.Sprintf("%s[%d]", path, i), "input[]."+name+"[].")
		if err != nil {
			return err
		}
		to.add(part, text)
	}
	return nil
}

// inputPart is a part of the content as raw values.
type inputPart struct {
	kind                                       string
	text, refusal, image, detail, audio, cache []byte
	fileID, fileURL                            []byte
	file                                       []byte // members of a file, with a comma before each
}

// part translates one part; text is its raw string if it is nothing but a text. where is the path of the part's members in
// reports.
func (r *inputRequest) part(raw []byte, allowed partKinds, path, where string) (part, text []byte, err error) {
	if raw[0] != '{' {
		return nil, nil, requestErrorf(path, "must be an object")
	}
	p := inputPart{kind: string(inner(members(raw, "type")[0]))}
	written := p.kind == "input_text" || p.kind == "output_text" || p.kind == "text"
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		if isNull(v) {
			continue
		}
		switch name := string(key); {
		case name == "type":
		case name == "prompt_cache_breakpoint":
			p.cache = v
		case name == "text" && written:
			p.text = v
		case name == "refusal" && p.kind == "refusal":
			p.refusal = v
		case name == "image_url" && p.kind == "input_image":
			p.image = v
		case name == "detail" && (p.kind == "input_image" || string(inner(v)) == "auto"):
			p.detail = v
		case name == "input_audio" && p.kind == "input_audio":
			p.audio = v
		case name == "file_id" && (p.kind == "input_image" || p.kind == "input_file"):
			p.fileID = v
			p.file = appendMember(p.file, name, v)
		case name == "file_url" && p.kind == "input_file":
			p.fileURL = v
		case (name == "file_data" || name == "filename") && p.kind == "input_file":
			p.file = appendMember(p.file, name, v)
		case !isEmpty(v):
			r.drop(where + name)
		}
	}
	part, err = p.toChat(allowed, path)
	if err != nil {
		return nil, nil, err
	}
	if len(p.cache) > 0 {
		part = append(appendMember(part, "prompt_cache_breakpoint", p.cache), '}')
		return part, nil, nil
	}
	return append(part, '}'), p.text, nil
}

// toChat is the part without its closing brace.
func (p *inputPart) toChat(allowed partKinds, path string) ([]byte, error) {
	kind, member, v := partKinds(0), "", []byte(nil)
	switch p.kind {
	case "input_text", "output_text", "text":
		kind, member, v = partText, "text", p.text
	case "refusal":
		kind, member, v = partRefusal, "refusal", p.refusal
	case "input_image":
		kind = partImage
	case "input_file":
		kind = partFile
	case "input_audio":
		kind = partAudio
	}
	if kind&allowed == 0 {
		return nil, requestErrorf(path+".type", "is not possible here with this model")
	}
	switch kind {
	case partImage:
		if len(p.fileID) > 0 {
			return nil, requestErrorf(path+".file_id", "images stored at a provider are not possible with this model")
		}
		if !isString(p.image) {
			return nil, requestErrorf(path+".image_url", "must be a string")
		}
		out := append([]byte(`{"type":"image_url","image_url":{"url":`), p.image...)
		if d := string(inner(p.detail)); d != "" && d != "auto" {
			out = appendMember(out, "detail", p.detail)
		}
		return append(out, '}'), nil
	case partFile:
		if len(p.fileURL) > 0 {
			return nil, requestErrorf(path+".file_url", "is not possible with this model, send file_data")
		}
		if len(p.file) == 0 {
			return nil, requestErrorf(path+".file_data", "must be a string")
		}
		return appendEnclosed([]byte(`{"type":"file","file":`), '{', p.file[1:], '}'), nil
	case partAudio:
		if len(p.audio) == 0 || p.audio[0] != '{' {
			return nil, requestErrorf(path+".input_audio", "must be an object")
		}
		return appendMember([]byte(`{"type":"input_audio"`), "input_audio", p.audio), nil
	}
	if !isString(v) {
		return nil, requestErrorf(path+"."+member, "must be a string")
	}
	return appendMember([]byte(`{"type":"`+member+`"`), member, v), nil
}
