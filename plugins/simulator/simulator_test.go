package simulator

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

type answer struct {
	status int
	header map[string]string
	parts  []string
	times  []time.Time
}

func (a *answer) Head(status int, header map[string]string) error {
	a.status, a.header = status, header
	return nil
}

func (a *answer) Part(data []byte) error {
	a.parts = append(a.parts, string(data))
	a.times = append(a.times, time.Now())
	return nil
}

// completion is what a client reads, of a whole answer or of a chunk.
type completion struct {
	ID          string `json:"id"`
	Object      string `json:"object"`
	Fingerprint string `json:"system_fingerprint"`
	Choices     []struct {
		Message, Delta struct {
			Content   *string
			ToolCalls []struct {
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Finish *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
	Error *struct{ Message, Param string }
}

func call(t *testing.T, operation, body string, stream bool, settings map[string]string) *answer {
	t.Helper()
	var a answer
	err := New().Call(context.Background(), &provider.CallRequest{
		Operation: operation, Model: "m", Stream: stream, Body: []byte(body), RequestID: "1", Settings: settings,
	}, &a)
	if err != nil {
		t.Fatal(err)
	}
	return &a
}

func decode(t *testing.T, text string) completion {
	t.Helper()
	var c completion
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return c
}

const (
	hello = `"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Which way to Paris?"}]`
	tools = `"tools":[{"type":"function","function":{"name":"first","parameters":{}}},{"type":"function","function":{"name":"weather","parameters":
		{"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer","minimum":2},"unit":{"enum":["C","F"]},"more":{"type":"string"}},"required":["city","days","unit"]}}}]`
)

func TestChat(t *testing.T) {
	tests := []struct {
		name, fields string
		content      string // must occur in the content
		arguments    string
		finish       string
	}{
		{"text", ``, "simulated", "", "stop"},
		{"names the model", ``, "gpt-x", "", "stop"},
		{"repeats the question", ``, "Which way to Paris?", "", "stop"},
		{"cut", `,"max_tokens":5`, "This is a simulated", "", "length"},
		{"cut, new name", `,"max_completion_tokens":1`, "This", "", "length"},
		{"json", `,"response_format":{"type":"json_object"}`, `"simulated":true`, "", "stop"},
		{"schema", `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"]}}}`, `{"ok":true}`, "", "stop"},
		{"first tool", `,` + tools, "", `{}`, "tool_calls"},
		{"named tool", `,"tool_choice":{"type":"function","function":{"name":"weather"}},` + tools, "", `{"city":"Paris","days":2,"unit":"C"}`, "tool_calls"},
		{"no tool", `,"tool_choice":"none",` + tools, "simulated", "", "stop"},
	}
	for _, test := range tests {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s stream=%v", test.name, stream), func(t *testing.T) {
				body := `{"model":"gpt-x","stream_options":{"include_usage":true},` + hello + test.fields + `}`
				a := call(t, "chat", body, stream, map[string]string{"pause_ms": "0"})
				content, name, arguments, finish := "", "", "", ""
				var used *usage
				for _, part := range a.parts {
					c := decode(t, part)
					if c.Fingerprint != "simulated" || c.ID == "" {
						t.Errorf("chunk %s", part)
					}
					if c.Usage != nil {
						used = c.Usage
					}
					for _, choice := range c.Choices {
						delta := choice.Delta
						if !stream {
							delta = choice.Message
						}
						if delta.Content != nil {
							content += *delta.Content
						}
						for _, call := range delta.ToolCalls {
							name += call.Function.Name
							arguments += call.Function.Arguments
						}
						if choice.Finish != nil {
							finish = *choice.Finish
						}
					}
				}
				if a.status != 200 || a.header[Header] != "true" || !strings.Contains(content, test.content) ||
					arguments != test.arguments || (name != "") != (test.arguments != "") || finish != test.finish {
					t.Errorf("status %d, content %q, tool %q %s, finish %q", a.status, content, name, arguments, finish)
				}
				if want := tokens(content + arguments); used == nil || used.Completion != want || used.Prompt == 0 || used.Total != used.Prompt+used.Completion {
					t.Errorf("usage %+v, want %d completion tokens", used, want)
				}
				if stream && len(decode(t, a.parts[len(a.parts)-1]).Choices) != 0 {
					t.Error("the last chunk is not the usage")
				}
			})
		}
	}
}

func TestToolResultGetsText(t *testing.T) {
	a := call(t, "chat", `{"messages":[{"role":"user","content":"x"},{"role":"tool","content":"rain"}],`+tools+`}`, false, nil)
	if c := decode(t, a.parts[0]); *c.Choices[0].Finish != "stop" {
		t.Errorf("answer %s", a.parts[0])
	}
}

func TestDeterministic(t *testing.T) {
	body := `{"model":"m",` + hello + `}`
	first, second := decode(t, call(t, "chat", body, false, nil).parts[0]), decode(t, call(t, "chat", body, false, nil).parts[0])
	if *first.Choices[0].Message.Content != *second.Choices[0].Message.Content {
		t.Error("two answers")
	}
}

func TestStreamIsPaced(t *testing.T) {
	began := time.Now()
	a := call(t, "chat", `{"model":"m",`+hello+`}`, true, nil)
	took := time.Since(began)
	if first := a.times[0].Sub(began); first > 20*time.Millisecond {
		t.Errorf("first chunk after %s", first)
	}
	if n := time.Duration(len(a.parts) - 2); n < 5 || took < n*5*time.Millisecond {
		t.Errorf("%d chunks in %s", n, took)
	}
	if c := decode(t, a.parts[len(a.parts)-1]); c.Usage != nil {
		t.Error("usage that was not asked for")
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := New().Call(ctx, &provider.CallRequest{Operation: "chat", Stream: true, Body: []byte(`{` + hello + `}`)}, &answer{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, operation, body string
		status                int
		text                  string
	}{
		{"not JSON", "chat", `{`, 400, "not a chat request"},
		{"no messages", "chat", `{}`, 400, "messages"},
		{"two choices", "chat", `{"n":2,` + hello + `}`, 400, "n must be 1"},
		{"no output", "chat", `{"max_tokens":0,` + hello + `}`, 400, "limit"},
		{"unknown tool", "chat", `{"tool_choice":{"function":{"name":"x"}},` + hello + `,` + tools + `}`, 400, "tool_choice"},
		{"bad schema", "chat", `{"response_format":{"type":"json_schema","json_schema":{"schema":7}},` + hello + `}`, 400, "schema"},
		{"endless schema", "chat", `{"response_format":{"type":"json_schema","json_schema":{"schema":{"$ref":"#/$defs/a","$defs":{"a":{"type":"array","items":{"$ref":"#/$defs/a"}}}}}},` + hello + `}`, 400, "too large"},
		{"vast schema", "chat", `{"response_format":{"type":"json_schema","json_schema":{"schema":{"minItems":16,"items":{"minItems":16,"items":{"minItems":16,"items":{}}}}}},` + hello + `}`, 400, "too large"},
		{"operation", "audio", `{}`, 404, "audio"},
		{"no input", "embeddings", `{}`, 400, "input"},
		{"dimensions", "embeddings", `{"input":"x","dimensions":100000}`, 400, "dimensions"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := call(t, test.operation, test.body, false, nil)
			c := decode(t, a.parts[0])
			if a.status != test.status || c.Error == nil || !strings.Contains(c.Error.Message, test.text) {
				t.Errorf("status %d, %s", a.status, a.parts[0])
			}
		})
	}
}

func TestEmbeddings(t *testing.T) {
	vectors := func(body string) [][]float32 {
		var got struct {
			Data []struct{ Embedding json.RawMessage }
		}
		a := call(t, "embeddings", body, false, nil)
		if err := json.Unmarshal([]byte(a.parts[0]), &got); err != nil || a.status != 200 {
			t.Fatalf("%v: %s", err, a.parts[0])
		}
		var out [][]float32
		for _, d := range got.Data {
			var v []float32
			var text string
			if json.Unmarshal(d.Embedding, &text) == nil {
				raw, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(raw); i += 4 {
					bits := uint32(raw[i]) | uint32(raw[i+1])<<8 | uint32(raw[i+2])<<16 | uint32(raw[i+3])<<24
					v = append(v, math.Float32frombits(bits))
				}
			} else if err := json.Unmarshal(d.Embedding, &v); err != nil {
				t.Fatal(err)
			}
			out = append(out, v)
		}
		return out
	}
	dot := func(a, b []float32) (sum float64) {
		for i := range a {
			sum += float64(a[i]) * float64(b[i])
		}
		return sum
	}
	v := vectors(`{"input":["the red train leaves","the red train arrives","quantum jam",""]}`)
	coded := vectors(`{"input":"the red train leaves","encoding_format":"base64"}`)
	if len(v) != 4 || len(v[0]) != 256 || len(coded) != 1 {
		t.Fatalf("%d vectors", len(v))
	}
	for i := range v {
		if n := dot(v[i], v[i]); math.Abs(n-1) > 1e-5 {
			t.Errorf("vector %d has length² %f", i, n)
		}
	}
	if d := dot(v[0], coded[0]); math.Abs(d-1) > 1e-5 {
		t.Errorf("base64 differs: %f", d)
	}
	if near, far := dot(v[0], v[1]), dot(v[0], v[2]); near < 0.5 || math.Abs(far) > 0.4 {
		t.Errorf("near %f, far %f", near, far)
	}
	if short := vectors(`{"input":[[1,2],[3]],"dimensions":8}`); len(short) != 2 || len(short[0]) != 8 {
		t.Errorf("%v", short)
	}
}

func TestSettings(t *testing.T) {
	for text, ok := range map[string]bool{"": true, "0": true, "1000": true, "1001": false, "-1": false, "x": false} {
		_, err := New().Prepare(context.Background(), &provider.PrepareRequest{Settings: map[string]string{"pause_ms": text}})
		if ok != (err == nil) || err != nil && !errors.Is(err, provider.ErrSetting) {
			t.Errorf("pause_ms %q: %v", text, err)
		}
	}
}

func FuzzCall(f *testing.F) {
	f.Add([]byte(`{"model":"m",`+hello+`,`+tools+`}`), true)
	f.Add([]byte(`{"response_format":{"type":"json_schema","json_schema":{"schema":{"anyOf":[{"type":"null"},{"type":["string","null"],"maxLength":3}]}}},`+hello+`}`), false)
	f.Fuzz(func(t *testing.T, body []byte, stream bool) {
		var a answer
		err := New().Call(context.Background(), &provider.CallRequest{
			Operation: "chat", Stream: stream, Body: body, Settings: map[string]string{"pause_ms": "0"},
		}, &a)
		if err != nil || a.status == 0 {
			t.Fatalf("error %v, status %d", err, a.status)
		}
		for _, part := range a.parts {
			if !json.Valid([]byte(part)) {
				t.Fatalf("not JSON: %q", part)
			}
		}
	})
}
