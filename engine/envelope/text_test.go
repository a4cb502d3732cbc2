package envelope

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAppendPrompt(t *testing.T) {
	for _, c := range []struct {
		content, want string
		limit         int
	}{
		{`"Hello"`, "Hello", 100},
		{`"Hello"`, "Hel", 3},
		{`"a\\nb\\u00e9\\ud83d\\ude00"`, "a\nbé😀", 100},
		{`"aé😀"`, "aé", 5},
		{`[{"type":"text","text":"one"},{"type":"text","text":"two"}]`, "two", 100},
		{`null`, "", 100},
	} {
		body := []byte(`{"messages":[{"role":"user","content":"before"},{"role":"assistant","content":"x"},{"role":"user","content":` +
			strings.ReplaceAll(c.content, `\\`, `\`) + `}]}`)
		e, err := Parse(body, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		want := c.want
		if c.content == "null" { // such a message has no text: the one before counts
			want = "before"
		}
		if got := string(e.AppendPrompt([]byte(">"), body, c.limit)); got != ">"+want {
			t.Errorf("%s within %d: %q, want %q", c.content, c.limit, got, want)
		}
	}
}

// TestLongPrompt: wherever a long text of escapes and wide characters is cut, what stays is the text's beginning.
func TestLongPrompt(t *testing.T) {
	whole := strings.Repeat("aé😀\n\"", 200)
	raw := strings.Repeat(`a\u00e9\ud83d\ude00\n\"`, 200)
	for limit := range 300 {
		got := string(appendText(nil, []byte(raw), limit))
		if !strings.HasPrefix(whole, got) || !utf8.ValidString(got) || len(got) < min(limit-3, len(whole)) {
			t.Fatalf("%d: %q", limit, got)
		}
	}
}

func TestAppendMetadata(t *testing.T) {
	body := []byte(`{"user":"u\u00e9","metadata":{"z":"1","a":"x\ny","n":5,"bad=":"no","team":"blue"},"messages":[{"role":"user","content":"hi"}]}`)
	e, err := Parse(body, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(e.AppendMetadata(nil, body, 100)), "metadata.a=x y\nmetadata.team=blue\nmetadata.z=1\nuser=ué\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := string(e.AppendMetadata(nil, body, 20)); got != "metadata.a=x y\n" {
		t.Errorf("within 20 bytes: %q", got)
	}
	plain := []byte(`{"messages":[{"role":"user","content":"hi"}]}`)
	if err := e.Parse(FormChat, plain, DefaultLimits()); err != nil || len(e.AppendMetadata(nil, plain, 100)) > 0 {
		t.Error("metadata of the request before", err)
	}
}

func TestTextOfAMember(t *testing.T) {
	for body, want := range map[string]string{
		`{"messages":[{"role":"user","content":"x"}],"service_tier":"flex"}`:                  "flex",
		`{"messages":[{"role":"user","content":"x"}],"service\u005ftier" : "pri\u006Frity"}`:  "priority",
		`{"messages":[{"role":"user","content":"x"}],"service_tier":null}`:                    "",
		`{"messages":[{"role":"user","content":"x"}],"service_tier":["flex"]}`:                "",
		`{"messages":[{"role":"user","content":"service_tier"}],"x":{"service_tier":"flex"}}`: "",
	} {
		e, err := Parse([]byte(body), DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Text([]byte(body), "service_tier"); got != want {
			t.Errorf("%s: %q", body, got)
		}
	}
}
