package scrub

import (
	"bytes"
	"strings"
	"testing"
)

func TestBody(t *testing.T) {
	r, err := New([]string{"messages.*.content", "metadata", "choices.0.delta.content"}, []string{`ACME-[0-9]{4}`})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		`{"model":"m","messages":[{"role":"user","content":"hello"},{"role":"user","content":[{"type":"text"}]}], "metadata" : {"a":[1]} ,"n":1}`: `{"model":"m","messages":[{"role":"user","content":"[redacted]"},{"role":"user","content":"[redacted]"}], "metadata" : "[redacted]" ,"n":1}`,
		`{"messages":"content","note":"of ACME-1234"}`:                  `{"messages":"content","note":"of [redacted]"}`,
		`{"model":"m","messages":[{"role":"user","content":"cut off he`: `{"model":"m","messages":[{"role":"user","content":[redacted]`,
		`{"model":"m","user":"cut`:                                      `{"model":"m","user"[redacted]`,
		`{"a":1} and more`:                                              `{"a":1}[redacted]`,
		"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n: ping\n\ndata: [DONE]\n\n": "data: {\"choices\":[{\"delta\":{\"content\":\"[redacted]\"}}]}\n\n: ping\n\ndata: [DONE]\n\n",
		"event: message\r\ndata:{\"metadata\":1}\r\n":                                         "event: message\r\ndata: {\"metadata\":\"[redacted]\"}\r\n",
		"plain text": "[redacted]",
		"":           "",
	} {
		if got := string(r.Body([]byte(in))); got != want {
			t.Errorf("%s\nbecame %s\nnot    %s", in, got, want)
		}
	}
	if len(r.Body(nil)) != 0 {
		t.Error("nothing became something")
	}
}

func TestSecrets(t *testing.T) {
	r, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		"sk-proj-abcdefghijklmnop1234", "sk-ant-api03-abcdefghijklmnop", "sk-pointsman-0123456789abcdef", "pm-0123456789abcdef0123", "gsk_0123456789abcdefghij", "hf_abcdefghijklmnopqrst",
		"AKIAIOSFODNN7EXAMPLE", "AIzaSyA0123456789abcdefghijklmnopqrstu", "ghp_0123456789abcdefghij0123", "xoxb-0123456789-abcdef", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc", "Bearer abcdefghijklmnopqrstuvwxyz", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----\nMIIE and cut off",
	} {
		if got := string(r.Body([]byte(`{"text":"it is ` + secret + `"}`))); strings.Contains(got, secret[8:]) || !strings.Contains(got, mark) {
			t.Errorf("%s became %s", secret, got)
		}
	}
	for _, harmless := range []string{"ask-me-anything-about-it-today", "desk-and-chair", "the bearer of news", "sk-short"} {
		if got := string(r.Body([]byte(harmless))); got != harmless {
			t.Errorf("%q became %q", harmless, got)
		}
	}
	for name, bad := range map[string][2][]string{"path": {{"a..b"}, nil}, "expression": {nil, {"("}}, "nothing": {nil, {""}}} {
		if _, err := New(bad[0], bad[1]); err == nil {
			t.Errorf("a wrong %s was taken", name)
		}
	}
}

// In JSON a letter may stand right before a secret: the end of an escape.
func TestSecretsAfterEscapes(t *testing.T) {
	r, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		"sk-proj-abcdefghijklmnop1234", "gsk_0123456789abcdefghij", "AKIAIOSFODNN7EXAMPLE", "AIzaSyA0123456789abcdefghijklmnopqrstu", "ghp_0123456789abcdefghij0123",
		"xoxb-0123456789-abcdef", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc", "bearer abcdefghijklmnopqrstuvwxyz",
		`Bearer abcdefgh\/ijklm\u002Bnopqrs\/tuvwxyz==`,
	} {
		for _, before := range []string{`\n`, `\t`, `\r`, `\b`, `\f`, `\u000a`, `\u0009`, `\u00e9`, `\\n`, `\"`, `\/`} {
			if got := string(r.Body([]byte(`{"text":"KEY=` + before + secret + `"}`))); got != `{"text":"KEY=`+before+mark+`"}` {
				t.Errorf("%s after %s became %s", secret, before, got)
			}
		}
		if got := string(r.Body([]byte(`{"text":"x` + secret + `"}`))); strings.Contains(got, mark) {
			t.Errorf("a word that ends in %s became %s", secret, got)
		}
	}
}

// A model says a secret in several events of a stream.
func TestSecretsAcrossEvents(t *testing.T) {
	r, err := New(nil, []string{`ACME-([0-9]{4})`})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, in, want string }{
		{
			"chat completions",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"it is\\nsk-proj-abc\"}}]}\n\n: ping\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"defghijkl\"}}]}\n\n" +
				"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"mnopq, and\"}}]}\n\ndata: [DONE]\n\n",
			"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"it is\\n[redacted]\"}}]}\n\n: ping\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\n" +
				"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\", and\"}}]}\n\ndata: [DONE]\n\n",
		},
		{
			"messages",
			"event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"ACME\"}}\r\n\r\nevent: content_block_delta\r\ndata:{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"-1234\"}}\r\n",
			"event: content_block_delta\r\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"[redacted]\"}}\r\n\r\nevent: content_block_delta\r\ndata:{\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"\"}}\r\n",
		},
		{
			"responses, and the whole at the end",
			"data: {\"delta\":\"AKIAIOSF\"}\n\ndata: {\"delta\":\"ODNN7EXAMPLE\"}\n\ndata: {\"text\":\"AKIAIOSFODNN7EXAMPLE\"}\n\n",
			"data: {\"delta\":\"[redacted]\"}\n\ndata: {\"delta\":\"\"}\n\ndata: {\"text\":\"[redacted]\"}\n\n",
		},
		{"an event that is cut", "data: {\"delta\":\"ACME-\"}\n\ndata: {\"delta\":\"12", "data: {\"delta\":\"ACME-\"}\n\ndata: {\"delta\":\"12"},
		{"nothing", "data: {\"delta\":\"ACME\"}\n\ndata: {\"other\":\"-1234\"}\n\n", "data: {\"delta\":\"ACME\"}\n\ndata: {\"other\":\"-1234\"}\n\n"},
	} {
		if got := string(r.Body([]byte(c.in))); got != c.want {
			t.Errorf("%s:\n%s\nbecame\n%s\nnot\n%s", c.name, c.in, got, c.want)
		}
	}
}

// FuzzBody: what is named never comes through, and nothing else ends the program.
func FuzzBody(f *testing.F) {
	r, err := New([]string{"secret", "list.*"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{`{"secret":"canary"}`, `{"list":["canary",{"a":"canary"}]}`, `{"secret":"canary`, "data: {\"secret\":\"canary\"}\n", "data: {\"a\":\"sk-0123456789\"}\ndata: {\"a\":\"0123456789\"}\n", `[{"secret":"x"}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		out := r.Body(body)
		if bytes.HasPrefix(body, []byte(`{"secret":"canary`)) && bytes.Contains(out, []byte("canary")) && bytes.Count(body, []byte("canary")) == 1 {
			t.Errorf("%s became %s", body, out)
		}
	})
}
