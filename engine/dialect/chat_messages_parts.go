package dialect

import (
	"bytes"
	"fmt"
)

// partKinds are the kinds of content parts that a role may have.
type partKinds uint8

const (
	partText partKinds = 1 << iota
	partRefusal
	partImage
	partFile

	systemParts    = partText
	userParts      = partText | partImage | partFile
	assistantParts = partText | partRefusal
	toolParts      = partText | partImage | partFile
)

// parts appends the content of a message to a list of blocks. Blank texts are left out, as the API refuses them.
func (t *turns) parts(list []byte, m *chatMessage, allowed partKinds) ([]byte, error) {
	if isNull(m.content) {
		return list, nil
	}
	if isString(m.content) {
		if !isBlank(inner(m.content)) {
			list = appendElement(list, appendText(nil, m.content, m.cache))
		}
		return list, nil
	}
	if m.content[0] != '[' {
		return nil, requestErrorf(m.path+".content", "must be a string or an array")
	}
	c := cursor{b: m.content}
	more := nextElement(&c, 0)
	for i := 0; more; i++ {
		raw := c.value()
		more = c.element()
		var cache []byte
		if !more {
			cache = m.cache // a message's breakpoint is that of its last part
		}
		block, err := t.part(raw, cache, allowed, fmt.Sprintf("%s.content[%d]", m.path, i))
		if err != nil {
			return nil, err
		}
		if block != nil {
			list = appendElement(list, block)
		}
	}
	return list, nil
}

// part translates one content part; nil if it is empty.
func (t *turns) part(raw, cache []byte, allowed partKinds, path string) ([]byte, error) {
	if raw[0] != '{' {
		return nil, requestErrorf(path, "must be an object")
	}
	var kind, text, refusal, image, file, key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		v := c.value()
		switch string(key) {
		case "type":
			kind = inner(v)
		case "text":
			text = v
		case "refusal":
			refusal = v
		case "image_url":
			image = v
		case "file":
			file = v
		case "cache_control":
			if !isNull(v) {
				cache = v
			}
		default:
			if !isEmpty(v) {
				t.r.drop("messages[].content[]." + string(key))
			}
		}
	}
	switch {
	case string(kind) == "refusal" && allowed&partRefusal != 0:
		text = refusal
		fallthrough
	case string(kind) == "text" && allowed&partText != 0:
		if !isString(text) {
			return nil, requestErrorf(path+"."+string(kind), "must be a string")
		}
		if isBlank(inner(text)) {
			return nil, nil
		}
		return appendText(nil, text, cache), nil
	case string(kind) == "image_url" && allowed&partImage != 0:
		return t.image(image, cache, path+".image_url")
	case string(kind) == "file" && allowed&partFile != 0:
		return t.file(file, cache, path+".file")
	}
	return nil, requestErrorf(path+".type", "is not possible here with this model")
}

// appendText appends a text block; text is a raw string.
func appendText(dst, text, cache []byte) []byte {
	dst = append(append(dst, `{"type":"text","text":`...), text...)
	return append(appendCache(dst, cache), '}')
}

func (t *turns) image(image, cache []byte, path string) ([]byte, error) {
	raw := image
	if !isString(image) {
		m := members(image, "url", "detail")
		raw, path = m[0], path+".url"
		if d := string(inner(m[1])); d != "" && d != "auto" {
			t.r.drop("messages[].content[].image_url.detail")
		}
	}
	url := unquoted(raw)
	out := []byte(`{"type":"image","source":`)
	if media, data, ok := dataURL(url); ok {
		out = appendBase64(out, media, data)
	} else if hasScheme(url, "https://") || hasScheme(url, "http://") {
		out = append(append(out, `{"type":"url","url":`...), raw...)
		out = append(out, '}')
	} else {
		return nil, requestErrorf(path, "must be an http or https URL, or a data URL in base64")
	}
	return append(appendCache(out, cache), '}'), nil
}

func (t *turns) file(file, cache []byte, path string) ([]byte, error) {
	m := members(file, "file_data", "filename", "file_id")
	if len(m[2]) > 0 {
		return nil, requestErrorf(path+".file_id", "files stored at a provider are not possible with this model")
	}
	media, data, ok := dataURL(unquoted(m[0]))
	if !ok || string(media) != "application/pdf" {
		return nil, requestErrorf(path+".file_data", "must be a data URL of type application/pdf in base64")
	}
	out := appendBase64([]byte(`{"type":"document","source":`), media, data)
	if isString(m[1]) && len(m[1]) > 2 {
		out = append(append(out, `,"title":`...), m[1]...)
	}
	return append(appendCache(out, cache), '}'), nil
}

func appendBase64(dst, media, data []byte) []byte {
	dst = appendQuoted(append(dst, `{"type":"base64","media_type":`...), media)
	dst = appendQuoted(append(dst, `,"data":`...), data)
	return append(dst, '}')
}

// dataURL splits a data URL in base64; parameters of the media type are left out.
func dataURL(url []byte) (media, data []byte, ok bool) {
	if !hasScheme(url, "data:") {
		return nil, nil, false
	}
	head, data, ok := bytes.Cut(url[len("data:"):], []byte{','})
	head, marked := bytes.CutSuffix(head, []byte(";base64"))
	media, _, _ = bytes.Cut(head, []byte{';'})
	return media, data, ok && marked && len(media) > 0 && len(data) > 0
}

func hasScheme(url []byte, scheme string) bool {
	return len(url) > len(scheme) && bytes.EqualFold(url[:len(scheme)], []byte(scheme))
}
