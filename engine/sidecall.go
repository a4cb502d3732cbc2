package engine

import (
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
)

// defaultAskOutput is the output of a side call, in tokens, where the plan does not say.
const defaultAskOutput = 64

// prepareSideCall makes the call that a plan of abi.KindAsk wants: its instruction as the system message, and what it is
// about as the user's. It goes to providers like a client's call that is not streamed, on the client's account and hold.
func (e *Engine) prepareSideCall(c *call) *Fault {
	about := []byte(nil)
	if c.plan.AskInput != abi.AskAnswer {
		about = c.env.AppendPrompt(nil, c.body, abi.MaxText)
	}
	if c.plan.AskInput == abi.AskBoth {
		about = append(append([]byte("Request:\n"), about...), "\n\nAnswer:\n"...)
	}
	if c.plan.AskInput != abi.AskPrompt {
		about = append(about, cutText(c.kept.said.Text, abi.MaxText)...)
	}
	output := uint64(c.plan.AskOutput)
	if output == 0 {
		output = defaultAskOutput
	}
	body := []byte(`{"messages":[{"role":"system","content":`)
	body = appendJSON(body, c.plan.Ask)
	body = append(body, `},{"role":"user","content":`...)
	body = appendJSON(body, about)
	body = append(body, `}],"max_completion_tokens":`...)
	body = append(strconv.AppendUint(body, output, 10), '}')
	side := &call{id: c.id, began: c.began, caller: c.caller, body: body, parent: c, snap: c.snap, among: c.among, req: c.req, halted: c.halted}
	if err := side.env.Parse(envelope.FormChat, body, envelope.DefaultLimits()); err != nil {
		return fromEnvelope(err)
	}
	c.side = side
	return nil
}

func appendJSON(dst, text []byte) []byte {
	quoted, err := json.Marshal(string(text))
	if err != nil { // strings always encode
		return append(dst, `""`...)
	}
	return append(dst, quoted...)
}

// cutText is the beginning of a text, cut between characters.
func cutText(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}
