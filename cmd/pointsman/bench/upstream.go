package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	streamMark   = `"stream":true`
	usageMark    = `"include_usage":true`
	acceptStream = "text/event-stream"
	answerMark   = "the points are set"
	chunkMark    = " signal " // in the text of every chunk of a stream but the last
	wishMark     = "[upstream "
	imagePath    = "/images/generations"
	imageSize    = 48 << 10 // bytes of an image before it is encoded
	markRange    = 1 << 10  // bytes from either end of a body within which the marks are
)

// wish is what a request tells the upstream to do, in the text of its first message, which every gateway passes on.
type wish struct {
	delay  time.Duration // before the answer
	pace   time.Duration // before each chunk of a stream
	status int           // of an error in place of the answer
	cut    bool          // the connection ends in the middle of the answer
	every  int           // error and cut are for one in so many of the requests that say this, whatever else they wish; 0: for all
}

// parseWish finds the wish in a request's body. What it does not know it leaves out.
func parseWish(body []byte) (w wish) {
	_, rest, _ := bytes.Cut(body[:min(len(body), markRange)], []byte(wishMark))
	text, _, ok := bytes.Cut(rest[:min(len(rest), 128)], []byte("]"))
	if !ok {
		return w
	}
	for part := range strings.SplitSeq(string(text), ",") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "delay":
			w.delay, _ = time.ParseDuration(value)
		case "pace":
			w.pace, _ = time.ParseDuration(value)
		case "status":
			w.status, _ = strconv.Atoi(value)
		case "cut":
			w.cut = true
		case "every":
			w.every, _ = strconv.Atoi(value)
		}
	}
	return w
}

// answers are the upstream's prepared answers, HTTP and all.
type answers struct {
	plain           []byte
	stream, metered [][]byte // one write each; metered is what a provider sends that was asked to report usage
	image           []byte
	list            []byte       // to any GET
	sparing         atomic.Int64 // requests that wish for a failure of one in some
}

func newAnswers() *answers {
	body := `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-1","system_fingerprint":"fp_bench","choices":[{"index":0,` +
		`"message":{"role":"assistant","content":"` + answerMark + `; ` + strings.Repeat("and the line is clear. ", 14) + `","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
		`"usage":{"prompt_tokens":420,"completion_tokens":96,"total_tokens":516,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},` +
		`"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default"}`
	return &answers{
		plain:   answered(200, body),
		stream:  streamed(false),
		metered: streamed(true),
		image:   answered(200, `{"created":1700000000,"data":[{"b64_json":"`+strings.Repeat("iVBORw0K", imageSize/6)+`"}]}`),
		list:    answered(200, `{"object":"list","data":[{"id":"bench-1","object":"model","created":1700000000,"owned_by":"bench"}]}`),
	}
}

func answered(status int, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d Answer\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
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
		text := fmt.Sprintf("%s%d", chunkMark, i)
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
	var clock *alarm // most connections need none
	pause := func(d time.Duration) (err error) {
		if clock == nil && d > 0 {
			if clock, err = newAlarm(); err != nil {
				return err
			}
		}
		if d > 0 {
			err = clock.wait(d)
		}
		return err
	}
	defer func() {
		if clock != nil {
			clock.close()
		}
	}()
	for {
		if err := req.ReadLimitBody(r, 8<<20); err != nil {
			return
		}
		wished := a.spare(parseWish(req.Body()))
		if pause(wished.delay) != nil {
			return
		}
		parts := a.parts(&req, wished)
		for i, part := range parts {
			if wished.cut && i == len(parts)/2 {
				conn.Write(part[:len(part)/2]) //nolint:errcheck // the connection ends either way
				return
			}
			if i > 0 && pause(wished.pace) != nil {
				return
			}
			if _, err := conn.Write(part); err != nil {
				return
			}
		}
	}
}

// spare leaves a failure out of what is wished unless it is its turn: once in every so many of all such requests together, or those of different wishes
// could fail in a row; and not at the same place among them, or repetitions could keep the failures to the requests of one kind.
func (a *answers) spare(w wish) wish {
	if w.every == 0 {
		return w
	}
	n := uint64(a.sparing.Add(1) - 1)
	if block, place := n/uint64(w.every), n%uint64(w.every); place != block*0x9E3779B97F4A7C15>>33%uint64(w.every) { // Fibonacci hashing, Knuth 6.4
		w.status, w.cut = 0, false
	}
	return w
}

// parts is the answer to a request, one write each.
func (a *answers) parts(req *fasthttp.Request, w wish) [][]byte {
	body := req.Body()
	switch {
	case w.status != 0:
		return [][]byte{answered(w.status, `{"error":{"message":"the signal box is closed","type":"server_error","code":"closed"}}`)}
	case !req.Header.IsPost():
		return [][]byte{a.list}
	case bytes.HasSuffix(req.URI().Path(), []byte(imagePath)):
		return [][]byte{a.image}
	case !asked(body, streamMark):
		return [][]byte{a.plain}
	case asked(body, usageMark):
		return a.metered
	default:
		return a.stream
	}
}

// asked tells whether a body has a member with its value, written with or without a space between them, before or after its
// messages.
func asked(body []byte, member string) bool {
	for _, part := range [][]byte{body[:min(len(body), markRange)], body[max(len(body)-markRange, 0):]} {
		if bytes.Contains(part, []byte(member)) || bytes.Contains(part, []byte(strings.Replace(member, ":", ": ", 1))) {
			return true
		}
	}
	return false
}
