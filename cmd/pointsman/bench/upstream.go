package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/valyala/fasthttp"
)

const (
	streamMark   = `"stream":true`
	usageMark    = `"include_usage":true`
	acceptStream = "text/event-stream"
	answerMark   = "the points are set"
)

// answers are the upstream's prepared answers, HTTP and all.
type answers struct {
	plain           []byte
	stream, metered [][]byte // one write each; metered is what a provider sends that was asked to report usage
}

func newAnswers() *answers {
	body := `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-1","system_fingerprint":"fp_bench","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"` + answerMark + `; ` + strings.Repeat("and the line is clear. ", 14) + `","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":420,"completion_tokens":96,"total_tokens":516,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}`
	return &answers{
		plain:   fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		stream:  streamed(false),
		metered: streamed(true),
	}
}

// streamed is an answer in chunks, each a write of its own as a provider would send it.
func streamed(metered bool) [][]byte {
	usage := ""
	if metered {
		usage = `,"usage":null`
	}
	event := func(choices, usage string) string {
		return `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-1","system_fingerprint":"fp_bench","choices":[` +
			choices + `]` + usage + "}\n\n"
	}
	framed := func(event string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(event), event) }
	parts := [][]byte{[]byte("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n")}
	for i := range streamChunks {
		text := fmt.Sprintf(" signal %d", i)
		if i == streamChunks-1 {
			text = " " + answerMark
		}
		parts = append(parts, framed(event(fmt.Sprintf(`{"index":0,"delta":{"content":%q},"logprobs":null,"finish_reason":null}`, text), usage)))
	}
	parts = append(parts, framed(event(`{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}`, usage)))
	if metered {
		parts = append(parts, framed(event("", `,"usage":{"prompt_tokens":420,"completion_tokens":100,"total_tokens":520}`)))
	}
	return append(parts, framed("data: [DONE]\n\n"), []byte("0\r\n\r\n"))
}

// ServeUpstream serves prepared answers on a free loopback port, whose URL it prints to out, until the process is ended. It
// speaks just enough HTTP to be cheaper than anything measured in front of it.
func ServeUpstream(out io.Writer) error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening for the upstream: %w", err)
	}
	fmt.Fprintf(out, "http://%s\n", ln.Addr())
	prepared := newAnswers()
	for {
		conn, err := ln.Accept()
		if err != nil {
			return fmt.Errorf("accepting: %w", err)
		}
		go prepared.serve(conn)
	}
}

// serve answers requests on one connection until the other side closes it.
func (a *answers) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 16<<10)
	var req fasthttp.Request
	for {
		if err := req.ReadLimitBody(r, 8<<20); err != nil {
			return
		}
		parts := [][]byte{a.plain}
		body := req.Body()
		if bytes.Contains(body[:min(len(body), 256)], []byte(streamMark)) {
			parts = a.stream
			if bytes.Contains(body, []byte(usageMark)) {
				parts = a.metered
			}
		}
		for _, part := range parts {
			if _, err := conn.Write(part); err != nil {
				return
			}
		}
	}
}
