package scripted

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/engine/sse"
)

// The counts of tokens of every default answer.
const (
	InputTokens  = 10
	OutputTokens = 20
	CachedTokens = 4 // part of InputTokens
)

// UsageStyle is a way in which a streamed answer of OpenAI's dialect tells its usage.
type UsageStyle int

// The styles.
const (
	UsageNone       UsageStyle = iota // never
	UsageFinal                        // in a last chunk without choices, and null in all others, as OpenAI does
	UsageWithFinish                   // in the chunk that has the finish_reason
	UsageAfter                        // in a further chunk that has a choice with an empty delta
	UsageEvery                        // in every chunk, counting up
	UsageNull                         // null in every chunk
)

// Default is the answer to the request if no script changes it. A script may call it and bend what it returns. It is a
// streamed answer if the request asks for one; that of a chat completion tells its usage only if asked to.
func (r *Request) Default() *Reply {
	text := r.server.opt.Text
	switch {
	case r.is("/models"):
		return &Reply{Body: modelList(r.server.opt.Models)}
	case r.Method != "POST":
	case r.is("/chat/completions") && r.Stream:
		style := UsageNone
		if r.IncludeUsage {
			style = UsageFinal
		}
		return &Reply{Chunks: OpenAIChunks(r.Model, text, style), Interval: r.server.opt.Interval}
	case r.is("/chat/completions"):
		return &Reply{Body: OpenAIBody(r.Model, strings.Join(text, ""))}
	case r.is("/messages") && r.Stream:
		return &Reply{Chunks: AnthropicChunks(r.Model, text), Interval: r.server.opt.Interval}
	case r.is("/messages"):
		return &Reply{Body: AnthropicBody(r.Model, strings.Join(text, ""))}
	case r.is("/responses") && r.Stream:
		return &Reply{Chunks: ResponsesChunks(r.Model, text), Interval: r.server.opt.Interval}
	case r.is("/responses"):
		return &Reply{Body: ResponsesBody(r.Model, strings.Join(text, ""))}
	case r.is("/embeddings"):
		return &Reply{Body: fmt.Appendf(nil, `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.25,-0.5,0.75]}],`+
			`"model":%s,"usage":{"prompt_tokens":%d,"total_tokens":%d}}`, quote(r.Model), InputTokens, InputTokens)}
	}
	return &Reply{Status: 404, Body: []byte(`{"error":{"message":"no such path","type":"invalid_request_error","param":null,"code":"not_found"}}`)}
}

// OpenAIBody is a chat completion with that text.
func OpenAIBody(model, text string) []byte {
	b := append(make([]byte, 0, 512+len(text)), `{"id":"chatcmpl-scripted","object":"chat.completion","created":1700000000,"model":`...)
	b = append(b, quote(model)...)
	b = append(b, `,"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	b = append(b, quote(text)...)
	b = append(b, `,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":`...)
	return append(append(b, openAIUsage(OutputTokens)...), '}')
}

// OpenAIChunks is a streamed chat completion, an event each: the role, the texts, the finish_reason, [DONE], and the
// usage in the given style.
func OpenAIChunks(model string, text []string, style UsageStyle) [][]byte {
	chunks := make([][]byte, 0, len(text)+4)
	head := `{"id":"chatcmpl-scripted","object":"chat.completion.chunk","created":1700000000,"model":` + quote(model) + `,"choices":[`
	add := func(choice, usage string) {
		if usage != "" {
			usage = `,"usage":` + usage
		}
		chunks = append(chunks, sse.AppendEvent(nil, "", []byte(head+choice+"]"+usage+"}")))
	}
	usage := func(sent int) string {
		switch style {
		case UsageFinal, UsageNull:
			return "null"
		case UsageEvery:
			return openAIUsage(sent * OutputTokens / max(len(text), 1))
		}
		return ""
	}
	add(`{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}`, usage(0))
	for i, t := range text {
		add(`{"index":0,"delta":{"content":`+quote(t)+`},"finish_reason":null}`, usage(i+1))
	}
	last := usage(len(text))
	if style == UsageWithFinish {
		last = openAIUsage(OutputTokens)
	}
	add(`{"index":0,"delta":{},"finish_reason":"stop"}`, last)
	switch style {
	case UsageFinal:
		add("", openAIUsage(OutputTokens))
	case UsageAfter:
		add(`{"index":0,"delta":{}}`, openAIUsage(OutputTokens))
	}
	return append(chunks, sse.AppendEvent(nil, "", []byte(sse.Done)))
}

func openAIUsage(output int) string {
	return `{"prompt_tokens":` + strconv.Itoa(InputTokens) + `,"completion_tokens":` + strconv.Itoa(output) + `,"total_tokens":` +
		strconv.Itoa(InputTokens+output) + `,"prompt_tokens_details":{"cached_tokens":` + strconv.Itoa(CachedTokens) +
		`},"completion_tokens_details":{"reasoning_tokens":0}}`
}

// AnthropicBody is a message with that text.
func AnthropicBody(model, text string) []byte {
	return fmt.Appendf(nil, `{"id":"msg_scripted","type":"message","role":"assistant","model":%s,"content":[{"type":"text","text":%s}],`+
		`"stop_reason":"end_turn","stop_sequence":null,"usage":%s}`, quote(model), quote(text), anthropicUsage(OutputTokens))
}

// AnthropicChunks is a streamed message with one block of text, an event each.
func AnthropicChunks(model string, text []string) [][]byte {
	chunks := make([][]byte, 0, len(text)+5)
	add := func(name, rest string) {
		chunks = append(chunks, sse.AppendEvent(nil, name, []byte(`{"type":"`+name+`"`+rest+`}`)))
	}
	add("message_start", `,"message":{"id":"msg_scripted","type":"message","role":"assistant","model":`+quote(model)+
		`,"content":[],"stop_reason":null,"stop_sequence":null,"usage":`+anthropicUsage(1)+`}`)
	add("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
	for _, t := range text {
		add("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":`+quote(t)+`}`)
	}
	add("content_block_stop", `,"index":0`)
	add("message_delta", `,"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":`+strconv.Itoa(OutputTokens)+`}`)
	add("message_stop", "")
	return chunks
}

// anthropicUsage counts the same tokens in Anthropic's way, where input_tokens excludes the cache.
func anthropicUsage(output int) string {
	return fmt.Sprintf(`{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,"output_tokens":%d}`,
		InputTokens-CachedTokens, CachedTokens, output)
}

func modelList(models []string) []byte {
	b := []byte(`{"object":"list","data":[`)
	for i, m := range models {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`+quote(m)+`,"object":"model","created":1700000000,"owned_by":"scripted"}`...)
	}
	return append(b, `],"has_more":false}`...)
}

func quote(text string) string {
	b, _ := jsontext.AppendQuote(nil, text) // the error only reports invalid UTF-8, which it replaces
	return string(b)
}
