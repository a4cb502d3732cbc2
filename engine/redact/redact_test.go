package redact

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"nothing here":                      "nothing here",
		"key sk-0123456789abcdef, ok":       "key sk-****************, ok",
		"sk-0123456789abcde":                "sk-0123456789abcde",
		"Bearer sk-pointsman-…":             "Bearer sk-pointsman-…",
		"pm-…abcd":                          "pm-…abcd",
		"%20hf_ABCDEFGHIJKLMNOPqrst":        "%20hf_********************",
		`{"k":"AIzaSyA-1234567890_abcdef"}`: `{"k":"AIza*********************"}`,
		"AKIAIOSFODNN7EXAMPLE":              "AKIA****************",
		"ASIAAIOSFODNN7EXAMPLE":             "ASIA*****************",
		"AKIAIOSF":                          "AKIAIOSF",
		"authorization: bearer abc.def/ghi+jkl==mno x":      "authorization: bearer ******************** x",
		"gsk_0123456789abcdefBearer 0123456789abcdef":       "gsk_********************** ****************",
		"AKIA0000000000000000AIza0123456789abcdef.":         "AKIA************************************.",
		"sk-0123456789abcdef\nsk-0123456789abcdef":          "sk-****************\nsk-****************",
		"pm-0123456789abcdef xai-0123456789abcdef fw_short": "pm-**************** xai-**************** fw_short",
	} {
		if got := String(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

// What is written by a logger is blanked, and what the caller holds is left as it is.
func TestWriter(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(new(Redactor).Writer(&out), nil))
	log.Info("asked", "header", "Bearer 0123456789abcdef", slog.Group("g", "key", []string{"sk-0123456789abcdef"}))
	if s := out.String(); strings.Contains(s, "0123456789") || !strings.Contains(s, `"Bearer ****************"`) || strings.Count(s, "\n") != 1 {
		t.Error(s)
	}
	p := []byte("sk-0123456789abcdef")
	if n, err := new(Redactor).Writer(&out).Write(p); n != len(p) || err != nil || string(p) != "sk-0123456789abcdef" {
		t.Errorf("%d, %v, %s", n, err, p)
	}
}

func TestValues(t *testing.T) {
	r := New("", "short", `with"quote\`, "hook-value", "hook-value-longer")
	for text, want := range map[string]string{
		"":                                   "",
		"a short text":                       "a short text",
		"hook-value,hook-value.":             "**********,**********.",
		"hook-value-longer":                  "*****************",
		`{"x":"with\"quote\\"}`:              `{"x":"*************"}`,
		"sk-0123456789abcdef and hook-value": "sk-**************** and **********",
	} {
		in := []byte(text)
		if got := r.String(text); got != want || string(r.Bytes(in)) != want || string(in) != text {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

// No key survives, wherever it stands and whatever is around it.
func FuzzBytes(f *testing.F) {
	f.Add("", "", uint8(0), "0123456789abcdef")
	f.Add("gsk_0123456789abcdefBearer", " x", uint8(8), "0123456789abcdef")
	f.Add("AKIA0000000000000000", "", uint8(6), "0123456789abcdef")
	f.Add("\\nBearer ", "\"}", uint8(1), "ZZZZZZZZZZZZZZZZZZ")
	f.Add("sk-", "sk-", uint8(0), "sk-sk-sk-sk-sk-sk-")
	beginnings := []string{"sk-", "pm-", "gsk_", "hf_", "fw_", "tgp_", "AIza", "AKIA", "Bearer ", "bearer ", "xai-", "nvapi-", "ASIA"}
	f.Fuzz(func(t *testing.T, before, after string, which uint8, tail string) {
		if len(tail) < least || length([]byte(tail), false) != len(tail) {
			t.Skip()
		}
		text := before + beginnings[int(which)%len(beginnings)] + tail + after
		at := len(text) - len(after) - len(tail)
		out := Bytes([]byte(text))
		if len(out) != len(text) {
			t.Fatalf("%d bytes became %d", len(text), len(out))
		}
		if stars := strings.Repeat("*", len(tail)); string(out[at:at+len(tail)]) != stars {
			t.Errorf("%q became %q", text, out)
		}
		if again := Bytes(out); !bytes.Equal(again, out) {
			t.Errorf("%q became %q the second time", out, again)
		}
	})
}

// BenchmarkLine is an ordinary line of the log.
func BenchmarkLine(b *testing.B) {
	line := []byte(`{"time":"2026-11-26T04:16:36.123456789Z","level":"DEBUG","msg":"attempt failed","request":"01234567-89ab-7def-8123-456789abcdef","model":"gpt-oss-120b-groq","provider":"groq","class":"overloaded","status":503,"error":null}` + "\n")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		Bytes(line)
	}
}
