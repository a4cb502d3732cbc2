package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/pointsman/pointsman/engine/sse"
)

func asMessage() AnswerOptions { return AnswerOptions{Model: "public", ID: "msg_1", InputTokens: 50} }

func TestChatAnswerGolden(t *testing.T) {
	for dir, to := range map[string]Dialect{"chat_messages_answer": Messages, "chat_completions": Completions} {
		files, _ := filepath.Glob("testdata/" + dir + "/*.json")
		if len(files) == 0 {
			t.Fatal("no test data")
		}
		for _, file := range files {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			opt := asMessage()
			opt.Created = 1700000000
			out, usage, err := TranslateAnswer(Chat, to, []byte("x"), in, opt)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if want, _ := OpenAIUsage(in); usage != want {
				t.Errorf("%s: usage %+v, want %+v", file, usage, want)
			}
			var pretty bytes.Buffer
			if err := json.Indent(&pretty, out[1:], "", "  "); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			checkGolden(t, strings.TrimSuffix(file, ".json")+".answer.golden", append(pretty.Bytes(), '\n'))
			if info := to.InspectAnswer(out[1:]); info.Malformed || info.NoChoices || info.Error {
				t.Errorf("%s: it does not look like an answer", file)
			}
		}
	}
}

func TestChatStreamGolden(t *testing.T) {
	for dir, to := range map[string]Dialect{"chat_messages_stream": Messages, "chat_completions": Completions} {
		files, _ := filepath.Glob("testdata/" + dir + "/*.sse")
		if len(files) == 0 {
			t.Fatal("no test data")
		}
		for _, file := range files {
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			opt := asMessage()
			opt.Created = 1700000000
			out, err := io.ReadAll(TranslateStream(Chat, to, bytes.NewReader(in), opt))
			if err != nil {
				t.Fatal(err)
			}
			checkGolden(t, strings.TrimSuffix(file, ".sse")+".stream.golden", out)
			again, _ := io.ReadAll(iotest.OneByteReader(TranslateStream(Chat, to, iotest.OneByteReader(bytes.NewReader(in)), opt)))
			if !bytes.Equal(again, out) {
				t.Errorf("%s: byte by byte it is %s", file, again)
			}
		}
	}
}

func TestAnswerIsNotACompletion(t *testing.T) {
	for _, body := range []string{``, `x`, `[]`, `{}`, `{"choices":[]}`, `{"choices":"x"}`, `{"choices":[{"message":{}}]`, `{"error":{}}`} {
		for _, to := range []Dialect{Messages, Completions} {
			if out, _, err := TranslateAnswer(Chat, to, []byte("x"), []byte(body), asMessage()); !errors.Is(err, ErrMalformed) || string(out) != "x" {
				t.Errorf("%s: %s, %v", body, out, err)
			}
		}
	}
}

// TestP27StopReasons: every finish_reason has a stop_reason, and every stop_reason that has become a finish_reason comes back.
func TestP27StopReasons(t *testing.T) {
	for _, c := range []struct {
		finish, native string
		calls          bool
		want           string
	}{
		{"stop", "", false, "end_turn"},
		{"stop", "", true, "tool_use"},
		{"", "", false, "end_turn"},
		{"", "", true, "tool_use"},
		{"tool_calls", "", true, "tool_use"},
		{"tool_calls", "", false, "tool_use"},
		{"function_call", "", true, "tool_use"},
		{"length", "", false, "max_tokens"},
		{"length", "", true, "max_tokens"},
		{"content_filter", "", false, "refusal"},
		{"content_filter", "", true, "refusal"},
		{"something_new", "", false, "something_new"},
		{"something_new", "something_new", true, "something_new"},
		{"stop", "STOP", false, "end_turn"},
		{"stop", "completed", true, "tool_use"},
		{"length", "stop_sequence", false, "max_tokens"}, // it contradicts the finish_reason
	} {
		if got := stopReason([]byte(c.finish), []byte(c.native), c.calls); string(got) != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
	for _, stop := range []string{"end_turn", "max_tokens", "tool_use", "stop_sequence", "pause_turn", "refusal", "model_context_window_exceeded", "something_new"} {
		for _, calls := range []bool{false, true} {
			finish, exact := finishReason([]byte(stop), calls)
			native := []byte(stop)
			if exact {
				native = nil
			}
			want := stop
			if calls && (stop == "end_turn" || stop == "stop_sequence" || stop == "pause_turn") {
				want = "tool_use"
			}
			if got := stopReason(finish, native, calls); string(got) != want {
				t.Errorf("%s, calls %v: came back as %s, want %s", stop, calls, got, want)
			}
		}
	}
}

func TestStopSequence(t *testing.T) {
	for _, c := range []struct{ choice, request, want string }{
		{`"finish_reason":"stop","native_finish_reason":"stop_sequence","stop_reason":"\n#"`, ``, `"stop_reason":"stop_sequence","stop_sequence":"\n#"`},
		{`"finish_reason":"stop","stop_reason":"END"`, `{"stop_sequences":["x","\u0045ND"]}`, `"stop_reason":"stop_sequence","stop_sequence":"END"`},
		{`"finish_reason":"stop","stop_reason":"eos"`, `{"stop_sequences":["x"]}`, `"stop_reason":"end_turn","stop_sequence":null`},
		{`"finish_reason":"stop","stop_reason":128009`, `{"stop_sequences":["x"]}`, `"stop_reason":"end_turn","stop_sequence":null`},
		{`"finish_reason":"length","stop_reason":"x"`, `{"stop_sequences":["x"]}`, `"stop_reason":"max_tokens","stop_sequence":null`},
	} {
		opt := asMessage()
		opt.Request = []byte(c.request)
		out, _, err := AnswerChatToMessages(nil, []byte(`{"choices":[{"message":{"content":"x"},`+c.choice+`}]}`), opt)
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %s, %v", c.choice, out, err)
		}
		chunk := sse.AppendEvent(nil, "", []byte(`{"choices":[{"delta":{"content":"x"},`+c.choice+`}]}`))
		stream, err := io.ReadAll(TranslateStream(Chat, Messages, bytes.NewReader(chunk), opt))
		if err != nil || !strings.Contains(string(stream), c.want) {
			t.Errorf("%s: %s, %v", c.choice, stream, err)
		}
	}
}

// TestUsageOfTranslatedAnswers: no translation changes the counts, and so the price.
func TestUsageOfTranslatedAnswers(t *testing.T) {
	for _, u := range []Usage{
		{Input: 100, Output: 20},
		{Input: 100, Output: 20, CacheRead: 60},
		{Input: 100, Output: 20, CacheRead: 60, CacheWrite: 40},
		{Input: 100, CacheWrite: 40, CacheWrite1h: 30},
		{Output: 1},
		{Input: 1, Output: 30, Reasoning: 20},
		{Input: MaxTokens / 2, Output: MaxTokens / 2, CacheRead: MaxTokens / 2},
	} {
		u.Reported = true
		body := append(Messages.appendCounts([]byte(`{"usage":`), u), `}}`...)
		if got, ok := AnthropicUsage(body); !ok || got != u {
			t.Errorf("%+v became %+v by way of %s", u, got, body)
		}
		chat := append([]byte(`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":`), Chat.appendCounts(nil, u)...)
		chat = append(chat, `}}`...)
		want := u
		out, got, err := AnswerChatToMessages(nil, chat, asMessage())
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", chat, got, err)
		}
		if again, _ := AnthropicUsage(out); again != want || nanoUSD(again) != nanoUSD(want) {
			t.Errorf("%+v became %+v", want, again)
		}
		var m Meter
		s := TranslateStream(Chat, Messages, bytes.NewReader(sse.AppendEvent(nil, "", bytes.Replace(chat, []byte("message"), []byte("delta"), 1))), AnswerOptions{})
		for r := sse.NewReader(s, 0); ; {
			ev, err := r.Next()
			if err != nil {
				break
			}
			m.Add(Messages, ev.Data)
		}
		if s.Usage() != want || m.Usage() != want {
			t.Errorf("%+v streamed is %+v, told as %+v", want, s.Usage(), m.Usage())
		}
	}
}

func FuzzChatAnswer(f *testing.F) {
	for _, pattern := range []string{"testdata/chat_messages_answer/*.json", "testdata/chat_completions/*.json"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			in, _ := os.ReadFile(file)
			f.Add(in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, to := range []Dialect{Messages, Completions} {
			opt := asMessage()
			opt.Request = in
			out, _, err := TranslateAnswer(Chat, to, nil, in, opt)
			if err == nil && !json.Valid(out) {
				t.Fatalf("%s became %s", in, out)
			}
		}
	})
}
