package dialect

import "bytes"

// Signatures finds the signatures of an answer's thinking: what only the model that made it takes back. The zero value is
// ready; it belongs to one answer.
type Signatures struct {
	open []byte // of a block of the Messages API whose signature is still coming
}

// Add takes in a buffered answer, or the next event of a stream, and calls visit with each signature that is complete. The
// slice is valid during the call.
func (s *Signatures) Add(d Dialect, data []byte, visit func(signature []byte)) {
	if !d.mayBeSigned(data) && len(s.open) == 0 {
		return
	}
	switch d {
	case Messages:
		var ev streamEvent
		if !ev.read(data) {
			return
		}
		switch string(ev.kind) {
		case "message": // buffered
			for block := range elements(members(data, "content")[0]) {
				visitSigned(block, visit)
			}
		case "content_block_start":
			visitSigned(ev.block, visit)
		case "content_block_delta":
			if string(ev.deltaKind) == "signature_delta" {
				s.open = append(s.open, ev.part...)
			}
		case "content_block_stop":
			if len(s.open) > 0 {
				visit(unquoted(appendEnclosed(nil, '"', s.open, '"')))
				s.open = s.open[:0]
			}
		}
	case Responses:
		m := members(data, "output", "item")
		visitSigned(m[1], visit)
		for item := range elements(m[0]) {
			visitSigned(item, visit)
		}
	default:
		for choice := range elements(members(data, "choices")[0]) {
			m := members(choice, "message", "delta")
			for _, message := range m[:2] {
				for block := range elements(members(message, thinkingBlocks)[0]) {
					visitSigned(block, visit)
				}
			}
		}
	}
}

// mayBeSigned is a quick look that most events do not pass. It searches for the part of a name that begins with the letter which answers
// have least of, for the search stops at each.
func (d Dialect) mayBeSigned(data []byte) bool {
	switch d {
	case Messages:
		return bytes.Contains(data, []byte("gnature")) || bytes.Contains(data, []byte("_thinking")) // signature, redacted_thinking
	case Responses:
		return bytes.Contains(data, []byte("_content")) // encrypted_content
	}
	return bytes.Contains(data, []byte("_blocks")) // thinking_blocks
}

// visitSigned visits the signature of a block of thinking, or of an item of reasoning.
func visitSigned(block []byte, visit func(signature []byte)) {
	if signature, thought := signatureOf(block); thought && len(signature) > 0 {
		visit(signature)
	}
}

// signatureOf is what only the maker of a block of thinking takes back: a signature, or the thought itself where it is
// encrypted. A block of the Messages API may lack a signature, if another model's thinking was put into it.
func signatureOf(block []byte) (signature []byte, thought bool) {
	m := members(block, "type", "signature", "data", "encrypted_content")
	switch string(inner(m[0])) {
	case "thinking":
		return unquoted(m[1]), true
	case "redacted_thinking":
		return unquoted(m[2]), true
	case "reasoning":
		return unquoted(m[3]), len(m[3]) > 2
	}
	return nil, false
}

// DropSigned appends a request body without the thinking whose signature keep refuses; it may be empty. Everything else stays byte
// for byte. A turn that held nothing else goes too. loop tells that thinking was taken from the turn whose tool calls are being answered: a
// provider that wants such a turn to begin with its thinking can then not think on. The body is valid JSON.
func (d Dialect) DropSigned(dst, body []byte, keep func(signature []byte) bool) (out []byte, dropped int, loop bool) {
	list := "messages"
	if d == Responses {
		list = "input"
	}
	at, turns := 0, []byte(nil)
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		if v := c.value(); string(key) == list {
			at, turns = c.i-len(v), v
		}
	}
	cut := &cutter{d: d, keep: keep}
	fresh := cut.turns(turns)
	if cut.dropped == 0 {
		return append(dst, body...), 0, false
	}
	dst = append(dst, body[:at]...)
	dst = append(dst, fresh...)
	return append(dst, body[at+len(turns):]...), cut.dropped, cut.loop
}

// cutter takes signed thinking out of a conversation.
type cutter struct {
	d       Dialect
	keep    func([]byte) bool
	dropped int
	loop    bool
}

// refused tells that a block is to go, and counts it.
func (t *cutter) refused(block []byte) bool {
	signature, thought := signatureOf(block)
	if !thought || t.keep(signature) {
		return false
	}
	t.dropped++
	return true
}

// turns rewrites the list of messages or items.
func (t *cutter) turns(list []byte) []byte {
	out := []byte{'['}
	for turn := range elements(list) {
		switch {
		case t.d == Responses:
			if t.refused(turn) {
				continue
			}
		case t.d == Messages:
			turn = t.blocks(turn, "content")
		default:
			turn = t.blocks(turn, "thinking_blocks")
		}
		if turn == nil {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(out, turn...)
	}
	return append(out, ']')
}

// blocks rewrites the blocks of a message; nil if nothing of the message is left.
func (t *cutter) blocks(message []byte, member string) []byte {
	if string(inner(members(message, "role")[0])) == "assistant" {
		t.loop = false // what came before is answered
	}
	list := members(message, member)[0]
	if len(list) == 0 || list[0] != '[' {
		return message
	}
	before, calls := t.dropped, false
	var kept []byte
	for block := range elements(list) {
		if t.refused(block) {
			continue
		}
		calls = calls || string(inner(members(block, "type")[0])) == "tool_use"
		kept = appendElement(kept, block)
	}
	if t.dropped == before {
		return message
	}
	if t.d != Messages {
		calls = !isEmpty(members(message, "tool_calls")[0])
	}
	t.loop = calls
	if t.d == Messages && len(kept) == 0 {
		return nil
	}
	var out, key []byte
	from := 0
	c := cursor{b: message}
	for c.object(); c.member(&key); {
		if v := c.value(); string(key) == member {
			out = append(out, message[from:c.i-len(v)]...)
			out = appendEnclosed(out, '[', kept, ']')
			from = c.i
		}
	}
	return append(out, message[from:]...)
}
