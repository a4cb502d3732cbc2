package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// A strict provider takes what its dialect's documentation allows and refuses everything else, as the vendors do: unknown
// fields, roles of another dialect, calls without results, results without calls. strict_*_test.go read the three dialects
// into a conversation, strict_answers_test.go answers it.

// conversation is a request without the wording of its dialect.
type conversation struct {
	dialect  string
	stream   bool
	turns    []turn
	tools    []strictTool
	forced   string // the tool that must be called
	schema   json.RawMessage
	limit    int64 // of the output; 0 for none
	thinking bool
}

// turn is one message: of the system, the user or the assistant. Results of tools are the user's.
type turn struct {
	role  string
	parts []strictPart
}

// strictPart is a piece of a turn: "text", "image", "thinking", "call" or "result".
type strictPart struct {
	kind string
	text string // of a result too; the bytes of an image; the signature of thinking
	id   string // of a call and its result
	name string
	args string
}

type strictTool struct {
	name   string
	schema json.RawMessage
}

// strictName is what all vendors take for names and ids.
var strictName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// strictScript answers for a provider of one dialect whose key is key.
func strictScript(dialect, key string) func(*scripted.Request) *scripted.Reply {
	paths := map[string]string{"chat": "/chat/completions", "messages": "/messages", "responses": "/responses"}
	read := map[string]func([]byte) (*conversation, error){"chat": readChat, "messages": readMessages, "responses": readResponses}[dialect]
	return func(r *scripted.Request) *scripted.Reply {
		if r.Method != "POST" {
			return nil
		}
		embeddings := dialect == "chat" && strings.HasSuffix(r.Path, "/embeddings")
		if !strings.HasSuffix(r.Path, paths[dialect]) && !embeddings {
			return strictRefusal(dialect, 404, "no such path: "+r.Path)
		}
		if err := strictHeader(dialect, key, r); err != nil {
			return strictRefusal(dialect, 401, err.Error())
		}
		if embeddings {
			return embeddingsReply(r)
		}
		c, err := read(r.Body)
		if err == nil {
			err = c.check()
		}
		if err != nil {
			return strictRefusal(dialect, 400, fmt.Sprintf("%v in %s", err, r.Body))
		}
		c.dialect = dialect
		return c.answer()
	}
}

func strictHeader(dialect, key string, r *scripted.Request) error {
	if dialect != "messages" {
		if r.Header["Authorization"] != "Bearer "+key || r.Header["X-Api-Key"] != "" {
			return errors.New("the key is not where this provider looks for it")
		}
		return nil
	}
	switch {
	case r.Header["X-Api-Key"] != key || r.Header["Authorization"] != "":
		return errors.New("the key is not where this provider looks for it")
	case r.Header["Anthropic-Version"] == "":
		return errors.New("anthropic-version is required")
	}
	return nil
}

// strictRefusal is an error in the words of a dialect.
func strictRefusal(dialect string, status int, message string) *scripted.Reply {
	kind := map[int]string{400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}[status]
	var body any = map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": nil}}
	if dialect == "messages" {
		body = map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}, "request_id": "req_scripted"}
	}
	return &scripted.Reply{Status: status, Body: marshal(body)}
}

// decodeStrict reads JSON whose fields are all known.
func decodeStrict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// marshal is JSON as the vendors write it, with < and > as they are.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// isObject tells a JSON object from everything else.
func isObject(data []byte) bool {
	var object map[string]json.RawMessage
	return json.Unmarshal(data, &object) == nil && object != nil
}

// absent holds for what is left out, null, or empty.
func absent(data json.RawMessage) bool {
	return slices.Contains([]string{"", "null", "[]", "{}", `""`}, string(data))
}

// check holds the conversation to what all dialects demand.
func (c *conversation) check() error {
	var names []string
	for _, t := range c.tools {
		switch {
		case !strictName.MatchString(t.name):
			return fmt.Errorf("tool name %q", t.name)
		case slices.Contains(names, t.name):
			return fmt.Errorf("two tools %q", t.name)
		case !isObject(t.schema) || !bytes.Contains(t.schema, []byte(`"type"`)):
			return fmt.Errorf("schema of %s: %s", t.name, t.schema)
		}
		names = append(names, t.name)
	}
	if c.forced != "" && !slices.Contains(names, c.forced) {
		return fmt.Errorf("tool_choice %q is no tool", c.forced)
	}
	if len(c.turns) == 0 || c.turns[len(c.turns)-1].role != "user" {
		return errors.New("the last turn must be the user's")
	}
	return c.checkCalls()
}

// checkCalls wants the results of all calls of a turn in the next, each with the id that was given to it, and the arguments
// as they were given.
func (c *conversation) checkCalls() error {
	var open, seen []string
	for _, t := range c.turns {
		if t.role != "user" && len(open) > 0 {
			return fmt.Errorf("a turn of the %s while %v have no result", t.role, open)
		}
		for _, p := range t.parts {
			switch p.kind {
			case "call":
				if t.role != "assistant" || !strictName.MatchString(p.id) || slices.Contains(seen, p.id) {
					return fmt.Errorf("call %q in a turn of the %s", p.id, t.role)
				}
				if want := c.argsOf(p.id); want != "" && !sameJSON(want, p.args) {
					return fmt.Errorf("the arguments of %s are %s, were %s", p.id, p.args, want)
				}
				open, seen = append(open, p.id), append(seen, p.id)
			case "result":
				i := slices.Index(open, p.id)
				if t.role != "user" || i < 0 {
					return fmt.Errorf("result %q of no open call", p.id)
				}
				open = slices.Delete(open, i, i+1)
			default:
				if len(open) > 0 && t.role == "user" {
					return fmt.Errorf("%s while %v have no result", p.kind, open)
				}
			}
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("no result for %v", open)
	}
	return nil
}

// argsOf are the arguments that this script gives the call with that id, "" if it does not make it.
func (c *conversation) argsOf(id string) string {
	_, city, ok := strings.Cut(id, "_")
	if !ok || city != "lisbon" && city != "oslo" {
		return ""
	}
	return weatherArgs(strings.ToUpper(city[:1]) + city[1:])
}

func sameJSON(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return string(marshal(x)) == string(marshal(y))
}

// imageOf is the part of a data URL.
func imageOf(url string) (strictPart, error) {
	kind, data, ok := strings.Cut(strings.TrimPrefix(url, "data:"), ";base64,")
	if !ok || !strings.HasPrefix(url, "data:") {
		return strictPart{}, fmt.Errorf("image %.40s is no data URL", url)
	}
	return base64Image(kind, data)
}

func base64Image(kind, data string) (strictPart, error) {
	raw, err := base64.StdEncoding.DecodeString(data)
	if err != nil || !slices.Contains([]string{"image/png", "image/jpeg", "image/gif", "image/webp"}, kind) || !bytes.HasPrefix(raw, []byte("\x89PNG")) {
		return strictPart{}, fmt.Errorf("image of type %q: %v", kind, err)
	}
	return strictPart{kind: "image", text: string(raw)}, nil
}

// strictSchema wants what OpenAI demands of a strict schema: objects are closed and need all their properties.
func strictSchema(schema json.RawMessage) error {
	var s struct {
		Properties           map[string]json.RawMessage `json:"properties"`
		Required             []string                   `json:"required"`
		AdditionalProperties json.RawMessage            `json:"additionalProperties"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		return err
	}
	if string(s.AdditionalProperties) != "false" {
		return fmt.Errorf("a strict schema that is open: %s", schema)
	}
	for name := range s.Properties {
		if !slices.Contains(s.Required, name) {
			return fmt.Errorf("a strict schema that does not require %s", name)
		}
	}
	return nil
}
