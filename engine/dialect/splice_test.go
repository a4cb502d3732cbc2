package dialect

import (
	"strings"
	"testing"
)

func TestSpliceModel(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"model":"a"}`, `{"model":"new \"name\""}`},
		{` {"x":{"model":"in"} , "model" : "a", "y":1}` + "\n", ` {"x":{"model":"in"} , "model" : "new \"name\"", "y":1}` + "\n"},
		{`{"model":null,"model":"b"}`, `{"model":"new \"name\"","model":"new \"name\""}`},
		{`{"y":1}`, `{"y":1}`},
		{`{"model":"a"`, `{"model":"a"`},
		{`<html>`, `<html>`},
	} {
		if got := string(SpliceModel([]byte("x"), []byte(c.in), `new "name"`)); got != "x"+c.want {
			t.Errorf("%s: got %s, want %s", c.in, got[1:], c.want)
		}
	}
}

func TestStripUsage(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"a":1,"usage":null}`, `{"a":1}`},
		{`{"usage":null,"a":1}`, `{"a":1}`},
		{`{"usage":null}`, `{}`},
		{`{"a":1, "usage": {"x":{}} , "b":2}`, `{"a":1 , "b":2}`},
		{`{"usage":1,"usage":2,"a":{"usage":3},"usage":4}`, `{"a":{"usage":3}}`},
		{`{"a":1}`, `{"a":1}`},
		{`{"usage":null`, `{"usage":null`},
		{strings.Replace(chunkText, `,"usage":null`, "", 1), strings.Replace(chunkText, `,"usage":null`, "", 1)},
	} {
		if got := string(StripUsage([]byte("x"), []byte(c.in))); got != "x"+c.want {
			t.Errorf("%s: got %s, want %s", c.in, got[1:], c.want)
		}
	}
}

func TestSpliceUsage(t *testing.T) {
	u := Usage{Input: 10, Output: 5, CacheRead: 4, CacheWrite: 2, Reasoning: 1}
	const made = `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},` +
		`"completion_tokens_details":{"reasoning_tokens":1},"cost":0.25,"credits":"0.002","is_byok":true}`
	extra := Extra{CostUSD: "0.25", Credits: "0.002", BYOK: true}
	for _, c := range []struct {
		in    string
		extra Extra
		want  string
	}{
		{`{"id":1,"usage":{"prompt_tokens":7}}`, extra, `{"id":1,"usage":{"prompt_tokens":7,"cost":0.25,"credits":"0.002","is_byok":true}}`},
		{`{"usage":{}}`, extra, `{"usage":{"cost":0.25,"credits":"0.002","is_byok":true}}`},
		{`{"usage":{"cost":1, "x":2,"is_byok":null},"z":[]}`, extra, `{"usage":{ "x":2,"cost":0.25,"credits":"0.002","is_byok":true},"z":[]}`},
		{`{"usage":{"cost":1,"x":2}}`, Extra{}, `{"usage":{"cost":1,"x":2,"is_byok":false}}`},
		{`{"usage":null,"z":1}`, extra, `{"usage":` + made + `,"z":1}`},
		{`{"z":1}`, extra, `{"z":1,"usage":` + made + `}`},
		{`{}`, extra, `{"usage":` + made + `}`},
		{`{"usage":{}`, extra, `{"usage":{}`},
		{`[]`, extra, `[]`},
	} {
		got := string(Chat.SpliceUsage([]byte("x"), []byte(c.in), u, c.extra))
		if got != "x"+c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, got[1:], c.want)
		}
		info := Chat.InspectAnswer([]byte(c.in))
		if again, known := info.SpliceUsage([]byte("x"), []byte(c.in), c.extra); known && string(again) != got || known != info.Usage {
			t.Errorf("%s:\n got %s, knowing the place %v\nwant %s", c.in, again, known, got)
		}
	}
	events := string(Chat.AppendEnd(nil, &End{Usage: u, Extra: extra, ID: "id", Model: "m", Created: 17}))
	const want = `{"id":"id","object":"chat.completion.chunk","created":17,"model":"m","choices":[],"usage":` + made + `}`
	if events != "data: "+want+"\n\ndata: [DONE]\n\n" {
		t.Errorf("the end of a stream:\n got %s\nwant %s", events, want)
	}
	chunk := []byte(want)
	if again, ok := OpenAIUsage(chunk); !ok || again != (Usage{Input: 10, Output: 5, CacheRead: 4, CacheWrite: 2, Reasoning: 1, Reported: true, CostUSD: "0.25"}) {
		t.Errorf("what we write we read as %+v, %v", again, ok)
	}
}

func TestAppendError(t *testing.T) {
	e := ErrorDetail{"invalid_request_error", "bad", "messages[0]", "a \"b\"\n\x00\xff"}
	const message = `"a \"b\"\n\u0000` + "\ufffd" + `"`
	for _, c := range []struct{ got, want string }{
		{string(Chat.AppendError(nil, 400, e, "r")), `{"error":{"message":` + message + `,"type":"invalid_request_error","param":"messages[0]","code":"bad"}}`},
		{string(Responses.AppendError(nil, 400, ErrorDetail{Type: "t"}, "r")), `{"error":{"message":"","type":"t","param":null,"code":null}}`},
		{
			string(Messages.AppendError(nil, 402, e, "r")),
			`{"type":"error","error":{"type":"billing_error","message":` + message + `,"param":"messages[0]","code":"bad"},"request_id":"r"}`,
		},
		{string(Messages.AppendErrorEvent(nil, 529, ErrorDetail{Message: "m"}, 3)), "event: error\ndata: " + `{"type":"error","error":{"type":"overloaded_error","message":"m"}}` + "\n\n"},
		{string(Responses.AppendErrorEvent(nil, 502, ErrorDetail{Message: "m", Code: "c"}, 3)), "event: error\ndata: " + `{"type":"error","sequence_number":3,"code":"c","message":"m","param":null}` + "\n\n"},
		{string(Chat.AppendErrorEvent(nil, 502, ErrorDetail{Message: "m", Type: "t"}, 3)), "data: " + `{"error":{"message":"m","type":"t","param":null,"code":null}}` + "\n\n"},
	} {
		if c.got != c.want {
			t.Errorf("got %s\nwant %s", c.got, c.want)
		}
	}
}

func TestReadError(t *testing.T) {
	for _, c := range []struct {
		in   string
		want ErrorDetail
		ok   bool
	}{
		{`{"error":{"message":"m","type":"t","param":null,"code":"c"}}`, ErrorDetail{Type: "t", Code: "c", Message: "m"}, true},
		{`{"type":"error","error":{"type":"overloaded_error","message":"Over\u006coaded"},"request_id":"r"}`, ErrorDetail{Type: "overloaded_error", Message: "Overloaded"}, true},
		{`{"error":{"code":429,"message":"m","metadata":{}}}`, ErrorDetail{Code: "429", Message: "m"}, true},
		{`{"error":"model 'x' not found"}`, ErrorDetail{Message: "model 'x' not found"}, true},
		{`{"error":{"message":{"a":1}}}`, ErrorDetail{}, true},
		{`{"error":null}`, ErrorDetail{}, false},
		{`{}`, ErrorDetail{}, false},
		{`<html>`, ErrorDetail{}, false},
	} {
		if got, ok := ReadError([]byte(c.in)); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v", c.in, got, ok)
		}
	}
}
