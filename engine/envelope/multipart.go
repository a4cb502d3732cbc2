package envelope

import (
	"bytes"
	"mime"
	"net/textproto"
	"strings"
)

// CodeInvalidMultipart is the code of a form that cannot be read.
const CodeInvalidMultipart = "invalid_multipart"

const (
	maxBoundary   = 70
	maxParts      = 64
	maxPartHeader = 4 << 10 // bytes
)

// formParts are the parts of a form whose case variants are refused, as those of known fields are.
func formParts() []string {
	return []string{"model", "file", "language", "prompt", "response_format", "temperature", "stream"}
}

// ParseMultipart reads a form with a file, as transcriptions take it, into e, replacing what e held. contentType is that of
// the request. Like Parse it keeps offsets into body and neither changes nor keeps it. The form must have one part named
// model and one named file; the gateway's own fields have no place in it.
func (e *Envelope) ParseMultipart(contentType string, body []byte) *Error {
	*e = Envelope{N: 1, form: FormAudio, members: e.members[:0], names: e.names, scratch: e.scratch}
	kind, params, err := mime.ParseMediaType(contentType)
	boundary := params["boundary"]
	if err != nil || kind != "multipart/form-data" || boundary == "" || len(boundary) > maxBoundary || extended(contentType, "boundary") {
		return badForm("", "the body must be multipart/form-data with a boundary")
	}
	delimiter := []byte("\r\n--" + boundary)
	// The first delimiter needs no line break before it.
	if !bytes.HasPrefix(body, delimiter[2:]) {
		return badForm("", "the form does not begin with its boundary")
	}
	seen := map[string]bool{}
	at := len(delimiter) - 2
	for range maxParts + 1 {
		rest := body[at:]
		if bytes.HasPrefix(rest, []byte("--")) {
			return e.complete(seen)
		}
		if !bytes.HasPrefix(rest, []byte("\r\n")) {
			return badForm("", "a boundary of the form is not at the end of its line")
		}
		end := bytes.Index(rest, delimiter)
		if end < 0 {
			return badForm("", "the form does not end with its boundary")
		}
		if fault := e.part(body, at+2, at+end, seen); fault != nil {
			return fault
		}
		at += end + len(delimiter)
	}
	return badForm("", "the form has more than 64 parts")
}

// part reads the part of the form between two offsets: its header, an empty line and its value.
func (e *Envelope) part(body []byte, off, end int, seen map[string]bool) *Error {
	split := bytes.Index(body[off:max(end, off)], []byte("\r\n\r\n"))
	if split < 0 || split > maxPartHeader {
		return badForm("", "a part of the form has no header, or one above 4 KiB")
	}
	name, dispositions := "", 0
	for line := range strings.SplitSeq(string(body[off:off+split]), "\r\n") {
		if strings.ContainsAny(line, "\r\n") || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") { // another reader might end it, or begin it, elsewhere
			return badForm("", "a header of a part of the form is not one line")
		}
		key, value, ok := strings.Cut(line, ":")
		if ok && textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(key)) == "Content-Disposition" {
			dispositions++
			if kind, params, err := mime.ParseMediaType(value); err == nil && kind == "form-data" && !extended(value, "name") {
				name = params["name"]
			}
		}
	}
	value := span{uint32(off + split + 4), uint32(end)}
	switch {
	case name == "" || dispositions > 1: // of two, a provider might take the other
		return badForm("", "a part of the form has no name, or two")
	case elsewhere([]byte(name)):
		return formFault(CodeUnknownParameter, name, "unknown parameter %s: providers and keys are configured in the gateway, never in a request", quote([]byte(name)))
	case name == "pointsman", name == "power_level":
		return formFault(CodeUnknownParameter, name, "%s has no place in a form", name)
	case seen[name] && (name == "model" || name == "file"):
		return formFault(CodeDuplicateKey, name, "the form has more than one part %s", name)
	}
	for _, known := range formParts() {
		if name != known && strings.EqualFold(name, known) {
			return formFault(CodeUnknownParameter, name, "unknown parameter %s: did you mean %q?", quote([]byte(name)), known)
		}
	}
	seen[name] = true
	return e.formField(name, body, value)
}

// extended tells whether a parameter is given in RFC 2231's way as well, name*= or name*0=, which readers of forms heed or not: what a
// quoted value holds counts too.
func extended(value, name string) bool {
	for param := range strings.SplitSeq(value, ";") {
		param = strings.TrimLeft(param, " \t")
		if len(param) > len(name) && strings.EqualFold(param[:len(name)], name) && strings.HasPrefix(strings.TrimLeft(param[len(name):], " \t"), "*") {
			return true
		}
	}
	return false
}

// formField takes what the gateway wants to know of one part.
func (e *Envelope) formField(name string, body []byte, at span) *Error {
	text := body[at.off:at.end]
	switch name {
	case "model":
		if !modelName(text) {
			f := formFault(CodeModelNotFound, "model", "the model %s does not exist: names are 1 to %d of A-Z a-z 0-9 . _ : / @ -", quote(text), maxModelName)
			f.Status, f.Type = 404, TypeNotFound
			return f
		}
		e.Model, e.HasModel, e.model = string(text), true, at
	case "file":
		if len(text) == 0 {
			return formFault(CodeInvalidValue, "file", "the file is empty")
		}
		e.file = at
	case "stream":
		if string(text) == "true" {
			return formFault(CodeUnsupported, "stream", "stream is not supported for transcriptions")
		}
	case "prompt":
		e.TextBytes += len(text)
	}
	return nil
}

// complete ends the form.
func (e *Envelope) complete(seen map[string]bool) *Error {
	for _, name := range []string{"model", "file"} {
		if !seen[name] {
			return formFault(CodeInvalidValue, name, "the form has no part %s", name)
		}
	}
	e.InputTokens = uint32((e.TextBytes+3)/4 + int(e.file.end-e.file.off)/bytesPerToken512)
	return nil
}

func formFault(code, param, format string, args ...any) *Error {
	p := parser{}
	p.refuse(400, code, cut(param), format, args...)
	return p.refusal
}

func badForm(param, message string) *Error {
	return formFault(CodeInvalidMultipart, param, "%s", message)
}

// File is the file of a form. body must be the bytes e was parsed from.
func (e *Envelope) File(body []byte) []byte { return body[e.file.off:e.file.end] }

// EditForm is the form with another model's name; everything else is the client's, byte for byte. body must be the bytes e was parsed from.
func (e *Envelope) EditForm(body []byte, model string) Parts {
	return Parts{body[:e.model.off], []byte(model), body[e.model.end:]}
}
