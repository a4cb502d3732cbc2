package envelope

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestGiven(t *testing.T) {
	body := []byte(`{"messages":[{"role":"user","content":"hi","seed":1}],"log\u0070robs":true,"logit_bias":null,"n":1}`)
	e, err := Parse(body, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := e.Given([]string{"x"}, body, []string{"logit_bias", "n", "logprobs", "seed"}); !slices.Equal(got, []string{"x", "n", "logprobs"}) {
		t.Errorf("given %q", got)
	}
}

func TestSplice(t *testing.T) {
	const m = `"messages":[{"role":"user","content":"hi"}]`
	tests := []struct {
		name, body string
		edits      Edits
		want       string
	}{
		{"nothing to do", `{` + m + `}`, Edits{}, `{` + m + `}`},
		{"white space survives", " {\n\t" + m + " ,\r\n \"seed\" : 1e+2 } ", Edits{}, " {\n\t" + m + " ,\r\n \"seed\" : 1e+2 } "},
		{"model", `{"model" : "a",` + m + `}`, Edits{Model: `b"é`}, `{"model" : "b\"é",` + m + `}`},
		{"model of null", `{"model":null,` + m + `}`, Edits{Model: "b"}, `{"model":"b",` + m + `}`},
		{"model absent", `{` + m + ` }`, Edits{Model: "b"}, `{` + m + `,"model":"b" }`},
		{"own members first", `{ "power_level":"eco" , "pointsman":{} , ` + m + `}`, Edits{}, `{ ` + m + `}`},
		{"own members last", `{` + m + ` , "power_level":"eco", "pointsman":{} }`, Edits{}, `{` + m + ` }`},
		{"own members between", `{"a":1 , "power_level":"eco", ` + m + `, "pointsman":{},"z":2}`, Edits{}, `{"a":1, ` + m + `,"z":2}`},
		{"escaped key", `{` + m + `,"power\u005flevel":"eco"}`, Edits{}, `{` + m + `}`},
		{"usage absent", `{` + m + `}`, Edits{IncludeUsage: true}, `{` + m + `,"stream_options":{"include_usage":true}}`},
		{"usage null", `{` + m + `,"stream_options":null}`, Edits{IncludeUsage: true}, `{` + m + `,"stream_options":{"include_usage":true}}`},
		{"usage of no options", `{` + m + `,"stream_options":{ }}`, Edits{IncludeUsage: true}, `{` + m + `,"stream_options":{"include_usage":true }}`},
		{"usage false", `{"stream_options":{"a":1,"include_usage": false ,"b":2},` + m + `}`, Edits{IncludeUsage: true}, `{"stream_options":{"a":1,"include_usage": true ,"b":2},` + m + `}`},
		{"usage true", `{"stream_options":{"include_usage":true},` + m + `}`, Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true},` + m + `}`},
		{"usage among others", `{"stream_options":{"a":1},` + m + `}`, Edits{IncludeUsage: true}, `{"stream_options":{"include_usage":true,"a":1},` + m + `}`},
		{"rename limit", `{"max_completion_tokens" : 5,` + m + `}`, Edits{MaxTokensField: "max_tokens"}, `{"max_tokens" : 5,` + m + `}`},
		{"one limit of two", `{"max_tokens":4,"max_completion_tokens":5,` + m + `}`, Edits{MaxTokensField: "max_tokens"}, `{"max_tokens":5,` + m + `}`},
		{"two limits", `{"max_completion_tokens":1,"max_tokens":100000,` + m + `}`, Edits{}, `{"max_completion_tokens":1,` + m + `}`},
		{"two limits, the one that counts last", `{"max_tokens":4, "max_completion_tokens":5,` + m + `}`, Edits{Model: "b"}, `{"max_completion_tokens":5,` + m + `,"model":"b"}`},
		{"limit beside a null", `{"max_tokens":4,"max_completion_tokens":null,` + m + `}`, Edits{MaxTokensField: "max_completion_tokens"}, `{"max_completion_tokens":4,` + m + `}`},
		{"limit by another name", `{"max_out":3,"max_tokens":4,` + m + `}`, Edits{MaxTokensField: "max_out"}, `{"max_out":4,` + m + `}`},
		{"limit lowered", `{"max_tokens":4000,` + m + `}`, Edits{MaxTokens: 100}, `{"max_tokens":100,` + m + `}`},
		{"limit added", `{` + m + `,"max_tokens":null}`, Edits{MaxTokens: 100, MaxTokensField: "max_completion_tokens"}, `{` + m + `,"max_completion_tokens":100}`},
		{"drop", `{"models":["x"],` + m + `,"route":"y"}`, Edits{Drop: []string{"route", "models"}}, `{` + m + `}`},
		{"drop and set", `{"model":"a","stream_options":{"x":1},` + m + `}`, Edits{Model: "b", IncludeUsage: true, Drop: []string{"stream_options", "model"}}, `{` + m + `,"model":"b","stream_options":{"include_usage":true}}`},
		{"set", `{"route":{"order":["x"]},` + m + `,"a":1}`, Edits{Set: []Member{{"route", `{"zdr":true}`}, {"usage", "{}"}}}, `{` + m + `,"a":1,"route":{"zdr":true},"usage":{}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := Parse([]byte(tt.body), DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if got := string(e.Splice(nil, []byte(tt.body), tt.edits)); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	t.Run("everything removed", func(t *testing.T) {
		body := []byte(`{ "power_level":"eco" , "messages":[{"role":"user","content":"hi"}] }`)
		e, err := Parse(body, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		if got := string(e.Splice(nil, body, Edits{Drop: []string{"messages"}})); got != `{  }` {
			t.Errorf("got %q", got)
		}
		if got := string(e.Splice(nil, body, Edits{Drop: []string{"messages"}, Model: "m"})); got != `{ "model":"m" }` {
			t.Errorf("got %q", got)
		}
	})
}

// raw is one top-level member as jsontext sees it, value bytes untouched.
type raw struct{ key, value string }

func rawMembers(t *testing.T, body []byte) []raw {
	t.Helper()
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if tok, err := d.ReadToken(); err != nil || tok.Kind() != '{' {
		t.Fatalf("not an object: %v: %q", err, body)
	}
	var out []raw
	for d.PeekKind() != '}' {
		key, err := d.ReadToken()
		if err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		name := key.String()
		value, err := d.ReadValue()
		if err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		out = append(out, raw{name, string(value)})
	}
	if _, err := d.ReadToken(); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	if _, err := d.ReadToken(); err != io.EOF {
		t.Fatalf("trailing data: %q", body)
	}
	return out
}

// checkSplice makes many edits of an accepted body and compares each with what a slow model of them gives.
func checkSplice(t *testing.T, e *Envelope, body []byte) {
	t.Helper()
	for _, edits := range []Edits{
		{},
		{Model: "vendor/m"},
		{IncludeUsage: true},
		{MaxTokensField: "max_completion_tokens"},
		{MaxTokensField: "max_tokens", MaxTokens: 77},
		{Model: "m", IncludeUsage: true, MaxTokensField: "limit", Drop: []string{"seed", "user", "temperature"}},
		{Drop: []string{"messages", "stream_options"}, IncludeUsage: true},
	} {
		out := e.Splice(nil, body, edits)
		got, want := rawMembers(t, out), model(t, e, body, edits)
		if !slices.Equal(got, want) {
			t.Fatalf("splicing %q with %+v gives\n%q, want\n%q", body, edits, got, want)
		}
		for _, least := range []int{1, 16, 300} {
			w := writer{body: body, least: least, e: e, edits: edits}
			w.write()
			if parts := (Parts{w.dst[:w.at], w.kept, w.dst[w.at:]}); !bytes.Equal(parts.Whole(), out) {
				t.Fatalf("splicing %q with %+v gives the parts %q, in one piece %q", body, edits, parts, out)
			}
		}
		if slices.Contains(edits.Drop, "messages") {
			continue
		}
		again, err := Parse(out, DefaultLimits())
		if err != nil {
			t.Fatalf("the result is refused with %v: %q", err, out)
		}
		if again.InputTokens != e.InputTokens || again.Needs != e.Needs || again.Stream != e.Stream || again.N != e.N || again.HasLevel || again.Policy != "" {
			t.Fatalf("the result says %+v, the request %+v", again, e)
		}
		if twice := again.Splice(nil, out, Edits{}); !bytes.Equal(twice, out) {
			t.Fatalf("a second splice changes %q to %q", out, twice)
		}
	}
}

// model applies edits to the list of members.
func model(t *testing.T, e *Envelope, body []byte, edits Edits) []raw {
	limitName := ""
	for _, m := range rawMembers(t, body) {
		if m.value != "null" && (m.key == "max_completion_tokens" || m.key == "max_tokens" && limitName == "") {
			limitName = m.key
		}
	}
	setsLimit := edits.MaxTokensField != "" || edits.MaxTokens > 0
	var out []raw
	has := map[string]bool{}
	limited := false
	for _, m := range rawMembers(t, body) {
		isLimit := limitName != "" && m.key == limitName
		switch {
		case m.key == "power_level", m.key == "pointsman", slices.Contains(edits.Drop, m.key):
			continue
		case (setsLimit || limitName != "") && !isLimit && (m.key == "max_tokens" || m.key == "max_completion_tokens"):
			continue
		case !isLimit && m.key == edits.MaxTokensField && (limitName != "" || edits.MaxTokens > 0):
			continue
		case m.key == "model" && edits.Model != "":
			m.value = `"` + edits.Model + `"`
		case m.key == "stream_options" && edits.IncludeUsage:
			m.value = withUsage(t, m.value)
		}
		if isLimit && setsLimit {
			if edits.MaxTokensField != "" {
				m.key = edits.MaxTokensField
			}
			if edits.MaxTokens > 0 {
				m.value = fmt.Sprint(edits.MaxTokens)
			}
			limited = true
		}
		has[m.key] = true
		out = append(out, m)
	}
	if edits.Model != "" && !has["model"] {
		out = append(out, raw{"model", `"` + edits.Model + `"`})
	}
	if edits.IncludeUsage && !has["stream_options"] {
		out = append(out, raw{"stream_options", usageOptions})
	}
	if edits.MaxTokens > 0 && !limited {
		out = append(out, raw{edits.MaxTokensField, fmt.Sprint(edits.MaxTokens)})
	}
	return out
}

func withUsage(t *testing.T, value string) string {
	if value == "null" {
		return usageOptions
	}
	for _, m := range rawMembers(t, []byte(value)) {
		if m.key == "include_usage" {
			if m.value == "true" {
				return value
			}
			// The member is the only one whose value may stand there: find it by trying each place.
			for i := range value {
				if strings.HasPrefix(value[i:], m.value) {
					tried := value[:i] + "true" + value[i+len(m.value):]
					if usageSet(tried) {
						return tried
					}
				}
			}
		}
	}
	rest := value[1:]
	if strings.TrimLeft(rest, " \t\r\n") == "}" {
		return `{"include_usage":true` + rest
	}
	return `{"include_usage":true,` + rest
}

func usageSet(value string) bool {
	e, err := Parse([]byte(talk(`,"stream_options":`+value)), DefaultLimits())
	return err == nil && e.IncludeUsage
}

// TestSpliceAnyOrder splices requests of shuffled members, odd white space and escapes.
func TestSpliceAnyOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pool := []string{
		`"model":"a"`, `"model":null`, `"power_level":"eco"`, `"pointsman":{"privacy":"local"}`, `"pointsman":null`, `"stream":true`,
		`"stream_options":{}`, `"stream_options":null`, `"stream_options":{"x":[1,{"include_usage":1}],"include_usage":false}`, `"stream_options":{"x":1}`,
		`"max_tokens":5`, `"max_completion_tokens":6`, `"max_tokens":null`, `"max_completion_tokens":null`, `"limit":{"a":"b"}`, `"seed":1E+2`,
		`"user":"u\u00e9"`, `"temperature":0.10`, `"mod\u0065l":"z"`, `"unknown \"key\"":" , } ] "`, `"x":{}`, `"y":[]`, `"po\u0077er_level":"balanced"`,
	}
	spaces := []string{"", "", " ", "\n\t", "  \r\n"}
	sp := func() string { return spaces[rnd.IntN(len(spaces))] }
	tried := 0
	for tried < 3000 {
		parts := []string{`"messages":[{"role":"user","content":"hi"}]`}
		for range rnd.IntN(8) {
			parts = append(parts, pool[rnd.IntN(len(pool))])
		}
		rnd.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		var b strings.Builder
		b.WriteString(sp() + "{" + sp())
		for i, part := range parts {
			if i > 0 {
				b.WriteString(sp() + "," + sp())
			}
			key, value, _ := strings.Cut(part, `":`)
			b.WriteString(key + `"` + sp() + ":" + sp() + value)
		}
		b.WriteString(sp() + "}" + sp())
		body := []byte(b.String())
		e, err := Parse(body, DefaultLimits())
		if err != nil {
			if err.Code != CodeDuplicateKey {
				t.Fatalf("%+v: %s", err, body)
			}
			continue
		}
		tried++
		checkSplice(t, e, body)
	}
}

func TestNoAllocations(t *testing.T) {
	body := sample(2 << 10)
	var e Envelope
	dst := make([]byte, 0, 2*len(body))
	edits := Edits{Model: "vendor/model-x", IncludeUsage: true, MaxTokensField: "max_completion_tokens", Drop: []string{"models"}}
	allocs := testing.AllocsPerRun(100, func() {
		if err := e.Parse(FormChat, body, DefaultLimits()); err != nil {
			t.Fatal(err)
		}
		dst = e.Splice(dst[:0], body, edits)
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a parse and a splice with room, want 0", allocs)
	}
}

// TestLargeBodiesStay: the messages of a large request are sent from where they are, and editing it takes no memory but for the rest.
func TestLargeBodiesStay(t *testing.T) {
	edits := Edits{Model: "vendor/model-x", IncludeUsage: true, MaxTokensField: "max_completion_tokens"}
	for _, size := range []int{2 << 10, leastKept / 2, leastKept + 700, 100 << 10, 1 << 20} {
		body := sample(size)
		e, err := Parse(body, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		dst := make([]byte, 0, e.EditRoom(body)+512)
		var parts Parts
		if allocs := testing.AllocsPerRun(10, func() { parts = e.Edit(dst, body, edits) }); allocs != 0 {
			t.Errorf("%d bytes: %v allocations with room for %d", size, allocs, cap(dst))
		}
		if kept := len(parts[1]); (kept > 0) != (size > leastKept) || kept > 0 && &parts[1][0] != &body[bytes.Index(body, parts[1])] || size > leastKept && cap(dst) > 2048 {
			t.Errorf("%d bytes: %d stay where they are, %d are copied", size, kept, cap(dst))
		}
		if !bytes.Equal(parts.Whole(), e.Splice(nil, body, edits)) {
			t.Errorf("%d bytes: the parts are another request", size)
		}
	}
}

// sample is a request of about n bytes with a tool, several messages and the routing fields last.
func sample(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"messages":[{"role":"system","content":"You are a careful assistant."}`)
	for i := 0; b.Len() < n-700; i++ {
		role := [...]string{"user", "assistant"}[i%2]
		fmt.Fprintf(&b, `,{"role":"%s","content":"Message %d: the quick brown fox \"jumps\" over the lazy dog.\nIt does so for the %dth time, and nobody has asked it to stop, although it would be fair to ask what the dog makes of it."}`, role, i, i)
	}
	b.WriteString(`],"tools":[{"type":"function","function":{"name":"get_weather","description":"Current weather in a place","parameters":{"type":"object","properties":{"city":{"type":"string","description":"Name of the city"},"unit":{"type":"string","enum":["c","f"]}},"required":["city"]}}}],` +
		`"temperature":0.7,"top_p":1,"max_tokens":256,"user":"user-1234","metadata":{"trace":"abc"},"stream":true,"power_level":"balanced","model":"auto"}`)
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{2 << 10, 100 << 10} {
		body := sample(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			var e Envelope
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := e.Parse(FormChat, body, DefaultLimits()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEdit(b *testing.B) {
	for _, size := range []int{2 << 10, 100 << 10} {
		body := sample(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			e, err := Parse(body, DefaultLimits())
			if err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, 2*len(body))
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				e.Edit(dst, body, Edits{Model: "vendor/model-x", IncludeUsage: true})
			}
		})
	}
}

// BenchmarkParseJSONText is the yardstick: one strict pass over the same bytes with jsontext, reading nothing from it.
func BenchmarkParseJSONText(b *testing.B) {
	for _, size := range []int{2 << 10, 100 << 10} {
		body := sample(size)
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			r := bytes.NewReader(body)
			d := jsontext.NewDecoder(r)
			for b.Loop() {
				r.Reset(body)
				d.Reset(r)
				if _, err := d.ReadValue(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
