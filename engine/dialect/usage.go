package dialect

import (
	"bytes"
	"cmp"
	"strconv"
)

// MaxTokens is the largest count of tokens that is believed; larger ones are cut to it and flagged.
const MaxTokens = 1_000_000_000

// Usage is what an upstream says a request has used, in the normal form. The parts of a whole do not overlap.
type Usage struct {
	Input         int64 // all prompt tokens, with those read from and written to a prompt cache
	Output        int64 // all completion tokens, with reasoning
	CacheRead     int64 // part of Input
	CacheWrite    int64 // part of Input
	CacheWrite1h  int64 // part of CacheWrite, kept for an hour and dearer
	CacheWrite12h int64 // part of CacheWrite, kept for 12 hours
	AudioInput    int64 // part of Input
	ImageInput    int64 // part of Input
	Reasoning     int64 // part of Output
	AudioOutput   int64 // part of Output
	ImageOutput   int64 // part of Output
	// ServiceTier is the upstream's service that answered: "flex", "priority", "batch", or another name of at most 32 letters,
	// digits, - or _; "" is the standard one.
	ServiceTier string
	// Reported is set if the upstream gave a count of prompt or completion tokens.
	Reported bool
	// Suspect is set if a number was out of range, of the wrong type, inconsistent or decreasing, and has been mended.
	Suspect bool
	// CostUSD is the upstream's own price for the request, a plain decimal with at most nine fractional digits, or "".
	CostUSD string
}

// OpenAIUsage finds the usage object of an OpenAI answer, buffered or a chunk; false if there is none that reports
// tokens. Numbers that make no sense are mended and flagged; a body that is not JSON has no usage.
func OpenAIUsage(body []byte) (Usage, bool) {
	if !bytes.Contains(body, []byte("usage")) && bytes.IndexByte(body, '\\') < 0 {
		return Usage{}, false
	}
	var raw, tier, key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		switch v := c.value(); string(key) {
		case "usage":
			raw = v
		case "service_tier":
			tier = v
		}
	}
	if !c.end() || len(raw) == 0 || raw[0] != '{' {
		return Usage{}, false
	}
	u := parseOpenAIUsage(raw)
	u.ServiceTier = serviceTier(tier)
	return u, u.Reported
}

// serviceTier reads the name of the service that answered.
func serviceTier(v []byte) string {
	name := inner(v)
	switch string(name) {
	case "", "default", "standard", "standard_only", "auto", "on_demand":
		return ""
	case "flex":
		return "flex"
	case "priority", "fast": // OpenAI's two names of one service
		return "priority"
	case "batch":
		return "batch"
	}
	for _, b := range name {
		letter := b|0x20 >= 'a' && b|0x20 <= 'z'
		if !letter && (b < '0' || b > '9') && b != '-' && b != '_' {
			return ""
		}
	}
	if len(name) > 32 {
		return ""
	}
	return string(name)
}

// after is what has been reported once u is, when before was: a stream may report over and over. A count that has become lower
// is not believed.
func (u Usage) after(before Usage) Usage {
	old, counts := before.counts(), u.counts()
	for i, n := range counts {
		if *n < *old[i] {
			*n = *old[i]
			u.Suspect = true
		}
	}
	u.Reported, u.Suspect = u.Reported || before.Reported, u.Suspect || before.Suspect
	u.ServiceTier, u.CostUSD = cmp.Or(u.ServiceTier, before.ServiceTier), cmp.Or(u.CostUSD, before.CostUSD)
	return u
}

// take adds what a stream reports next, unless it says nothing.
func (u *Usage) take(next Usage, reported bool) {
	if reported || next.Suspect {
		*u = next.after(*u)
	}
}

// counts are all of the counts.
func (u *Usage) counts() [11]*int64 {
	return [...]*int64{
		&u.Input, &u.Output, &u.CacheRead, &u.CacheWrite, &u.CacheWrite1h, &u.CacheWrite12h, &u.AudioInput, &u.ImageInput,
		&u.Reasoning, &u.AudioOutput, &u.ImageOutput,
	}
}

// AnthropicUsage finds the usage object of a buffered Anthropic answer, see [OpenAIUsage].
func AnthropicUsage(body []byte) (Usage, bool) {
	raw := topMember(body, "usage")
	if len(raw) == 0 || raw[0] != '{' {
		return Usage{}, false
	}
	var n anthropicCounts
	n.merge(raw)
	u := n.usage()
	return u, u.Reported
}

// topMember returns the value of the last top-level member of that name, nil if there is none or body is not an object.
func topMember(body []byte, name string) (found []byte) {
	var key []byte
	c := cursor{b: body}
	for c.object(); c.member(&key); {
		if v := c.value(); string(key) == name {
			found = v
		}
	}
	if !c.end() {
		return nil
	}
	return found
}

// tally reads counts and remembers whether any was senseless.
type tally struct {
	suspect bool
	priced  bool // there is a member that SpliceUsage replaces
}

// count reads one number of tokens; ok is false if there is none.
func (t *tally) count(v []byte) (n int64, ok bool) {
	if isNull(v) {
		return 0, false
	}
	if n, ok := digits(v); ok && n <= MaxTokens {
		return n, true
	}
	if v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		t.suspect = true
		return 0, false
	}
	f, err := strconv.ParseFloat(string(v), 64)
	switch {
	case f < 0:
		t.suspect = true
		return 0, true
	case err != nil || f > MaxTokens:
		t.suspect = true
		return MaxTokens, true
	}
	n = int64(f)
	if float64(n) != f {
		t.suspect = true
		n++ // a part of a token counts as one
	}
	return n, true
}

// digits reads a number that has nothing but digits, and no more of them than every int64 of so many can have.
func digits(v []byte) (n int64, ok bool) {
	for _, b := range v {
		if b-'0' > 9 {
			return 0, false
		}
		n = 10*n + int64(b-'0')
	}
	return n, len(v) <= 18
}

// within cuts a part to its whole.
func (t *tally) within(part, whole int64) int64 {
	if part > whole {
		t.suspect = true
		return whole
	}
	return part
}

func parseOpenAIUsage(raw []byte) Usage {
	var t tally
	return t.openAI(raw)
}

// openAI reads an OpenAI usage object.
func (t *tally) openAI(raw []byte) (u Usage) {
	var total int64
	var hasIn, hasOut, hasTotal bool
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		switch string(key) {
		case "prompt_tokens":
			u.Input, hasIn = t.count(c.value())
		case "completion_tokens":
			u.Output, hasOut = t.count(c.value())
		case "input_tokens": // the names of the Responses API
			if n, ok := t.count(c.value()); ok && !hasIn {
				u.Input, hasIn = n, true
			}
		case "output_tokens":
			if n, ok := t.count(c.value()); ok && !hasOut {
				u.Output, hasOut = n, true
			}
		case "total_tokens":
			total, hasTotal = t.count(c.value())
		case "prompt_cache_hit_tokens": // DeepSeek
			if n, ok := t.count(c.value()); ok {
				u.CacheRead = n
			}
		case "prompt_tokens_details", "input_tokens_details", "input_token_details": // the last of transcriptions
			t.details(&c, &u, &u.AudioInput, &u.ImageInput)
		case "completion_tokens_details", "output_tokens_details", "output_token_details":
			t.details(&c, &u, &u.AudioOutput, &u.ImageOutput)
		case "cost":
			t.priced = true
			u.CostUSD = t.cost(c.value())
		case "credits", "is_byok":
			t.priced = true
			c.value()
		default:
			c.value()
		}
	}
	u.Reported = hasIn || hasOut
	// Some providers count reasoning beside the completion; only the total tells.
	if hasTotal && u.Reasoning > 0 && total == u.Input+u.Output+u.Reasoning {
		u.Output += u.Reasoning
	}
	if hasTotal && hasIn && total != u.Input+u.Output {
		t.suspect = true
	}
	t.parts(&u)
	return u
}

// parts cuts the parts of a usage to what they are parts of.
func (t *tally) parts(u *Usage) {
	if kept := u.CacheWrite1h + u.CacheWrite12h; kept > u.CacheWrite {
		u.CacheWrite = kept
		t.suspect = true
	}
	u.CacheRead = t.within(u.CacheRead, u.Input)
	u.CacheWrite = t.within(u.CacheWrite, u.Input-u.CacheRead)
	u.CacheWrite12h = t.within(u.CacheWrite12h, u.CacheWrite)
	u.CacheWrite1h = t.within(u.CacheWrite1h, u.CacheWrite-u.CacheWrite12h)
	u.Reasoning = t.within(u.Reasoning, u.Output)
	// Audio that came from a cache is reported as both, so these may overlap with the parts above. They count once.
	u.AudioInput = min(t.within(u.AudioInput, u.Input), u.Input-u.CacheRead-u.CacheWrite)
	u.ImageInput = min(t.within(u.ImageInput, u.Input), u.Input-u.CacheRead-u.CacheWrite-u.AudioInput)
	u.AudioOutput = min(t.within(u.AudioOutput, u.Output), u.Output-u.Reasoning)
	u.ImageOutput = min(t.within(u.ImageOutput, u.Output), u.Output-u.Reasoning-u.AudioOutput)
	u.Suspect = t.suspect
}

// details reads one of the objects that break a count down.
func (t *tally) details(c *cursor, u *Usage, audio, image *int64) {
	if c.kind() != '{' {
		t.suspect = t.suspect || !isNull(c.value())
		return
	}
	var key []byte
	for c.object(); c.member(&key); {
		into := (*int64)(nil)
		switch string(key) {
		case "cached_tokens":
			into = &u.CacheRead
		case "cache_write_tokens":
			into = &u.CacheWrite
		case "cache_write_tokens_details":
			t.durations(c.value(), "ttl_1h_tokens", "ttl_12h_tokens", u)
			continue
		case "reasoning_tokens":
			into = &u.Reasoning
		case "audio_tokens":
			into = audio
		case "image_tokens":
			into = image
		}
		v := c.value()
		if into == nil {
			continue
		}
		if n, ok := t.count(v); ok {
			*into = n
		}
	}
}

// durations reads how long written tokens are kept.
func (t *tally) durations(v []byte, hour, longer string, u *Usage) {
	m := members(v, hour, longer)
	u.CacheWrite1h, _ = t.count(m[0])
	u.CacheWrite12h, _ = t.count(m[1])
}

// cost turns an upstream's price into a plain decimal; "" if it is none.
func (t *tally) cost(v []byte) string {
	if isNull(v) {
		return ""
	}
	const dearest = 1e6 // dollars for one request
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < 0 || f > dearest {
		t.suspect = true
		return ""
	}
	text := strconv.FormatFloat(f, 'f', 9, 64)
	text = string(bytes.TrimRight([]byte(text), "0"))
	return string(bytes.TrimSuffix([]byte(text), []byte(".")))
}

// anthropicCounts are the counts of Anthropic's usage object, which a stream reports cumulatively and in parts.
type anthropicCounts struct {
	tally
	input, output, read, write, write1h, write12h, thinking int64
	audioIn, imageIn, audioOut, imageOut                    int64 // not Anthropic's: of a translated answer
	reported                                                bool
	tier                                                    string
	costUSD                                                 string // not Anthropic's: a router's that speaks the dialect
}

// merge takes over one usage object. A count never decreases.
func (n *anthropicCounts) merge(raw []byte) {
	var key []byte
	c := cursor{b: raw}
	for c.object(); c.member(&key); {
		switch string(key) {
		case "input_tokens":
			n.reported = n.raise(&n.input, c.value()) || n.reported
		case "output_tokens":
			n.reported = n.raise(&n.output, c.value()) || n.reported
		case "cache_read_input_tokens":
			n.raise(&n.read, c.value())
		case "cache_creation_input_tokens":
			n.raise(&n.write, c.value())
		case "cost":
			if cost := n.cost(c.value()); cost != "" {
				n.costUSD = cost
			}
		case "cache_creation":
			m := members(c.value(), "ephemeral_1h_input_tokens", "ephemeral_12h_input_tokens")
			n.raise(&n.write1h, m[0])
			n.raise(&n.write12h, m[1])
		case "input_tokens_details":
			m := members(c.value(), "audio_tokens", "image_tokens")
			n.raise(&n.audioIn, m[0])
			n.raise(&n.imageIn, m[1])
		case "output_tokens_details":
			m := members(c.value(), "thinking_tokens", "audio_tokens", "image_tokens")
			n.raise(&n.thinking, m[0])
			n.raise(&n.audioOut, m[1])
			n.raise(&n.imageOut, m[2])
		case "service_tier":
			n.tier = serviceTier(c.value())
		default:
			c.value()
		}
	}
}

func (n *anthropicCounts) raise(to *int64, v []byte) bool {
	m, ok := n.count(v)
	if !ok {
		return false
	}
	if m < *to {
		n.suspect = true
		return true
	}
	*to = m
	return true
}

// usage is the normal form of the counts.
func (n *anthropicCounts) usage() Usage {
	t := n.tally
	u := Usage{
		Input:         n.input + n.read + max(n.write, n.write1h+n.write12h),
		Output:        n.output,
		CacheRead:     n.read,
		CacheWrite:    n.write,
		CacheWrite1h:  n.write1h,
		CacheWrite12h: n.write12h,
		AudioInput:    n.audioIn,
		ImageInput:    n.imageIn,
		Reasoning:     n.thinking,
		AudioOutput:   n.audioOut,
		ImageOutput:   n.imageOut,
		ServiceTier:   n.tier,
		Reported:      n.reported,
		CostUSD:       n.costUSD,
	}
	t.parts(&u)
	return u
}
