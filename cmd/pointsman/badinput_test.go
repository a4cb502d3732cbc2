package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/envelope/badinput"
)

// TestBadInput sends the whole corpus over HTTP: on both path families, buffered and streamed. What is wrong whatever a request is
// about goes to every endpoint.
func TestBadInput(t *testing.T) {
	t.Parallel()
	cases, err := badinput.Load("../../engine/testdata/badinput")
	if err != nil {
		t.Fatal(err)
	}
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "[catalog]", "max_body_bytes = 1048576\n[catalog]", 1), nil)
	revoked := revokedKey(t, g)
	for _, family := range []string{"/v1", "/api/v1/llm"} {
		for i := range cases {
			c := &cases[i]
			paths := []string{c.Path}
			if everywhere(c) {
				paths = []string{"/chat/completions", "/completions", "/messages", "/messages/count_tokens", "/responses"}
			}
			for _, path := range paths {
				at := family + path
				t.Run(at+"/"+c.Group+"/"+c.Name, func(t *testing.T) { sendBad(t, g, c, at, c.Body, revoked) })
				if body, ok := c.Streaming(); ok && path != "/messages/count_tokens" {
					t.Run(at+"/"+c.Group+"/"+c.Name+"/stream", func(t *testing.T) { sendBad(t, g, c, at, body, revoked) })
				}
			}
		}
	}
	var page struct{ Data []map[string]any }
	if err := g.api.call("GET", "/api/v1/llm/usage?limit=1000", nil, &page); err != nil {
		t.Fatal(err)
	}
	if up[0].Count() != int64(len(page.Data)) {
		t.Errorf("%d requests reached the provider, %d are recorded", up[0].Count(), len(page.Data))
	}
}

// everywhere tells that a case has nothing to do with what its request is about.
func everywhere(c *badinput.Case) bool {
	switch c.Group {
	case "auth", "size":
		return c.Status != 200
	case "type":
		return c.Method == "POST" && c.Status != 200
	}
	return c.Path == "/chat/completions" && (c.Code == "invalid_json" || c.Code == "duplicate_key")
}

func revokedKey(t *testing.T, g *testGateway) string {
	t.Helper()
	var key keyEntry
	if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "default"}, &key); err != nil {
		t.Fatal(err)
	}
	if err := g.admin.call("DELETE", "/api/v1/admin/keys/"+key.ID, nil, nil); err != nil {
		t.Fatal(err)
	}
	return key.Key
}

func sendBad(t *testing.T, g *testGateway, c *badinput.Case, path string, body []byte, revoked string) {
	t.Helper()
	fill := strings.NewReplacer("{{KEY}}", g.api.key, "{{KEY:UPPER}}", strings.ToUpper(g.api.key), "{{REVOKED}}", revoked).Replace
	url := g.api.base + path
	if c.Query != "" {
		url += "?" + fill(c.Query)
	}
	req, err := http.NewRequest(c.Method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range c.Headers {
		req.Header.Add(h[0], fill(h[1]))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var failed struct {
		Error struct{ Type, Code, Param, Message string }
	}
	if err := json.Unmarshal(text, &failed); err != nil && resp.StatusCode >= 400 {
		t.Fatalf("the error is not JSON: %.200s", text)
	}
	if strings.Contains(path, "/messages") && resp.StatusCode >= 400 {
		if !strings.HasPrefix(string(text), `{"type":"error","error":{`) || failed.Error.Type == "" {
			t.Errorf("not Anthropic's shape: %.300s", text)
		}
		failed.Error.Type = c.Type // which follows from the status there
	}
	if wrong := c.Matches(resp.StatusCode, failed.Error.Type, failed.Error.Code, failed.Error.Param); wrong != "" {
		t.Errorf("%s: %.300s", wrong, text)
	}
	if resp.Header.Get("X-Request-Id") == "" {
		t.Error("no x-request-id")
	}
	for _, h := range c.WantHeaders {
		if got := resp.Header.Get(h[0]); got != h[1] {
			t.Errorf("%s is %q, want %q", h[0], got, h[1])
		}
	}
}
