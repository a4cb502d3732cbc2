// Package scrub takes out of a body what must not be kept: texts that look like secrets, wherever they are, and the values of JSON
// members that the operator names.
package scrub

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Redactor redacts bodies. It is safe for concurrent use.
type Redactor struct {
	paths   [][]string
	secrets *regexp.Regexp
}

// mark stands for what was taken out.
const mark = "[redacted]"

// secretForms are the forms of common keys and tokens. Each begins a word, or stands behind a JSON escape, which may end in a letter; the
// escape is the first group, to be kept.
const secretForms = `(\\[bfnrt]|\\u[0-9A-Fa-f]{4}|\b)(?:` +
	`(?:sk|pk|rk|pm|gsk|hf|r8|fw|tgp)[-_][A-Za-z0-9_-]{16,}` + // provider and gateway keys
	`|(?:AKIA|ASIA)[A-Z0-9]{16}\b` + // AWS
	`|AIza[A-Za-z0-9_-]{30,}` + // Google
	`|(?:gh[oprsu]_|github_pat_|glpat-)[A-Za-z0-9_-]{20,}` +
	`|xox[abeprs]-[A-Za-z0-9-]{10,}` + // Slack
	`|whsec_(?:[A-Za-z0-9+/=]|` + escaped + `){16,}` +
	`|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*` + // JWT
	`|(?i:bearer) +(?:[A-Za-z0-9._~+/=-]|` + escaped + `){16,}` +
	`)|-----BEGIN [A-Z ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|$)`

// escaped is how some encoders write the signs of base64 in JSON.
const escaped = `\\/|\\u00[0-9A-Fa-f]{2}`

// New returns a redactor. A path is names of members with dots between them, from the top of the body; * stands for any member or
// element, a number for an element. expressions are regular expressions of further secrets. The error names the one that is wrong.
func New(paths, expressions []string) (*Redactor, error) {
	r := &Redactor{}
	for _, path := range paths {
		steps := strings.Split(path, ".")
		for _, step := range steps {
			if step == "" {
				return nil, fmt.Errorf("redaction path %.80q must be names with a dot between them", path)
			}
		}
		r.paths = append(r.paths, steps)
	}
	all := secretForms
	for _, e := range expressions {
		if _, err := regexp.Compile(e); err != nil || e == "" {
			return nil, fmt.Errorf("redaction expression %.80q is no regular expression", e)
		}
		all += "|(?:" + e + ")"
	}
	var err error
	r.secrets, err = regexp.Compile(all)
	return r, err
}

// Body returns what may be kept of a body: JSON, server-sent events with JSON, or any text. Where paths are named and JSON breaks off
// or is none, everything from there on is taken out, for nothing tells what it holds.
func (r *Redactor) Body(body []byte) []byte {
	if len(r.paths) > 0 && len(body) > 0 {
		body = r.members(body)
	}
	if !isJSON(body) {
		body = r.acrossEvents(body)
	}
	return r.secrets.ReplaceAll(body, []byte("${1}"+mark))
}

// isJSON tells a JSON text from a stream of events.
func isJSON(body []byte) bool {
	start := bytes.TrimLeft(body, " \t\r\n")
	return len(start) == 0 || start[0] == '{' || start[0] == '['
}

// members takes the values at the paths out of a JSON text, or out of each event of a stream.
func (r *Redactor) members(body []byte) []byte {
	if isJSON(body) {
		return r.value(nil, body)
	}
	var out []byte
	for line := range bytes.Lines(body) {
		text := bytes.TrimRight(line, "\r\n")
		data, is := bytes.CutPrefix(text, []byte("data:"))
		switch {
		case !is && (len(text) == 0 || text[0] == ':' || bytes.HasPrefix(text, []byte("event:")) || bytes.HasPrefix(text, []byte("id:"))),
			string(bytes.TrimSpace(data)) == "[DONE]":
			out = append(out, line...)
		case is:
			out = append(r.value(append(out, "data: "...), bytes.TrimLeft(data, " ")), line[len(text):]...)
		default:
			out = append(append(out, mark...), line[len(text):]...)
		}
	}
	return out
}

// value appends a JSON text without what the paths name.
func (r *Redactor) value(out, text []byte) []byte {
	c := cutter{
		decoder: jsontext.NewDecoder(bytes.NewReader(text), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
		text:    text, out: out,
	}
	err := c.value(r.paths)
	end := int(c.decoder.InputOffset())
	if err == nil && len(bytes.TrimSpace(text[end:])) == 0 {
		return append(c.out, text[c.copied:]...)
	}
	return append(append(c.out, text[c.copied:max(c.copied, end)]...), mark...)
}

// cutter copies a JSON text and leaves values out.
type cutter struct {
	decoder   *jsontext.Decoder
	text, out []byte
	copied    int // of text
}

// value reads the next value; paths lead to what is left out of it.
func (c *cutter) value(paths [][]string) error {
	if len(paths) == 0 {
		return c.decoder.SkipValue()
	}
	for _, path := range paths {
		if len(path) == 0 {
			return c.leaveOut()
		}
	}
	open := c.decoder.PeekKind()
	if open != '{' && open != '[' {
		return c.decoder.SkipValue()
	}
	if _, err := c.decoder.ReadToken(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if kind := c.decoder.PeekKind(); kind == '}' || kind == ']' {
			_, err := c.decoder.ReadToken()
			return err
		}
		step := strconv.Itoa(i)
		if open == '{' {
			name, err := c.decoder.ReadToken()
			if err != nil {
				return err
			}
			step = name.String()
		}
		var inside [][]string
		for _, path := range paths {
			if path[0] == "*" || path[0] == step {
				inside = append(inside, path[1:])
			}
		}
		if err := c.value(inside); err != nil {
			return err
		}
	}
}

// leaveOut reads a value and puts the mark in its place.
func (c *cutter) leaveOut() error {
	from := int(c.decoder.InputOffset())
	from += len(c.text[from:]) - len(bytes.TrimLeft(c.text[from:], " \t\r\n:,"))
	c.out = append(c.out, c.text[c.copied:from]...)
	c.copied = from
	if err := c.decoder.SkipValue(); err != nil {
		c.copied = len(c.text) // the rest belongs to it
		return err
	}
	c.out = append(c.out, `"`+mark+`"`...)
	c.copied = int(c.decoder.InputOffset())
	return nil
}
