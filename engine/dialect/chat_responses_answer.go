package dialect

import (
	"bytes"
	"cmp"
	"strconv"
)

// AnswerChatToResponses appends a Response object made of body, a buffered chat completion, under the id, model name and
// time of opt, and returns the usage that body reports. What the object repeats of the request is copied from opt.Request
// byte for byte, or is the API's default. If the source reports no usage there is no member usage.
//
// The output is an item of reasoning, a message and the calls of tools, in this order, as far as there are any; an answer
// that is complete without any of the last two has a message with an empty text. Only the first choice counts. Finish
// reasons are those of the streamed translation, [TranslateStream].
func AnswerChatToResponses(dst, body []byte, opt AnswerOptions) ([]byte, Usage, error) {
	var choices, tier, key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		switch v := c.value(); string(key) {
		case "choices":
			choices = v
		case "service_tier":
			tier = v
		}
	}
	var choice []byte
	for v := range elements(choices) {
		choice = v
		break
	}
	m := members(choice, "message", "finish_reason", "logprobs")
	if !c.end() || len(m[0]) == 0 || m[0][0] != '{' {
		return dst, Usage{}, ErrMalformed
	}
	said := readChatDelta(m[0])
	a := responseAnswer{id: opt.ID, finish: finishOf(inner(m[1])), tier: tier}
	if len(said.reasoning) > 0 {
		a.add(itemReasoning).text = said.reasoning
	}
	if len(said.text) > 0 {
		p := a.message().part(false)
		p.text, p.logprobs = said.text, inside(members(m[2], "content")[0])
		p.annotations, _ = appendAnnotations(nil, said.annotations)
	}
	if len(said.refusal) > 0 {
		a.message().part(true).text = said.refusal
	}
	for raw := range elements(said.calls) {
		if call := readChatCall(raw); len(inner(call.name)) > 0 {
			item := a.call(&call)
			item.text = call.argument
		}
	}
	if a.isBare() {
		a.message().part(false)
	}
	for i, item := range a.items {
		item.settle(a.finish, i == len(a.items)-1)
	}
	u, _ := OpenAIUsage(body)
	frame := newResponseFrame(opt)
	return frame.append(dst, &a, a.finish.status, u), u, nil
}

// responseFinish is how an answer ended, in words of the Responses API.
type responseFinish struct {
	status string
	reason []byte // of an incomplete answer: raw string content
}

// finishOf maps a finish_reason, raw string content. A reason that we do not know is passed through as that of an
// incomplete answer, never called a success; an answer without any is complete if its stream ended as it should.
func finishOf(reason []byte) responseFinish {
	switch string(reason) {
	case "", "stop", "tool_calls", "function_call":
		return responseFinish{status: "completed"}
	case "length":
		return responseFinish{"incomplete", []byte("max_output_tokens")}
	case "error":
		return responseFinish{status: "failed"}
	}
	return responseFinish{"incomplete", bytes.Clone(reason)}
}

// responseAnswer is the output of an answer that is being made.
type responseAnswer struct {
	id     string // of the answer
	items  []*responseItem
	finish responseFinish
	tier   []byte // a raw value, the service tier that the source names
}

type itemKind uint8

const (
	itemReasoning itemKind = iota
	itemMessage
	itemFunction
	itemCustom
)

// responseItem is one item of the output. Its number is that of its place.
type responseItem struct {
	kind   itemKind
	number int
	id     []byte          // raw, with its quotes
	text   []byte          // raw string content: reasoning, arguments, or the input of a custom tool
	parts  []*responsePart // of a message
	callID []byte          // a raw string
	name   []byte          // likewise
	status string          // "" as long as it may grow: it is in progress
}

// responsePart is a part of a message. The lists are elements of arrays.
type responsePart struct {
	refusal                     bool
	text, logprobs, annotations []byte
}

// add adds an item, whose id follows from that of the answer and its place.
func (a *responseAnswer) add(kind itemKind) *responseItem {
	item := &responseItem{kind: kind, number: len(a.items)}
	prefix := [...]string{itemReasoning: "rs_", itemMessage: "msg_", itemFunction: "fc_", itemCustom: "ctc_"}[kind]
	item.id = appendQuoted(item.id, prefix+a.idBody()+"_"+strconv.Itoa(item.number))
	a.items = append(a.items, item)
	return item
}

// idBody is the answer's id without what says that it is one of an answer.
func (a *responseAnswer) idBody() string {
	for i := range a.id {
		if a.id[i] == '_' {
			return a.id[i+1:]
		}
	}
	return a.id
}

// message is the message at the end of the output, which is added if there is none.
func (a *responseAnswer) message() *responseItem {
	if n := len(a.items); n > 0 && a.items[n-1].kind == itemMessage && a.items[n-1].status == "" {
		return a.items[n-1]
	}
	return a.add(itemMessage)
}

// part adds a part to a message.
func (i *responseItem) part(refusal bool) *responsePart {
	p := &responsePart{refusal: refusal}
	i.parts = append(i.parts, p)
	return p
}

// call adds the item of a call, without what it is called with.
func (a *responseAnswer) call(call *chatCall) *responseItem {
	kind := itemFunction
	if call.custom {
		kind = itemCustom
	}
	item := a.add(kind)
	item.name = append(item.name, call.name...)
	if item.callID = append(item.callID, call.id...); len(inner(call.id)) == 0 {
		item.callID = appendQuoted(nil, "call_"+a.idBody()+"_"+strconv.Itoa(item.number))
	}
	return item
}

// isBare tells that an answer is complete, but that there is nothing in it which a client could use.
func (a *responseAnswer) isBare() bool {
	return a.finish.status == "completed" && (len(a.items) == 0 || len(a.items) == 1 && a.items[0].kind == itemReasoning)
}

// settle ends an item that is not ended yet. The last one of an answer that was cut is cut too. It returns what has been
// added to the arguments of a function, raw string content: none at all are an empty object.
func (i *responseItem) settle(finish responseFinish, last bool) (added string) {
	if i.status != "" {
		return ""
	}
	i.status = "completed"
	if last && finish.status != "completed" {
		i.status = "incomplete"
		return ""
	}
	if i.kind == itemFunction && len(i.text) == 0 {
		added = "{}"
		i.text = append(i.text, added...)
	}
	return added
}

// append appends the item as it is by now.
func (i *responseItem) append(dst []byte) []byte {
	dst = append(append(dst, `{"id":`...), i.id...)
	if i.kind == itemReasoning {
		dst = append(dst, `,"type":"reasoning","summary":[`...)
		if len(i.text) > 0 {
			dst = append(dst, `{"type":"summary_text","text":`...)
			dst = append(appendEnclosed(dst, '"', i.text, '"'), '}')
		}
		return append(dst, `]}`...)
	}
	kind := [...]string{itemMessage: "message", itemFunction: "function_call", itemCustom: "custom_tool_call"}[i.kind]
	dst = append(append(append(dst, `,"type":"`...), kind...), `","status":"`...)
	dst = append(append(dst, cmp.Or(i.status, "in_progress")...), '"')
	if i.kind == itemMessage {
		dst = append(dst, `,"role":"assistant","content":[`...)
		for n, p := range i.parts {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = p.append(dst)
		}
		return append(dst, `]}`...)
	}
	dst = appendMember(dst, "call_id", i.callID)
	dst = appendMember(dst, "name", i.name)
	if i.kind == itemFunction {
		dst = append(dst, `,"arguments":`...)
	} else {
		dst = append(dst, `,"input":`...)
	}
	return append(appendEnclosed(dst, '"', i.text, '"'), '}')
}

func (p *responsePart) append(dst []byte) []byte {
	if p.refusal {
		dst = append(dst, `{"type":"refusal","refusal":`...)
		return append(appendEnclosed(dst, '"', p.text, '"'), '}')
	}
	dst = append(dst, `{"type":"output_text","text":`...)
	dst = appendEnclosed(dst, '"', p.text, '"')
	dst = append(dst, `,"annotations":`...)
	dst = appendEnclosed(dst, '[', p.annotations, ']')
	dst = append(dst, `,"logprobs":`...)
	return append(appendEnclosed(dst, '[', p.logprobs, ']'), '}')
}

// responseFrame is what all Response objects of one answer have in common.
type responseFrame struct {
	head []byte // up to the status
	echo []byte // members that repeat the request, a comma before each
}

// newResponseFrame copies what it needs of the request.
func newResponseFrame(opt AnswerOptions) *responseFrame {
	f := new(responseFrame)
	f.head = append(f.head, `{"id":`...)
	f.head = appendQuoted(f.head, opt.ID)
	f.head = append(f.head, `,"object":"response","created_at":`...)
	f.head = strconv.AppendInt(f.head, opt.Created, 10)
	f.head = append(f.head, `,"model":`...)
	f.head = appendQuoted(f.head, opt.Model)

	repeated := [...]struct {
		name      string
		otherwise string // the API's default
		given     []byte
	}{
		{name: "instructions", otherwise: `null`},
		{name: "max_output_tokens", otherwise: `null`},
		{name: "max_tool_calls", otherwise: `null`},
		{name: "metadata", otherwise: `{}`},
		{name: "parallel_tool_calls", otherwise: `true`},
		{name: "prompt_cache_key", otherwise: `null`},
		{name: "reasoning", otherwise: `{"effort":null,"summary":null}`},
		{name: "safety_identifier", otherwise: `null`},
		{name: "temperature", otherwise: `1.0`},
		{name: "text", otherwise: `{"format":{"type":"text"}}`},
		{name: "tool_choice", otherwise: `"auto"`},
		{name: "tools", otherwise: `[]`},
		{name: "top_logprobs", otherwise: `0`},
		{name: "top_p", otherwise: `1.0`},
		{name: "truncation", otherwise: `"disabled"`},
		{name: "user", otherwise: `null`},
	}
	var key []byte
	c := cursor{b: opt.Request}
	for c.object(); c.member(&key); {
		v := c.value()
		for i := range repeated {
			if repeated[i].name == string(key) {
				repeated[i].given = v
			}
		}
	}
	valid := c.end()
	f.echo = append(f.echo, `,"background":false,"previous_response_id":null,"store":false`...)
	for _, m := range repeated {
		if !valid || isNull(m.given) {
			m.given = []byte(m.otherwise)
		}
		f.echo = appendMember(f.echo, m.name, m.given)
	}
	return f
}

// append appends the Response object of a state: that of the finish, or "in_progress".
func (f *responseFrame) append(dst []byte, a *responseAnswer, status string, u Usage) []byte {
	dst = append(dst, f.head...)
	dst = append(dst, `,"status":"`+status+`","error":`...)
	if status == "failed" {
		dst = append(dst, `{"code":"server_error","message":"the provider ended the answer with an error"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"incomplete_details":`...)
	if status == "incomplete" {
		dst = appendEnclosed(append(dst, `{"reason":`...), '"', a.finish.reason, '"')
		dst = append(dst, '}')
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(dst, `,"output":[`...)
	for i, item := range a.items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = item.append(dst)
	}
	dst = append(dst, ']')
	if isString(a.tier) {
		dst = appendMember(dst, "service_tier", a.tier)
	}
	dst = append(dst, f.echo...)
	switch {
	case u.Reported:
		dst = append(Responses.appendCounts(append(dst, `,"usage":`...), u), '}')
	case status == "in_progress":
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, '}')
}
