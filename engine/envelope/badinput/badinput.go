// Package badinput loads the corpus of requests that the gateway must refuse, and how.
//
// A corpus is a directory of text files, one per group, made to be read and added to. Cases are separated by empty lines;
// a line that begins with # is a comment. Each other line is a directive and its text:
//
//	path PATH                          before the first case: the path of all cases of the file, instead of /chat/completions
//	case NAME                          begins a case; the name is unique in its group
//	with MEMBERS                       body: an ordinary conversation and these further members
//	body TEXT                          body: the text as it stands
//	bytes "QUOTED"                     body: a quoted Go string, for bytes that text cannot show
//	method NAME                        instead of POST
//	query TEXT                         appended to the path after a question mark
//	header NAME: VALUE                 a header; the first of a name replaces the default of that name
//	no-header NAME                     leaves out a default header
//	fill-headers N                     N further headers
//	want STATUS TYPE CODE PARAM        the answer; STATUS may be two joined by |, * claims nothing, - claims null
//	want-header NAME: VALUE            a header of the answer
//
// In with, body, query and header, <<N TEXT>> stands for TEXT repeated N times, with one %d in it for the number of the
// repetition. Default headers are "Authorization: Bearer {{KEY}}" and "Content-Type: application/json". The runner
// replaces {{KEY}} by a valid key, {{KEY:UPPER}} by that key in upper case, and {{REVOKED}} by a key that was revoked.
package badinput

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Any is the Type, Code or Param of a case that claims nothing about it.
const Any = "*"

// Case is one request and the answer it must get.
type Case struct {
	Group, Name string
	At          string // file:line, for messages

	Path    string // of the endpoint, below /v1 or another family
	Method  string
	Query   string      // without the question mark; may be empty
	Headers [][2]string // in order; a name may come twice
	Body    []byte

	Status    int
	AltStatus int // also right; 0 for none

	Type, Code, Param string // "" for null, Any for whatever
	WantHeaders       [][2]string

	given map[string]bool // default headers that the case has replaced, in lower case
}

// Matches tells how an answer differs from the expected one; "" if it does not.
func (c *Case) Matches(status int, kind, code, param string) string {
	switch {
	case status != c.Status && (status != c.AltStatus || status == 0):
		return fmt.Sprintf("status %d, want %d", status, c.Status)
	case c.Type != Any && kind != c.Type:
		return fmt.Sprintf("type %q, want %q", kind, c.Type)
	case c.Code != Any && code != c.Code:
		return fmt.Sprintf("code %q, want %q", code, c.Code)
	case c.Param != Any && param != c.Param:
		return fmt.Sprintf("param %q, want %q", param, c.Param)
	}
	return ""
}

// Streaming returns the body with "stream": true put first; false if it is not an object or says stream already.
func (c *Case) Streaming() ([]byte, bool) {
	at := bytes.IndexByte(c.Body, '{')
	if at < 0 || len(bytes.Trim(c.Body[:at], " \t\r\n")) > 0 || bytes.Contains(c.Body, []byte(`"stream"`)) {
		return nil, false
	}
	member := `"stream":true,`
	if rest := bytes.TrimLeft(c.Body[at+1:], " \t\r\n"); len(rest) > 0 && rest[0] == '}' {
		member = `"stream":true`
	}
	return slices.Concat(c.Body[:at+1], []byte(member), c.Body[at+1:]), true
}

// Load reads the corpus in dir: every *.txt, whose name is its group's.
func Load(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, fmt.Errorf("listing the corpus: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no corpus in %s", dir)
	}
	var cases []Case
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the corpus: %w", err)
		}
		group, err := parse(filepath.Base(file), string(text))
		if err != nil {
			return nil, err
		}
		cases = append(cases, group...)
	}
	return cases, nil
}

// parse reads one file.
func parse(file, text string) ([]Case, error) {
	var cases []Case
	names := map[string]bool{}
	path := "/chat/completions"
	open := false // the last case has no want yet
	for i, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", file, i+1)
		line = strings.TrimRight(line, " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		directive, rest, _ := strings.Cut(line, " ")
		if directive == "case" {
			if open || rest == "" || names[rest] {
				return nil, fmt.Errorf("%s: case %q has no name, an old name, or the one before has no want", at, rest)
			}
			names[rest], open = true, true
			cases = append(cases, newCase(strings.TrimSuffix(file, ".txt"), path, rest, at))
			continue
		}
		if directive == "path" && len(cases) == 0 {
			path = rest
			continue
		}
		if len(cases) == 0 {
			return nil, fmt.Errorf("%s: %s before the first case", at, directive)
		}
		if err := cases[len(cases)-1].set(directive, rest); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		open = open && directive != "want"
	}
	if open {
		return nil, fmt.Errorf("%s: the last case has no want", file)
	}
	return cases, nil
}

// conversation is the beginning of an ordinary request.
func conversation(path string) string {
	switch path {
	case "/messages":
		return `{"max_tokens":9,"messages":[{"role":"user","content":"hi"}]`
	case "/messages/count_tokens":
		return `{"messages":[{"role":"user","content":"hi"}]`
	case "/responses":
		return `{"input":"hi"`
	case "/completions":
		return `{"prompt":"hi"`
	}
	return `{"messages":[{"role":"user","content":"hi"}]`
}

func newCase(group, path, name, at string) Case {
	return Case{
		Group: group, Name: name, At: at, Path: path, Method: "POST", Body: []byte(conversation(path) + "}"),
		Headers: [][2]string{{"Authorization", "Bearer {{KEY}}"}, {"Content-Type", "application/json"}},
		given:   map[string]bool{},
	}
}

// set carries out one directive.
func (c *Case) set(directive, text string) error {
	var err error
	switch directive {
	case "with", "body", "query", "header":
		if text, err = expand(text); err != nil {
			return err
		}
	}
	switch directive {
	case "with":
		c.Body = []byte(conversation(c.Path) + "," + text + "}")
	case "body":
		c.Body = []byte(text)
	case "bytes":
		text, err = strconv.Unquote(text)
		c.Body = []byte(text)
	case "method":
		c.Method = text
	case "query":
		c.Query = text
	case "header":
		return c.header(text)
	case "no-header":
		c.Headers = slices.DeleteFunc(c.Headers, func(h [2]string) bool { return strings.EqualFold(h[0], text) })
	case "fill-headers":
		var n int
		n, err = strconv.Atoi(text)
		for i := range n {
			c.Headers = append(c.Headers, [2]string{fmt.Sprintf("X-Fill-%d", i), "x"})
		}
	case "want":
		return c.want(strings.Fields(text))
	case "want-header":
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return fmt.Errorf("want-header without a colon: %q", text)
		}
		c.WantHeaders = append(c.WantHeaders, [2]string{name, strings.TrimSpace(value)})
	default:
		return fmt.Errorf("unknown directive %q", directive)
	}
	if err != nil {
		return fmt.Errorf("reading %s %q: %w", directive, text, err)
	}
	return nil
}

// header adds a header, or replaces the default one of its name.
func (c *Case) header(text string) error {
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return fmt.Errorf("header without a colon: %q", text)
	}
	h := [2]string{name, strings.TrimSpace(value)}
	for i, old := range c.Headers {
		if lower := strings.ToLower(name); strings.EqualFold(old[0], name) && !c.given[lower] {
			c.given[lower] = true
			c.Headers[i] = h
			return nil
		}
	}
	c.Headers = append(c.Headers, h)
	return nil
}

func (c *Case) want(fields []string) error {
	if len(fields) != 4 {
		return fmt.Errorf("want takes a status, a type, a code and a param, not %q", fields)
	}
	for i, f := range fields {
		if f == "-" {
			fields[i] = ""
		}
	}
	status, alt, two := strings.Cut(fields[0], "|")
	var err error
	if c.Status, err = strconv.Atoi(status); err != nil {
		return fmt.Errorf("reading the status: %w", err)
	}
	if two {
		if c.AltStatus, err = strconv.Atoi(alt); err != nil {
			return fmt.Errorf("reading the second status: %w", err)
		}
	}
	c.Type, c.Code, c.Param = fields[1], fields[2], fields[3]
	return nil
}

// expand replaces each <<N TEXT>>.
func expand(text string) (string, error) {
	var out strings.Builder
	for {
		plain, rest, found := strings.Cut(text, "<<")
		out.WriteString(plain)
		if !found {
			return out.String(), nil
		}
		inner, after, closed := strings.Cut(rest, ">>")
		count, what, _ := strings.Cut(inner, " ")
		n, err := strconv.Atoi(count)
		if err != nil || !closed || n < 1 || n > 10_000_000 {
			return "", fmt.Errorf("<<N TEXT>> is malformed: %.40q", "<<"+rest)
		}
		before, behind, numbered := strings.Cut(what, "%d")
		if !numbered {
			out.WriteString(strings.Repeat(what, n))
		}
		for i := 0; numbered && i < n; i++ {
			out.WriteString(before)
			out.WriteString(strconv.Itoa(i))
			out.WriteString(behind)
		}
		text = after
	}
}
