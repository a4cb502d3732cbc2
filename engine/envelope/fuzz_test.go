package envelope

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// reference reads body with jsontext and lists what it means: each token unescaped, with the path of each value.
func reference(body []byte) (tokens []string, err error) {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := d.ReadToken()
		if err == io.EOF && d.StackDepth() == 0 && len(tokens) > 0 {
			return tokens, nil
		}
		if err != nil {
			return tokens, err
		}
		if tok.Kind() == '"' {
			tokens = append(tokens, "s"+tok.String())
		} else {
			tokens = append(tokens, string(tok.Kind())+tok.String())
		}
		if d.StackDepth() == 0 && tok.Kind() != '}' && tok.Kind() != ']' || d.StackDepth() == 0 && len(body) > int(d.InputOffset()) && len(bytes.TrimLeft(body[d.InputOffset():], " \t\r\n")) > 0 {
			return tokens, fmt.Errorf("not one object")
		}
	}
}

// ours lists the same by the scanner alone.
func ours(body []byte, lim Limits) ([]string, *Error) {
	s := scanner{b: body, lim: lim}
	var tokens []string
	var walk func()
	walk = func() {
		var f frame
		switch c := s.peek(); c {
		case '{':
			tokens = append(tokens, "{{")
			for s.begin(&f); s.member(&f); {
				tokens = append(tokens, "s"+string(s.key))
				walk()
			}
			tokens = append(tokens, "}}")
		case '[':
			tokens = append(tokens, "[[")
			for s.begin(&f); s.element(&f); {
				walk()
			}
			tokens = append(tokens, "]]")
		case '"':
			if s.textValue() {
				text := unescape(nil, body[s.off:s.end])
				wide := 0
				for _, c := range text {
					if c >= 0x80 {
						wide++
					}
				}
				if len(text) != s.size || wide != s.wide {
					panic(fmt.Sprintf("string %q: counted %d bytes, %d wide", text, s.size, s.wide))
				}
				tokens = append(tokens, "s"+string(text))
			}
		default:
			at := s.i
			s.value()
			kind := string(c)
			if c == '-' || c-'0' < 10 {
				kind = "0"
			}
			tokens = append(tokens, kind+string(body[at:s.i]))
		}
	}
	s.space()
	walk()
	if s.space(); s.fault == nil && s.i < len(body) {
		s.fail(s.i, "trailing data")
	}
	if s.fault != nil && s.limited {
		return nil, nil
	}
	return tokens, s.fault
}

func seeds(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `{} {}`, "\ufeff{}", `{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":"\ud800"}`, `{"a":"\ud83d\ude00"}`, "{\"a\":\"\xff\"}",
		`{"a":NaN}`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":-0.5E+10}`, `{"a":[1,]}`, `{"a":[,]}`, `{,}`, `{"a"}`, `{"a":tru}`, `{"a":truex}`,
		"{\"a\":\"\t\"}", `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"` + "\x00" + `"}`, "{\"a\":\"\xed\xa0\x80\"}", ` { "a" : [ 1 , { } ] } `,
		talk(`,"model":"m","power_level":"eco","pointsman":{"privacy":"local"},"stream":true,"stream_options":{"include_usage":false,"x":1}`),
		talk(` , "max_tokens" : 5 , "max_completion_tokens" : 6`), talk(`,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"response_format":{"type":"json_schema"}`),
		`{"pointsman":{},"messages":[{"role":"user","content":[{"type":"text","text":"translate é中\n"},{"type":"image_url","image_url":{"url":"x"}}]}],"power_level":"eco"}`,
	} {
		f.Add([]byte(s))
	}
}

func FuzzScanAgreesWithJSONText(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Count(body, []byte{'['})+bytes.Count(body, []byte{'{'}) > 5000 {
			return // jsontext's own limit of depth
		}
		trimmed := bytes.TrimLeft(body, " \t\r\n")
		if len(trimmed) == 0 || trimmed[0] != '{' {
			return
		}
		want, refErr := reference(body)
		got, err := ours(body, Limits{math.MaxInt, math.MaxInt})
		if got == nil && err == nil {
			return // a number beyond our limits
		}
		if (refErr == nil) != (err == nil) {
			t.Fatalf("jsontext says %v, we say %v: %q", refErr, err, body)
		}
		if refErr == nil && strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("jsontext reads %q, we read %q: %q", want, got, body)
		}
	})
}

// TestStringsOfAnyLength: each byte that means something is found at every place of a text, whatever of it is scanned at once, and so are two of them.
func TestStringsOfAnyLength(t *testing.T) {
	meanings := []string{`x`, `\n`, `\"`, `\u00e9`, `\x`, "\x1f", "\x00", "é", "\xe9", "\x7f", "\x80", "!", "#", "[", "]", `"`}
	for length := range 100 {
		for at := range length {
			for i, one := range meanings {
				text := strings.Repeat("a", at) + one + strings.Repeat("b", length-at-1) + meanings[(i+at)%len(meanings)]
				body := []byte(`{"a":"` + text + `","b":"` + text + `"}`)
				want, refErr := reference(body)
				got, err := ours(body, Limits{math.MaxInt, math.MaxInt})
				if (refErr == nil) != (err == nil) || refErr == nil && strings.Join(got, "\x00") != strings.Join(want, "\x00") {
					t.Fatalf("%q: %q, %v; want %q, %v", body, got, err, want, refErr)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > 1<<16 {
			return
		}
		before := bytes.Clone(body)
		e, err := Parse(body, DefaultLimits())
		if !bytes.Equal(before, body) {
			t.Fatal("Parse changed the body")
		}
		_, refErr := reference(body)
		switch {
		case err == nil && refErr != nil:
			t.Fatalf("accepted what jsontext refuses with %v: %q", refErr, body)
		case err == nil:
			checkSplice(t, e, body)
			size := 0
			e.EachText(body, func(text []byte) { size += len(text) })
			if size != e.TextBytes {
				t.Fatalf("the pieces have %d bytes, TextBytes says %d: %q", size, e.TextBytes, body)
			}
		case refErr != nil && err.Code != CodeInvalidJSON && err.Code != CodeDuplicateKey:
			if !limitedBody(body) {
				t.Fatalf("%+v where jsontext says %v: %q", err, refErr, body)
			}
		case refErr == nil && err.Code == CodeDuplicateKey:
			t.Fatalf("%+v where jsontext sees nothing wrong: %q", err, body)
		}
		if err != nil && (err.Status == 0 || err.Message == "" || len(err.Param) > maxParam) {
			t.Fatalf("poor error %+v", err)
		}
	})
}

// FuzzForms holds every form to what jsontext says, and what is forwarded to being read again without the gateway's members.
func FuzzForms(f *testing.F) {
	for form := FormChat; form < FormAudio; form++ {
		f.Add(uint8(form), []byte(talk(`,"provider":{"order":["a"],"sort":{"by":"price"},"max_price":{"prompt":"1"}},"models":["x"]`)))
		f.Add(uint8(form), []byte(`{"model":"m","input":[[1,2],[3]],"prompt":"p","n":2,"query":"q","documents":["d",{"text":"e"}],"max_tokens":1,"dimensions":3}`))
		f.Add(uint8(form), []byte(`{"input":"\u00e9","documents":[],"provider":null,"stream":true}`))
	}
	f.Fuzz(func(t *testing.T, form uint8, body []byte) {
		if Form(form) >= FormAudio || len(body) > 1<<16 {
			return
		}
		var e, again Envelope
		err := e.Parse(Form(form), body, DefaultLimits())
		_, refErr := reference(body)
		if err != nil {
			if refErr != nil && err.Code != CodeInvalidJSON && err.Code != CodeDuplicateKey && !limitedBody(body) {
				t.Fatalf("%+v where jsontext says %v: %q", err, refErr, body)
			}
			return
		}
		if refErr != nil {
			t.Fatalf("accepted what jsontext refuses with %v: %q", refErr, body)
		}
		if e.Units < 0 || e.N < 1 {
			t.Fatalf("%d units, %d answers: %q", e.Units, e.N, body)
		}
		sent := e.Splice(nil, body, Edits{Model: "upstream"})
		if err := again.Parse(Form(form), sent, DefaultLimits()); err != nil {
			t.Fatalf("%q became %q: %v", body, sent, err)
		}
		if again.Model != "upstream" || again.Routing != nil || again.HasLevel || again.Units != e.Units {
			t.Fatalf("%q became %q, which reads %+v", body, sent, again)
		}
	})
}

// limitedBody tells whether the scan ends at a limit, before jsontext would.
func limitedBody(body []byte) bool {
	got, err := ours(body, DefaultLimits())
	return got == nil && err == nil
}
