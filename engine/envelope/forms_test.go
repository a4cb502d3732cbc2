package envelope

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
)

func TestForms(t *testing.T) {
	data := strings.Repeat("QUJD", 100)
	for _, c := range []struct {
		name string
		form Form
		body string
		want Envelope
	}{
		{
			"messages", FormMessages,
			`{"model":"m","max_tokens":9,"system":"be brief","messages":[{"role":"user","content":"Hello"}],"stream":true,"power_level":"eco"}`,
			Envelope{Model: "m", HasModel: true, PowerLevel: "eco", HasLevel: true, Stream: true, MaxTokens: 9, Messages: 1, TextBytes: 13},
		},
		{
			"messages with an image, a document and tools", FormMessages,
			`{"max_tokens":1,"system":[{"type":"text","text":"abc"}],"tools":[{"name":"f","input_schema":{}}],"messages":[{"role":"user","content":[` +
				`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + data + `"}},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"hello"}}]}]}`,
			Envelope{MaxTokens: 1, Messages: 1, Images: 1, TextBytes: 3 + 5 + len("texttext/plain") + 32, Needs: abi.CapVision | abi.CapPDF | abi.CapTools},
		},
		{
			"messages with a schema", FormMessages, `{"max_tokens":1,"messages":[{"role":"user","content":"x"}],"output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}}}`,
			Envelope{MaxTokens: 1, Messages: 1, TextBytes: 1 + 60, Needs: abi.CapJSONSchema, WantsJSON: true},
		},
		{"responses", FormResponses, `{"model":"m","input":"Hello","instructions":"abc","max_output_tokens":7}`, Envelope{Model: "m", HasModel: true, MaxTokens: 7, Messages: 1, TextBytes: 8}},
		{
			"responses with items", FormResponses,
			`{"input":[{"role":"user","content":[{"type":"input_text","text":"abc"},{"type":"input_image","image_url":"data:` + data + `"}]},` +
				`{"type":"function_call","call_id":"1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"1","output":"xyz"}],"tools":[{"type":"function","name":"f"}],"text":{"format":{"type":"json_object"}}}`,
			Envelope{Messages: 3, Images: 1, TextBytes: 3 + 3 + 3 + 32, Needs: abi.CapVision | abi.CapTools, WantsJSON: true},
		},
		{"legacy completions", FormCompletions, `{"model":"m","prompt":"abc","max_tokens":3,"logprobs":2}`, Envelope{Model: "m", HasModel: true, MaxTokens: 3, Messages: 1, TextBytes: 3}},
		{"embeddings", FormEmbeddings, `{"model":"m","input":["abc","de"],"dimensions":3}`, Envelope{Model: "m", HasModel: true, TextBytes: 5}},
		{"a count of tokens needs no limit", FormTokenCount, `{"messages":[{"role":"user","content":"abc"}]}`, Envelope{Messages: 1, TextBytes: 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e Envelope
			if err := e.Parse(c.form, []byte(c.body), DefaultLimits()); err != nil {
				t.Fatal(err)
			}
			c.want.N, c.want.form = 1, c.form
			e.InputTokens, e.Task = 0, 0
			if got, want := plain(e), plain(c.want); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

func TestFormsRefuse(t *testing.T) {
	for _, c := range []struct {
		form              Form
		body, code, param string
	}{
		{FormMessages, `{"messages":[{"role":"user","content":"x"}]}`, CodeInvalidValue, "max_tokens"},
		{FormMessages, `{"max_tokens":1,"messages":[{"role":"system","content":"x"}]}`, CodeInvalidValue, "messages[0].role"},
		{FormMessages, `{"max_tokens":1,"Messages":[]}`, CodeUnknownParameter, "Messages"},
		{FormMessages, `{"max_tokens":1,"temperature":1.5,"messages":[{"role":"user","content":"x"}]}`, CodeInvalidValue, "temperature"},
		{FormMessages, `{"max_tokens":1,"base_url":"x","messages":[{"role":"user","content":"x"}]}`, CodeUnknownParameter, "base_url"},
		{FormResponses, `{"model":"m"}`, CodeInvalidValue, "input"},
		{FormResponses, `{"input":[]}`, CodeInvalidValue, "input"},
		{FormResponses, `{"input":[5]}`, CodeInvalidValue, "input[0]"},
		{FormResponses, `{"input":"x","previous_response_id":"resp_1"}`, CodeUnsupported, "previous_response_id"},
		{FormResponses, `{"input":"x","conversation":"conv_1"}`, CodeUnsupported, "conversation"},
		{FormResponses, `{"input":"x","background":true}`, CodeUnsupported, "background"},
		{FormCompletions, `{"messages":[]}`, CodeInvalidValue, "messages"},
		{FormEmbeddings, `{"input":{}}`, CodeInvalidValue, "input"},
		{FormEmbeddings, `{"input":[]}`, CodeInvalidValue, "input"},
	} {
		var e Envelope
		if err := e.Parse(c.form, []byte(c.body), DefaultLimits()); err == nil || err.Code != c.code || err.Param != c.param {
			t.Errorf("%s: %+v", c.body, err)
		}
	}
}

// A conversation is told by its opening, and only from its second turn on.
func TestOpening(t *testing.T) {
	const system, user = `{"role":"system","content":"s"}`, `{"role":"user","content":"u"}`
	for _, c := range []struct {
		form    Form
		body    string
		opening string
		later   bool
	}{
		{FormChat, `{"messages":[` + system + `,` + user + `]}`, system + `,` + user, false},
		{FormChat, `{"messages":[` + system + `,` + user + `,{"role":"assistant","content":"a"},{"role":"user","content":"v"}]}`, system + `,` + user, true},
		{FormChat, `{"messages":[` + system + `]}`, "", false},
		{FormMessages, `{"max_tokens":1,"messages":[` + user + `,{"role":"assistant","content":"a"}]}`, user, true},
		{FormResponses, `{"input":[` + user + `,{"type":"function_call","arguments":"{}"}]}`, user, true},
		{FormResponses, `{"input":"x"}`, "", false},
	} {
		var e Envelope
		if err := e.Parse(c.form, []byte(c.body), DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		if opening, later := e.Opening([]byte(c.body)); string(opening) != c.opening || later != c.later {
			t.Errorf("%s: %s, %v", c.body, opening, later)
		}
	}
}

func TestThinkingIsNoticed(t *testing.T) {
	for body, want := range map[string]bool{
		`{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"}]}]}`: true,
		`{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"redacted_thinking","data":"s"}]}]}`:            true,
		`{"max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":""}]}]}`:  true,
		`{"max_tokens":1,"messages":[{"role":"assistant","content":"signature"}]}`:                                          false,
	} {
		var e Envelope
		if err := e.Parse(FormMessages, []byte(body), DefaultLimits()); err != nil || e.HasThinking() != want {
			t.Errorf("%s: %v, %v", body, e.HasThinking(), err)
		}
	}
	e, err := Parse([]byte(`{"messages":[{"role":"assistant","content":"x","thinking_blocks":[{"type":"thinking","thinking":"t","signature":"s"}]}]}`), DefaultLimits())
	if err != nil || !e.HasThinking() {
		t.Error("the thinking blocks of a chat completion go unnoticed")
	}
}
