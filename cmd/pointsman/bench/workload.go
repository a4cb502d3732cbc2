package bench

import (
	"bytes"
	"fmt"
	"strings"
)

// workload is one kind of request and the answer that is expected.
type workload struct {
	name   string
	title  string
	prompt int  // bytes of prompt text, in messages of at most messageSize
	stream bool // answered in streamChunks chunks
}

const (
	messageSize  = 2048
	streamChunks = 100
)

var workloads = []workload{
	{name: "chat", title: "chat, 2 KB prompt", prompt: 2 << 10},
	{name: "large", title: "chat, 100 KB prompt", prompt: 100 << 10},
	{name: "stream", title: "stream, 100 chunks", prompt: 2 << 10, stream: true},
}

// Workloads are the names of what can be measured.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// perRequest is how many units of work a request is, and what the unit is called.
func (w workload) perRequest() (int, string) {
	if w.stream {
		return streamChunks, "chunk"
	}
	return 1, "request"
}

const sentence = "The signalman reads the timetable, sets the points for the morning express and writes the time into his book. "

// body is the request's JSON. The model is left to the policy of a power level.
func (w workload) body() string {
	var b strings.Builder
	b.WriteString(`{"model":"auto","power_level":"balanced",`)
	if w.stream {
		b.WriteString(streamMark + `,`)
	}
	b.WriteString(`"max_tokens":256,"temperature":0.2,"messages":[`)
	for left, role := w.prompt, "user"; left > 0; {
		size := min(left, messageSize)
		left -= size
		text := strings.Repeat(sentence, size/len(sentence)+1)[:size]
		fmt.Fprintf(&b, `{"role":%q,"content":%q}`, role, text)
		if left > 0 {
			b.WriteByte(',')
		}
		if role == "user" {
			role = "assistant"
		} else {
			role = "user"
		}
	}
	b.WriteString("]}")
	return b.String()
}

// request is the whole HTTP request as it goes over the wire.
func (w workload) request(address, key string) []byte {
	accept, body := "application/json", w.body()
	if w.stream {
		accept = acceptStream
	}
	return fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUser-Agent: pointsman-bench\r\n"+
		"Accept: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, key, accept, len(body), body)
}

// check says whether an answer is the upstream's, whole.
func (w workload) check(status int, body []byte) error {
	switch {
	case status != 200:
		return fmt.Errorf("answered %d: %.300s", status, body)
	case !bytes.Contains(body, []byte(answerMark)):
		return fmt.Errorf("not the upstream's answer: %.300s", body)
	case w.stream && bytes.Count(body, []byte(`"delta":{"content"`)) != streamChunks:
		return fmt.Errorf("a stream of %d chunks, not %d", bytes.Count(body, []byte(`"delta":{"content"`)), streamChunks)
	case w.stream && !bytes.HasSuffix(body, []byte("data: [DONE]\n\n")):
		return fmt.Errorf("a stream without its end: …%.300s", body[max(0, len(body)-300):])
	}
	return nil
}
