package dialect

import (
	"bytes"
	"strconv"
)

// Result is what the gateway reads of a buffered answer to an operation that is no conversation: embeddings, images,
// moderations, a reranking, a transcription as JSON. What an answer does not tell is zero.
type Result struct {
	Malformed bool // it is not a JSON object. Nothing else is set
	Error     bool // it is an error object; see [ReadError]
	Items     int  // entries of data or results
	HasItems  bool // there is data or results, if empty
	HasText   bool // there is a text
	// Usage is what the provider reports in tokens. Where it tells the total alone, that is the input.
	Usage    Usage
	Seconds  float64 // of audio: of usage, else the duration
	Searches int64   // that a reranking was billed as
}

// ReadResult reads an answer, whichever of the operations it answers.
func ReadResult(body []byte) Result {
	var r Result
	var t tally
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		switch string(key) {
		case "data", "results":
			if c.kind() != '[' {
				c.value()
				continue
			}
			r.HasItems = true
			for c.array(); c.element(); {
				c.value()
				r.Items++
			}
		case "text":
			r.HasText = isString(c.value())
		case "error":
			r.Error = !isNull(c.value())
		case "duration":
			if n := seconds(c.value()); r.Seconds == 0 {
				r.Seconds = n
			}
		case "usage":
			r.usage(c.value())
		case "meta":
			units := members(members(c.value(), "billed_units")[0], "search_units")[0]
			r.Searches, _ = t.count(units)
		default:
			c.value()
		}
	}
	if !c.end() {
		return Result{Malformed: true}
	}
	return r
}

func (r *Result) usage(raw []byte) {
	if len(raw) == 0 || raw[0] != '{' {
		return
	}
	r.Usage = parseOpenAIUsage(raw)
	found := members(raw, "total_tokens", "seconds")
	if !r.Usage.Reported {
		var t tally
		if total, ok := t.count(found[0]); ok {
			r.Usage = Usage{Input: total, Reported: true, Suspect: t.suspect, CostUSD: r.Usage.CostUSD}
		}
	}
	if n := seconds(found[1]); n > 0 {
		r.Seconds = n
	}
}

// seconds reads a length of time, a number or one as a string; 0 if it is none or beyond a week.
func seconds(v []byte) float64 {
	const week = 7 * 24 * 3600
	n, err := strconv.ParseFloat(string(bytes.Trim(v, `"`)), 64)
	if err != nil || !(n > 0 && n <= week) {
		return 0
	}
	return n
}

// SpliceInput is SpliceUsage for answers that have no output tokens: a usage object that has to be made tells the input alone.
func SpliceInput(dst, body []byte, input int64, extra Extra) []byte {
	if v := topMember(body, "usage"); len(v) > 0 && v[0] == '{' {
		return Chat.SpliceUsage(dst, body, Usage{}, extra)
	}
	end := bytes.LastIndexByte(body, '}')
	if end < 0 || ReadResult(body).Malformed || topMember(body, "usage") != nil {
		return append(dst, body...)
	}
	dst = append(dst, body[:end]...)
	if bytes.IndexByte(body, '"') >= 0 { // it has members
		dst = append(dst, ',')
	}
	dst = append(dst, `"usage":{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, input, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = append(strconv.AppendInt(dst, input, 10), ',')
	return append(append(appendExtra(dst, extra), '}'), body[end:]...)
}
