package bench

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// workload is one kind of request and the answer that is expected.
type workload struct {
	name   string
	title  string
	prompt int    // bytes of prompt text, in messages of at most messageSize
	stream bool   // answered in streamChunks chunks
	wish   string // what the upstream is told in the first message, see parseWish
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

// chat is the plainest workload, that of every measurement which compares one thing alone.
var chat = workloads[0]

// slowStream is a stream whose chunks come one by one.
func slowStream(pace time.Duration) workload {
	return workload{name: "slow", title: "slow streams", prompt: 2 << 10, stream: true, wish: "pace=" + pace.String()}
}

// delayed is the workload with an upstream that takes its time.
func (w workload) delayed(by time.Duration) workload {
	if by > 0 {
		w.wish = "delay=" + by.String()
	}
	return w
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

// shape is how requests to one target differ from those to another.
type shape struct {
	path    string // "" for /v1/chat/completions
	model   string // the members that say which model answers, "" for one that is named
	headers string // more of them, each with its end of line
}

// plainModel names the model as any client would.
const plainModel = `"model":"bench-1",`

const sentence = "The signalman reads the timetable, sets the points for the morning express and writes the time into his book. "

// body is the request's JSON.
func (w workload) body(s shape) string {
	var b strings.Builder
	b.WriteByte('{')
	if s.model == "" {
		s.model = plainModel
	}
	b.WriteString(s.model)
	if w.stream {
		b.WriteString(streamMark + `,`)
	}
	b.WriteString(`"max_tokens":256,"temperature":0.2,"messages":[`)
	first := ""
	if w.wish != "" {
		first = wishMark + w.wish + "] "
	}
	for left, role := w.prompt, "user"; left > 0; {
		size := min(left, messageSize)
		left -= size
		text := first + strings.Repeat(sentence, size/len(sentence)+1)[:size-len(first)]
		first = ""
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

// request is the whole HTTP request to a target as it goes over the wire.
func (w workload) request(p *process) []byte { return w.requestWith(p, p.key) }

// requestWith is the request with a bearer key of its own.
func (w workload) requestWith(p *process, key string) []byte {
	accept, path, body := "application/json", p.shape.path, w.body(p.shape)
	if path == "" {
		path = "/v1/chat/completions"
	}
	if w.stream {
		accept = acceptStream
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUser-Agent: pointsman-bench\r\n"+
		"Accept: %s\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", path, p.hostPort(), key, accept, p.shape.headers, len(body), body)
}

// check says whether an answer is the upstream's, whole. How a target writes the JSON around the text is its own affair.
func (w workload) check(status int, body []byte) error {
	switch {
	case status != 200:
		return fmt.Errorf("answered %d: %.300s", status, body)
	case !bytes.Contains(body, []byte(answerMark)):
		return fmt.Errorf("not the upstream's answer: %.300s", body)
	case w.stream && bytes.Count(body, []byte(chunkMark))+1 != streamChunks:
		return fmt.Errorf("a stream of %d chunks, not %d", bytes.Count(body, []byte(chunkMark))+1, streamChunks)
	case w.stream && !bytes.HasSuffix(bytes.TrimRight(body, "\r\n"), []byte("data: [DONE]")):
		return fmt.Errorf("a stream without its end: …%.300s", body[max(0, len(body)-300):])
	}
	return nil
}
