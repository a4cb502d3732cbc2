package upstream

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestSend: requests of all sizes arrive as they are, whatever fits into the buffer.
func TestSend(t *testing.T) {
	url := serve(t, func(c net.Conn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			sum := fmt.Sprintf("%d %d %x", len(req.Header.Get("X-Long")), len(body), sha256.Sum256(body))
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(sum), sum)
		}
	})
	g := target(t, url)
	random := rand.NewChaCha8([32]byte{})
	for _, header := range []int{0, 2000, 3900, 4096, 9000} {
		for _, size := range []int{1, 100, 3800, 3900, 4000, 4096, 4097, 5000, 8000, 8192, 8193, 12_000, 100_000, 3 << 20} {
			body := make([]byte, size)
			random.Read(body)
			x := g.Begin("/chat/completions")
			x.Request.Set("X-Long", strings.Repeat("h", header))
			x.Request.SetBody([3][]byte{body[:size/7], body[size/7 : size*6/7], body[size*6/7:]})
			err := x.Do(false)
			if want := fmt.Sprintf("%d %d %x", header, size, sha256.Sum256(body)); err != nil || string(x.Response.Body()) != want {
				t.Errorf("header of %d, body of %d: %v, got %s", header, size, err, x.Response.Body())
			}
			x.Close(true)
		}
	}
}

// TestHeads: what goes out, whatever is in names, values and paths.
func TestHeads(t *testing.T) {
	url, heads := serveHeads(t)
	host := strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/v1")
	g := target(t, url)
	for _, tc := range []struct {
		path   string
		fields [][2]string
		want   string
	}{
		{"/chat", nil, "POST /v1/chat HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\n\r\n"},
		{"/chat?api=1", [][2]string{{"X-A", "1"}, {"x-b", ""}, {"x-a", "2"}}, "POST /v1/chat?api=1 HTTP/1.1\r\nHost: " + host + "\r\nX-A: 2\r\nx-b: \r\nContent-Length: 2\r\n\r\n"},
		{"/a/../b c", [][2]string{{"host", "other"}}, "POST /v1/b%20c HTTP/1.1\r\nHost: other\r\nContent-Length: 2\r\n\r\n"},
		{"/models/gpt-4.1/%2E%2E/m.", nil, "POST /v1/models/m. HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\n\r\n"},
		{"/models/a%2Fb-4.1:generate", nil, "POST /v1/models/a%2Fb-4.1:generate HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 2\r\n\r\n"},
		{"/chat", [][2]string{{"X-A", "1\r\nX-B: 2"}, {"X\n", "\x00"}, {"content-length", "7"}, {"Transfer-Encoding", "chunked"}}, "POST /v1/chat HTTP/1.1\r\nHost: " + host + "\r\nX-A: 1  X-B: 2\r\nX :  \r\nContent-Length: 2\r\n\r\n"},
	} {
		x := g.Begin(tc.path)
		for _, f := range tc.fields {
			x.Request.Set(f[0], f[1])
		}
		x.Request.SetBody([3][]byte{nil, []byte("{}")})
		err := x.Do(false)
		x.Close(true)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		if got := <-heads; got != tc.want {
			t.Errorf("%s with %q: got\n%q, want\n%q", tc.path, tc.fields, got, tc.want)
		}
	}
	x := g.Begin("/a\x00b")
	if err := x.Do(false); !errors.Is(err, ErrBroken) {
		t.Errorf("a path that no request line can have: %v", err)
	}
	x.Close(true)
}
