package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// probe is one case of testdata/rawhttp.
type probe struct {
	name string
	send []byte
	ends bool       // the client closes its half
	want [][]string // of each answer its status and perhaps a code
	open bool
}

const probedBody = 1 << 20 // the limit of the probed server, in bytes

func loadProbes(t testing.TB) (probes []probe) {
	t.Helper()
	files, err := filepath.Glob("testdata/rawhttp/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no probes", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		group := strings.TrimSuffix(filepath.Base(file), ".txt")
		for block := range strings.SplitSeq(string(text), "\n\n") {
			p := parseProbe(t, block)
			if p.name == "" {
				continue
			}
			if p.name = group + "/" + p.name; names[p.name] {
				t.Fatalf("%s: the name is taken", p.name)
			}
			names[p.name] = true
			probes = append(probes, p)
		}
	}
	return probes
}

func parseProbe(t testing.TB, block string) (p probe) {
	t.Helper()
	for line := range strings.SplitSeq(strings.Trim(block, "\n"), "\n") {
		directive, text, _ := strings.Cut(line, " ")
		switch directive {
		case "probe":
			p.name = text
		case "|":
			p.send = append(append(p.send, probeBytes(t, text)...), "\r\n"...)
		case ">":
			p.send = append(p.send, probeBytes(t, text)...)
		case "end":
			p.ends = true
		case "want":
			i := strings.LastIndexByte(text, ' ')
			p.open = text[i+1:] == "open"
			for answer := range strings.SplitSeq(text[:i], ",") {
				p.want = append(p.want, strings.Fields(answer))
			}
		default:
			if line != "" && line[0] != '#' {
				t.Fatalf("%s: %q is no directive", p.name, line)
			}
		}
	}
	return p
}

// probeBytes undoes repetitions and escapes.
func probeBytes(t testing.TB, text string) string {
	t.Helper()
	text = regexp.MustCompile(`<<(\d+) (.*?)>>`).ReplaceAllStringFunc(text, func(s string) string {
		count, what, _ := strings.Cut(strings.Trim(s, "<>"), " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for i := range n {
			out.WriteString(strings.ReplaceAll(what, "%d", strconv.Itoa(i)))
		}
		return out.String()
	})
	quoted := strings.ReplaceAll(strings.ReplaceAll(text, `"`, `\"`), `\0`, `\x00`)
	out, err := strconv.Unquote(`"` + quoted + `"`)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return out
}

// tally counts its calls and answers 200.
type tally struct{ calls atomic.Int64 }

func (c *tally) handle(ctx *fasthttp.RequestCtx) {
	c.calls.Add(1)
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"ok":true}`)
}

// probedServer serves until the test ends.
func probedServer(t testing.TB) (address string, handler *tally) {
	t.Helper()
	handler = &tally{}
	return listening(t, handler.handle, probedBody).String(), handler
}

// TestRawHTTP sends every probe over TCP: at once, in small pieces, and byte by byte if it is short.
func TestRawHTTP(t *testing.T) {
	probes := loadProbes(t)
	if len(probes) < 80 {
		t.Fatalf("only %d probes", len(probes))
	}
	address, handler := probedServer(t)
	for _, p := range probes {
		for _, size := range []int{len(p.send), 97, 1} {
			if size > 1 && len(p.send)/size > 20_000 || size == 1 && len(p.send) > 2000 {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", p.name, size), func(t *testing.T) { p.run(t, address, handler, size) })
		}
	}
}

func (p *probe) run(t *testing.T, address string, handler *tally, size int) {
	before, oks := handler.calls.Load(), int64(0)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // reading fails then
	go func() {
		for rest := p.send; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := conn.Write(rest[:n]); err != nil {
				return // refused before the end
			}
			rest = rest[n:]
		}
		if p.ends {
			conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // reading fails then
		}
	}()
	r := bufio.NewReader(conn)
	for i, want := range p.want {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if resp.StatusCode == http.StatusOK {
			oks++
		}
		if got := strconv.Itoa(resp.StatusCode); got != want[0] {
			t.Fatalf("answer %d is %s, want %s: %s", i, got, want[0], body)
		}
		if len(want) > 1 {
			p.checkRefusal(t, resp, body, want[1])
		}
	}
	if p.open {
		fmt.Fprint(conn, "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("the connection does not go on: %v, %v", resp, err)
		}
		oks++
	} else if left, err := io.ReadAll(r); len(left) > 0 || err != nil && !p.closes(err) {
		t.Errorf("the connection goes on: %q, %v", left, err)
	}
	if calls := handler.calls.Load() - before; calls != oks {
		t.Errorf("%d calls of the handler for %d answers", calls, oks)
	}
}

// closes tells whether a connection may end like that: who sends on behind a request that ends it, and gets its answer, may find it reset.
func (p *probe) closes(err error) bool {
	return p.want[len(p.want)-1][0] == "200" && errors.Is(err, syscall.ECONNRESET)
}

// checkRefusal wants an error in the shape of the path's dialect that names the limit it is about.
func (p *probe) checkRefusal(t *testing.T, resp *http.Response, body []byte, code string) {
	t.Helper()
	var failed struct {
		Type      string
		RequestID string `json:"request_id"`
		Error     struct{ Type, Code, Message string }
	}
	if err := json.Unmarshal(body, &failed); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	id := resp.Header.Get("X-Request-Id")
	if id == "" || !resp.Close {
		t.Errorf("headers %v", resp.Header)
	}
	if bytes.Contains(p.send, []byte(" /v1/messages")) {
		if failed.Type != "error" || failed.RequestID != id || failed.Error.Type == "" || resp.StatusCode == 413 && failed.Error.Type != "request_too_large" {
			t.Errorf("not Anthropic's shape: %s", body)
		}
	} else if failed.Error.Code != code || failed.Type != "" {
		t.Errorf("want code %s: %s", code, body)
	}
	limit := map[string]string{"request_too_large": "1 MiB (1048576 bytes)", "headers_too_large": "32 KiB", "too_many_headers": "100", "uri_too_long": "8 KiB"}[code]
	if !strings.Contains(failed.Error.Message, limit) {
		t.Errorf("the limit is not named: %s", body)
	}
}

// pieces is a connection that gives its bytes in pieces and then ends.
type pieces struct {
	net.Conn
	rest []byte
	size int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(len(c.rest), c.size)])
	c.rest = c.rest[n:]
	return n, nil
}

// TestGateOneRequestAtATime reads pipelined requests: no Read reaches into the next, however the bytes come.
func TestGateOneRequestAtATime(t *testing.T) {
	one := "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	two := "POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
	for size := 1; size <= len(one+two+one); size++ {
		g := &gate{Conn: &pieces{rest: []byte(one + two + one), size: size}, maxBody: 10}
		for _, want := range []string{one, two, one} {
			var got []byte
			for len(got) < len(want) {
				p := make([]byte, 4096)
				n, err := g.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p[:n]...)
			}
			if string(got) != want {
				t.Fatalf("in pieces of %d: read %q", size, got)
			}
		}
		if n, err := g.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
			t.Fatalf("the end: %d, %v", n, err)
		}
	}
}

// BenchmarkGate measures what the gate costs a request, head and body, with the head of a common client.
func BenchmarkGate(b *testing.B) {
	head := "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.example:8084\r\nAccept: application/json\r\nAccept-Encoding: gzip, deflate\r\n" +
		"Connection: keep-alive\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.1\r\nX-Stainless-Lang: python\r\n" +
		"X-Stainless-Package-Version: 1.99.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n" +
		"X-Stainless-Runtime-Version: 3.12.4\r\nAuthorization: Bearer pm-0123456789abcdef0123456789abcdef\r\nX-Stainless-Async: false\r\n" +
		"x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: 200\r\n\r\n"
	request := []byte(head + strings.Repeat("x", 200))
	p := make([]byte, readBuffer)
	b.Run("gate", func(b *testing.B) {
		b.ReportAllocs()
		from := &pieces{size: len(request)}
		g := &gate{Conn: from, maxBody: 1 << 20}
		for b.Loop() {
			from.rest = request
			if n, err := g.Read(p); n != len(request) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("none", func(b *testing.B) {
		from := &pieces{size: len(request)}
		for b.Loop() {
			from.rest = request
			if n, err := from.Read(p); n != len(request) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}
