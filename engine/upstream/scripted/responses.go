package scripted

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/engine/sse"
)

// ResponsesBody is a response of OpenAI's Responses API with that text.
func ResponsesBody(model, text string) []byte {
	return []byte(response(model, "completed", responseItem("completed", text), responsesUsage(OutputTokens)))
}

// ResponsesChunks is a streamed response with one message of text, an event each. The last one tells the usage.
func ResponsesChunks(model string, text []string) [][]byte {
	chunks := make([][]byte, 0, len(text)+8)
	add := func(name, rest string) {
		data := `{"type":"` + name + `","sequence_number":` + strconv.Itoa(len(chunks)) + rest + `}`
		chunks = append(chunks, sse.AppendEvent(nil, name, []byte(data)))
	}
	const item, part = `,"output_index":0`, `,"item_id":"msg_scripted","output_index":0,"content_index":0`
	whole := strings.Join(text, "")
	begun := `,"response":` + response(model, "in_progress", "", "null")
	add("response.created", begun)
	add("response.in_progress", begun)
	add("response.output_item.added", item+`,"item":`+responseItem("in_progress"))
	add("response.content_part.added", part+`,"part":`+responsePart(""))
	for _, t := range text {
		add("response.output_text.delta", part+`,"delta":`+quote(t)+`,"logprobs":[]`)
	}
	add("response.output_text.done", part+`,"text":`+quote(whole)+`,"logprobs":[]`)
	add("response.content_part.done", part+`,"part":`+responsePart(whole))
	add("response.output_item.done", item+`,"item":`+responseItem("completed", whole))
	add("response.completed", `,"response":`+response(model, "completed", responseItem("completed", whole), responsesUsage(OutputTokens)))
	return chunks
}

// response is a response object; output has the elements of its output.
func response(model, status, output, usage string) string {
	return fmt.Sprintf(`{"id":"resp_scripted","object":"response","created_at":1700000000,"status":%q,"error":null,"incomplete_details":null,`+
		`"instructions":null,"max_output_tokens":null,"model":%s,"output":[%s],"parallel_tool_calls":true,"previous_response_id":null,`+
		`"store":false,"temperature":1,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1,"truncation":"disabled",`+
		`"usage":%s,"user":null,"metadata":{}}`, status, quote(model), output, usage)
}

// responseItem is a message, with the parts of its content.
func responseItem(status string, text ...string) string {
	parts := make([]string, len(text))
	for i, t := range text {
		parts[i] = responsePart(t)
	}
	return fmt.Sprintf(`{"id":"msg_scripted","type":"message","status":%q,"role":"assistant","content":[%s]}`, status, strings.Join(parts, ","))
}

func responsePart(text string) string {
	return `{"type":"output_text","text":` + quote(text) + `,"annotations":[],"logprobs":[]}`
}

// responsesUsage counts the same tokens under the names of the Responses API.
func responsesUsage(output int) string {
	return fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d},"output_tokens":%d,`+
		`"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}`, InputTokens, CachedTokens, output, InputTokens+output)
}
