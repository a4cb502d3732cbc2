package dialect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// thereAndBack translates a request of the Messages API into chat completions and back.
func thereAndBack(t *testing.T, body string) (middle, back []byte) {
	t.Helper()
	middle, _, err := RequestMessagesToChat(nil, []byte(body), RequestOptions{})
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	back, _, err = RequestChatToMessages(nil, middle, RequestOptions{})
	if err != nil {
		t.Fatalf("%v: %s became %s", err, body, middle)
	}
	return middle, back
}

// at follows a path of names and indexes.
func at(v []byte, path string) []byte {
	for name := range strings.SplitSeq(path, ".") {
		i, err := strconv.Atoi(name)
		if err != nil {
			v = topMember(v, name)
			continue
		}
		list := slices.Collect(elements(v))
		if i >= len(list) {
			return nil
		}
		v = list[i]
	}
	return v
}

// TestP13SignedThinkingIsKept: signed blocks are the same bytes after both translations, as their provider refuses any other.
func TestP13SignedThinkingIsKept(t *testing.T) {
	for _, blocks := range []string{
		`{"type":"thinking","thinking":"hm","signature":"c2ln"}`,
		`{ "signature" : "c2ln\/==", "thinking":"h\u00e9\n\ud83c\udf0d \"q\" 世", "type" : "thinking" }`,
		`{"type":"thinking","thinking":"","signature":"b25seQ=="}`,
		`{"type":"redacted_thinking","data":"ZGF0\/YQ=="}`,
		`{"type":"thinking","thinking":"a","signature":"MQ=="},{"type":"redacted_thinking", "data":"Mg=="},{"type":"thinking","thinking":"b","signature":"Mw=="}`,
		`{"type":"thinking","thinking":"` + strings.Repeat("long ", 50_000) + `","signature":"bG9uZw=="}`,
	} {
		for _, rest := range []string{`{"type":"text","text":"so"}`, `{"type":"tool_use","id":"a","name":"f","input":{}}`} {
			body := `{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[` + blocks + `,` + rest +
				`]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`
			middle, back := thereAndBack(t, body)
			if !bytes.Contains(middle, []byte(`"thinking_blocks":[`+blocks+`]`)) {
				t.Errorf("%s became %s", blocks, middle)
			}
			if got := at(back, "messages.1.content"); string(got) != `[`+blocks+`,`+rest+`]` {
				t.Errorf("%s came back as %s", blocks, got)
			}
		}
		// Likewise in answers.
		answer := `{"type":"message","content":[` + blocks + `,{"type":"text","text":"so"}],"stop_reason":"end_turn"}`
		chat, _, err := AnswerMessagesToChat(nil, []byte(answer), asM())
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := AnswerChatToMessages(nil, chat, asMessage())
		if got := string(at(out, "content")); err != nil || got != `[`+blocks+`,{"type":"text","text":"so"}]` {
			t.Errorf("%s came back as %s, %v", blocks, got, err)
		}
	}
}

// TestP28CacheControlIsKept: a breakpoint is the same bytes at the same place after both translations.
func TestP28CacheControlIsKept(t *testing.T) {
	const image = `"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}`
	user := func(block string) string {
		return `"messages":[{"role":"user","content":[{"type":"text","text":"a"},{` + block + `%s}]}]`
	}
	const called = `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"text","text":"t"},{"type":"tool_use","id":"a","name":"f","input":{}%s}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"r"%s}]%s}]}]`
	const plain = `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct{ name, body, path string }{
		{"the top", plain + `%s`, "cache_control"},
		{"system", `"system":[{"type":"text","text":"a"%s},{"type":"text","text":"b"}],` + plain, "system.0.cache_control"},
		{"the last of system", `"system":[{"type":"text","text":"a"}%.0s,{"type":"text","text":"b"%[1]s}],` + plain, "system.1.cache_control"},
		{"text", user(`"type":"text","text":"b"`), "messages.0.content.1.cache_control"},
		{"the only text", `"messages":[{"role":"user","content":[{"type":"text","text":"a"%s}]}]`, "messages.0.content.0.cache_control"},
		{"image", user(image), "messages.0.content.1.cache_control"},
		{"document", user(`"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"}`), "messages.0.content.1.cache_control"},
		{"text document", user(`"type":"document","source":{"type":"text","media_type":"text/plain","data":"A"}`), "messages.0.content.1.cache_control"},
		{"document of parts", user(`"type":"document","source":{"type":"content","content":"A"}`), "messages.0.content.1.cache_control"},
		{"search result", user(`"type":"search_result","source":"s","title":"t","content":[]`), "messages.0.content.1.cache_control"},
		{"assistant", `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"text","text":"t"%s}]}]`, "messages.1.content.0.cache_control"},
		{"call", fmt.Sprintf(called, "%s", "", ""), "messages.1.content.1.cache_control"},
		{"text of a result", fmt.Sprintf(called, "", "%s", ""), "messages.2.content.0.content.0.cache_control"},
		{"result", fmt.Sprintf(called, "", "", "%s"), "messages.2.content.0.cache_control"},
		{"tool", plain + `,"tools":[{"name":"f","input_schema":{"type":"object"}},{"name":"g","input_schema":{"type":"object"}%s}]`, "tools.1.cache_control"},
	} {
		for _, breakpoint := range []string{`{"type":"ephemeral"}`, `{"type":"ephemeral","ttl":"1h"}`, `{ "ttl" : "5m", "type" : "ephemeral" }`} {
			body := `{"model":"m","max_tokens":5,` + fmt.Sprintf(c.body, `,"cache_control":`+breakpoint) + `}`
			middle, back := thereAndBack(t, body)
			if got := string(at(back, c.path)); got != breakpoint {
				t.Errorf("%s: %s came back as %s by way of %s", c.name, breakpoint, got, middle)
			}
			if bytes.Count(middle, []byte(breakpoint)) != 1 || bytes.Count(back, []byte(breakpoint)) != 1 {
				t.Errorf("%s: %s became %s and %s", c.name, breakpoint, middle, back)
			}
		}
	}
	// What only looks like a breakpoint belongs to the tool.
	const input, schema = `{"cache_control":{"type": "ephemeral"},"n":1.0}`, `{"type":"object","properties":{"cache_control":{"type":"string","ttl":"1h"}}}`
	body := `{"model":"m","max_tokens":5,"tools":[{"name":"f","input_schema":` + schema + `}],"messages":[{"role":"user","content":"x"},` +
		`{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":` + input + `}]}]}`
	_, back := thereAndBack(t, body)
	if got := string(at(back, "messages.1.content.0")); got != `{"type":"tool_use","id":"a","name":"f","input":`+input+`}` {
		t.Errorf("the call came back as %s", got)
	}
	if got := string(at(back, "tools.0")); got != `{"name":"f","input_schema":`+schema+`}` {
		t.Errorf("the tool came back as %s", got)
	}
}

// transcripts makes random conversations.
type transcripts struct {
	*rand.Rand
	ids int
}

func (g *transcripts) chance(n int) bool { return g.IntN(n) == 0 }

// text is a random string as JSON, written in one of the ways that senders have.
func (g *transcripts) text() string {
	pieces := []string{"word", " ", "\n", "\"", "\\", "/", "<b>", "&", "é", "世界", "🌍", "\u2028", "\t", "{}", "[1]", "'", "\x00", "cache_control", "Error: "}
	var s strings.Builder
	s.WriteString("t")
	for range g.IntN(6) {
		s.WriteString(pieces[g.IntN(len(pieces))])
	}
	if g.chance(2) {
		return quoted(s.String())
	}
	out, _ := json.Marshal(s.String())
	return strings.ReplaceAll(string(out), "🌍", `\ud83c\udf0d`)
}

// value is a random JSON value, with white space here and there.
func (g *transcripts) value(depth int) string {
	space := []string{"", "", " ", "\n  "}[g.IntN(4)]
	kinds := 7
	if depth == 0 {
		kinds = 5
	}
	switch g.IntN(kinds) {
	case 0:
		return g.text()
	case 1:
		return []string{"0", "-1", "1.50", "1e3", "12345678901234567890", "1E-2"}[g.IntN(6)]
	case 2:
		return "true"
	case 3:
		return "null"
	case 4:
		return `""`
	case 5:
		var list []string
		for range g.IntN(4) {
			list = append(list, g.value(depth-1))
		}
		return "[" + space + strings.Join(list, ","+space) + "]"
	}
	return g.object(depth - 1)
}

func (g *transcripts) object(depth int) string {
	var list []string
	for i := range g.IntN(4) {
		list = append(list, quoted(fmt.Sprint("k", i))+":"+g.value(depth))
	}
	return "{" + strings.Join(list, ", ") + "}"
}

func (g *transcripts) id() string {
	g.ids++
	return quoted(fmt.Sprint("call_", g.ids))
}

// cache is a breakpoint now and then.
func (g *transcripts) cache() string {
	return []string{"", "", "", "", `,"cache_control":{"type":"ephemeral"}`, `,"cache_control":{"type":"ephemeral","ttl":"1h"}`}[g.IntN(6)]
}

func (g *transcripts) texts(least int) (list []string) {
	for range least + g.IntN(3) {
		list = append(list, `{"type":"text","text":`+g.text()+g.cache()+`}`)
	}
	return list
}

// messages is a request of the Messages API.
func (g *transcripts) messages() string {
	var turns, open []string
	for range 1 + g.IntN(4) {
		var user []string
		for _, id := range open {
			content := []string{"", `,"content":` + g.text(), `,"content":[` + strings.Join(g.texts(1), ",") + `]`}[g.IntN(3)]
			user = append(user, `{"type":"tool_result","tool_use_id":`+id+content+g.cache()+`}`)
		}
		if user = append(user, g.texts(1)...); g.chance(4) {
			user = append(user, `{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA/+"}`+g.cache()+`}`)
		}
		content := `[` + strings.Join(user, ",") + `]`
		if len(open) == 0 && g.chance(2) {
			content = g.text()
		}
		turns = append(turns, `{"role":"user","content":`+content+`}`)
		var said []string
		for g.chance(3) {
			said = append(said, `{"type":"thinking", "thinking":`+g.text()+`,"signature":`+g.text()+`}`)
		}
		if g.chance(5) {
			said = append(said, `{"type":"redacted_thinking","data":`+g.text()+`}`)
		}
		said = append(said, g.texts(0)...)
		open = nil
		for g.chance(2) {
			id := g.id()
			open = append(open, id)
			said = append(said, `{"type":"tool_use","id":`+id+`,"name":`+quoted(fmt.Sprint("f", g.IntN(3)))+`,"input":`+g.object(3)+g.cache()+`}`)
		}
		if len(said) == 0 {
			said = g.texts(1)
		}
		turns = append(turns, `{"role":"assistant","content":[`+strings.Join(said, ",")+`]}`)
	}
	system := []string{``, `"system":` + g.text() + `,`, `"system":[` + strings.Join(g.texts(1), ",") + `],`}[g.IntN(3)]
	return `{"model":"m","max_tokens":5,` + system + `"messages":[` + strings.Join(turns, ",") + `]}`
}

// chat is a chat completion request.
func (g *transcripts) chat() string {
	content := func() string {
		if g.chance(2) {
			return g.text()
		}
		return `[` + strings.Join(g.texts(1), ",") + `]`
	}
	var list []string
	if g.chance(2) {
		list = append(list, `{"role":"system","content":`+content()+`}`)
	}
	for range 1 + g.IntN(4) {
		list = append(list, `{"role":"user","content":`+content()+`}`)
		m, open := `{"role":"assistant","content":`+content(), []string(nil)
		if g.chance(3) {
			m += `,"thinking_blocks":[{"type":"thinking","thinking":` + g.text() + `,"signature":` + g.text() + `}]`
		}
		var calls []string
		for g.chance(2) {
			id := g.id()
			open = append(open, id)
			calls = append(calls, `{"id":`+id+`,"type":"function","function":{"name":"f","arguments":`+quoted(g.object(3))+`}}`)
		}
		if calls != nil {
			m += `,"tool_calls":[` + strings.Join(calls, ",") + `]`
		}
		list = append(list, m+`}`)
		for _, id := range open {
			list = append(list, `{"role":"tool","tool_call_id":`+id+`,"content":`+content()+`}`)
		}
	}
	return `{"model":"m","messages":[` + strings.Join(list, ",") + `]}`
}

// said is what of a message must survive: its role, and its blocks or parts with texts decoded and everything else as it is.
type said struct {
	Role  string
	Parts []string
}

// asSaid reads the messages of either dialect.
func asSaid(t *testing.T, body []byte) (list []said) {
	t.Helper()
	add := func(role string, parts []string) {
		if n := len(list); n > 0 && list[n-1].Role == role {
			list[n-1].Parts = append(list[n-1].Parts, parts...)
		} else if len(parts) > 0 {
			list = append(list, said{role, parts})
		}
	}
	var parts func(content []byte) []string
	parts = func(content []byte) (out []string) {
		if isString(content) && len(content) > 2 {
			return []string{"text " + string(unquoted(content))}
		}
		for raw := range elements(content) {
			m := members(raw, "type", "text", "cache_control", "content")
			switch kind := string(inner(m[0])); kind {
			case "text":
				out = append(out, "text "+string(unquoted(m[1]))+string(m[2]))
			case "tool_result":
				out = append(out, "result "+string(topMember(raw, "tool_use_id"))+string(m[2])+fmt.Sprintf("%q", parts(m[3])))
			default:
				out = append(out, string(raw))
			}
		}
		return out
	}
	add("system", parts(topMember(body, "system")))
	for raw := range elements(topMember(body, "messages")) {
		m := members(raw, "role", "content", "thinking_blocks", "tool_calls")
		var of []string
		for block := range elements(m[2]) {
			of = append(of, string(block))
		}
		of = append(of, parts(m[1])...)
		for call := range elements(m[3]) {
			f := members(call, "id", "function")
			f2 := members(f[1], "name", "arguments")
			of = append(of, fmt.Sprintf("call %s %s %s", f[0], f2[0], unquoted(f2[1])))
		}
		role := string(inner(m[0]))
		if role == "tool" {
			role += string(topMember(raw, "tool_call_id"))
			if len(of) == 0 {
				of = []string{""}
			}
		}
		add(role, of)
	}
	return list
}

const manyTranscripts = 10_000

func TestTranscriptsOfMessages(t *testing.T) {
	g := &transcripts{Rand: rand.New(rand.NewPCG(1, 2))}
	for i := range manyTranscripts {
		body := g.messages()
		middle, back := thereAndBack(t, body)
		if _, dropped, _ := RequestMessagesToChat(nil, []byte(body), RequestOptions{}); dropped != nil {
			t.Fatalf("transcript %d: %s dropped %v", i, body, dropped)
		}
		if got, want := asSaid(t, back), asSaid(t, []byte(body)); !reflect.DeepEqual(got, want) {
			t.Fatalf("transcript %d:\n%s\n%s\n%s\n got %q\nwant %q", i, body, middle, back, got, want)
		}
	}
}

func TestTranscriptsOfChat(t *testing.T) {
	g := &transcripts{Rand: rand.New(rand.NewPCG(3, 4))}
	for i := range manyTranscripts {
		body := g.chat()
		middle, _, err := RequestChatToMessages(nil, []byte(body), RequestOptions{})
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		back, _, err := RequestMessagesToChat(nil, middle, RequestOptions{})
		if err != nil {
			t.Fatalf("%v: %s", err, middle)
		}
		if got, want := asSaid(t, back), asSaid(t, []byte(body)); !reflect.DeepEqual(got, want) {
			t.Fatalf("transcript %d:\n%s\n%s\n%s\n got %q\nwant %q", i, body, middle, back, got, want)
		}
	}
}

// TestAnswersThereAndBack: an answer of the Messages API is the same after both translations, buffered and streamed.
func TestAnswersThereAndBack(t *testing.T) {
	g := &transcripts{Rand: rand.New(rand.NewPCG(5, 6))}
	for range manyTranscripts / 10 {
		var blocks []block
		for g.chance(3) {
			blocks = append(blocks, block{kind: "thinking", text: string(unquoted([]byte(g.text()))), signature: "c2ln" + fmt.Sprint(g.IntN(99))})
		}
		if blocks == nil || g.chance(2) {
			blocks = append(blocks, block{kind: "text", text: string(unquoted([]byte(g.text())))})
		}
		stop := "end_turn"
		for g.chance(2) {
			stop = "tool_use"
			blocks = append(blocks, block{kind: "tool_use", id: string(unquoted([]byte(g.id()))), name: "f", input: g.object(3)})
		}
		in := bufferedScript(blocks, stop)
		chat, _, err := AnswerMessagesToChat(nil, in, asM())
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := AnswerChatToMessages(nil, chat, asMessage())
		if err != nil {
			t.Fatal(err)
		}
		want := readMessage(t, in)
		got := readMessage(t, out)
		if !reflect.DeepEqual(got.Content, want.Content) || got.Stop != stop {
			t.Fatalf("%s\nbecame %s\nand came back as %s", in, chat, out)
		}
		src := bytes.NewReader(streamedScript(blocks, stop, 1+g.IntN(9)))
		stream := new(bytes.Buffer)
		if _, err := stream.ReadFrom(toMessages(fromMessages(src))); err != nil {
			t.Fatal(err)
		}
		m, complete := readMessageStream(t, stream.Bytes())
		if !complete || !reflect.DeepEqual(m.Content, want.Content) || m.Stop != stop || string(m.Usage) != string(got.Usage) {
			t.Fatalf("%s\nbecame %s", in, stream)
		}
	}
}
