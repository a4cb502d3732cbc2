package badinput

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	cases, err := parse("values.txt", `# a comment
case first
with "n": 0, "x": [0<<2 ,%d>>]
header Authorization: Basic x
header X-One: <<3 a>>
no-header content-type
want 400 invalid_request_error invalid_value n

case second
bytes "\xff\x00"
method GET
query a=<<2 b>>
fill-headers 2
header Authorization: one
header Authorization: two
want 414|431 * - *
want-header Allow: POST
`)
	if err != nil {
		t.Fatal(err)
	}
	first, second := cases[0], cases[1]
	if got := string(first.Body); got != conversation("/chat/completions")+`,"n": 0, "x": [0,0,1]}` {
		t.Errorf("body %s", got)
	}
	if len(first.Headers) != 2 || first.Headers[0] != [2]string{"Authorization", "Basic x"} || first.Headers[1] != [2]string{"X-One", "aaa"} {
		t.Errorf("headers %q", first.Headers)
	}
	if first.Group != "values" || first.At != "values.txt:2" || first.Method != "POST" {
		t.Errorf("first is %+v", first)
	}
	if body, ok := first.Streaming(); !ok || !strings.HasPrefix(string(body), `{"stream":true,"messages"`) {
		t.Errorf("streaming %v %s", ok, body)
	}
	if _, ok := second.Streaming(); ok {
		t.Error("bytes that are no object were made to stream")
	}
	if string(second.Body) != "\xff\x00" || second.Method != "GET" || second.Query != "a=bb" || len(second.Headers) != 5 {
		t.Errorf("second is %+v", second)
	}
	if second.Headers[0][1] != "one" || second.Headers[4][1] != "two" || second.WantHeaders[0] != [2]string{"Allow", "POST"} {
		t.Errorf("second is %+v", second)
	}
	if diff := second.Matches(431, "any", "", "any"); diff != "" {
		t.Error(diff)
	}
	if first.Matches(400, "invalid_request_error", "invalid_value", "m") == "" || first.Matches(0, "", "", "") == "" {
		t.Error("a wrong answer matches")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"want 400 a b c", "case a\ncase b\nwant 400 a b c", "case a\nwant 400 a b c\ncase a\nwant 400 a b c", "case a",
		"case a\nbudy {}", "case a\nwith <<x y>>", "case a\nbody <<2 y", "case a\nwant 400 a b", "case a\nwant x a b c",
		"case a\nheader x", "case a\nbytes x", "case a\nfill-headers x",
	} {
		if _, err := parse("x.txt", text); err == nil {
			t.Errorf("accepted %q", text)
		}
	}
}
