package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

// encoded sends a body with a content encoding.
func (c *client) encoded(t *testing.T, path, encoding string, body []byte) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest("POST", c.base+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", encoding)
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// Compressed bodies are as good as plain ones: what the provider gets is the same.
func TestCompressedBodies(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, "max_body_bytes = 4194304\n"+toml, nil)
	body, err := json.Marshal(ask("m"))
	if err != nil {
		t.Fatal(err)
	}
	g.api.post(t, chatPath, body)
	plain := up[0].Requests()[0].Body
	for encoding, compressed := range map[string][]byte{"gzip": fasthttp.AppendGzipBytes(nil, body), "br": fasthttp.AppendBrotliBytes(nil, body)} {
		for _, stream := range []bool{false, true} {
			before := up[0].Count()
			if stream {
				streamed, _ := json.Marshal(ask("m", "stream", true))
				if compressed = fasthttp.AppendGzipBytes(nil, streamed); encoding == "br" {
					compressed = fasthttp.AppendBrotliBytes(nil, streamed)
				}
			}
			resp, text := g.api.encoded(t, chatPath, encoding, compressed)
			if resp.StatusCode != 200 || up[0].Count() != before+1 {
				t.Fatalf("%s: %d: %s", encoding, resp.StatusCode, text)
			}
			if got := up[0].Requests()[before].Body; !stream && !bytes.Equal(got, plain) {
				t.Errorf("%s: the provider got %s, want %s", encoding, got, plain)
			}
		}
	}
	counted, text := g.api.encoded(t, "/v1/messages/count_tokens", "gzip", fasthttp.AppendGzipBytes(nil, []byte(`{"model":"m","messages":[{"role":"user","content":"Hello"}]}`)))
	if counted.StatusCode != 200 {
		t.Errorf("%d: %s", counted.StatusCode, text)
	}

	bomb := fasthttp.AppendGzipBytesLevel(nil, make([]byte, 64<<20), fasthttp.CompressBestCompression)
	resp, text := g.api.encoded(t, "/v1/messages", "gzip", bomb)
	if resp.StatusCode != 413 || !strings.Contains(text, `"type":"request_too_large"`) || !strings.Contains(text, resp.Header.Get("X-Request-Id")) {
		t.Errorf("bomb: %d: %s", resp.StatusCode, text)
	}
	stranger := newClient(g.api.base, "pm-stranger")
	if resp, text := stranger.encoded(t, chatPath, "gzip", bomb); resp.StatusCode != 401 {
		t.Errorf("a stranger's bomb: %d: %s", resp.StatusCode, text)
	}
}

// Pages from the origins named may use the API, and read what clients need of the answer.
func TestCORSOrigins(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, "cors_origins = [\"https://app.example\"]\n"+toml, nil)
	request := func(method, path, origin string) *http.Response {
		t.Helper()
		var body io.Reader
		if method == "POST" {
			text, _ := json.Marshal(ask("m"))
			body = bytes.NewReader(text)
		}
		req, err := http.NewRequest(method, g.api.base+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+g.api.key)
		req.Header.Set("Origin", origin)
		if method == "OPTIONS" {
			req.Header.Set("Access-Control-Request-Method", "POST")
			req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
		}
		resp, err := g.api.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	resp := request("OPTIONS", chatPath, "https://app.example")
	if h := resp.Header; resp.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "https://app.example" || h.Get("Access-Control-Allow-Methods") != "POST" || h.Get("Access-Control-Allow-Headers") != "authorization, content-type" {
		t.Errorf("preflight: %d %v", resp.StatusCode, h)
	}
	resp = request("POST", chatPath, "https://app.example")
	if h := resp.Header; resp.StatusCode != 200 || h.Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(h.Get("Access-Control-Expose-Headers"), "X-Pointsman-Credits") || h.Get("Vary") != "Origin" {
		t.Errorf("request: %d %v", resp.StatusCode, h)
	}
	if resp := request("OPTIONS", chatPath, "https://evil.example"); resp.StatusCode != 405 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := g.api.post(t, chatPath, ask("m")); resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("no page: %v", resp.Header)
	}
}
