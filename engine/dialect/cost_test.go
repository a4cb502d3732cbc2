package dialect

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/sse"
)

// priced is a usage as the price function takes it.
func priced(u Usage) catalog.Usage {
	return catalog.Usage{
		Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, CacheWrite1h: u.CacheWrite1h, CacheWrite12h: u.CacheWrite12h,
		AudioInput: u.AudioInput, ImageInput: u.ImageInput, Reasoning: u.Reasoning, AudioOutput: u.AudioOutput, ImageOutput: u.ImageOutput,
		ServiceTier: u.ServiceTier,
	}
}

// dearPrice has a rate of its own for each kind of token and service, none a multiple of another.
func dearPrice() catalog.Price {
	p := catalog.Price{Sets: []catalog.Set{{ServiceTier: "flex"}, {ServiceTier: "priority"}}}
	for k := range p.Rates {
		n := int64(k)
		p.Rates[k], p.Sets[0].Rates[k], p.Sets[1].Rates[k] = 1_000_003+n*7_001, 500_009+n*3_001, 2_000_003+n*9_001
	}
	return p
}

// answerWith is an answer of a dialect, buffered or as the events of a stream, that reports u.
func answerWith(d Dialect, u Usage) (body []byte, events []byte) {
	usage, tier := d.appendCounts(nil, u), cmp.Or(u.ServiceTier, "default")
	add := func(format string, args ...any) {
		events = sse.AppendEvent(events, "", fmt.Appendf(nil, format, args...))
	}
	switch d {
	case Messages:
		usage = append(usage, `,"service_tier":"`+cmp.Or(u.ServiceTier, "standard")+`"}`...)
		body = fmt.Appendf(nil, `{"type":"message","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":%s}`, usage)
		first := u
		first.Output, first.Reasoning, first.AudioOutput, first.ImageOutput = min(u.Output, 1), 0, 0, 0
		add(`{"type":"message_start","message":{"content":[],"usage":%s}}`, append(d.appendCounts(nil, first), '}'))
		add(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
		add(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`)
		add(`{"type":"content_block_stop","index":0}`)
		add(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":%s}`, usage)
		add(`{"type":"message_stop"}`)
	case Responses:
		body = fmt.Appendf(nil, `{"object":"response","status":"completed","service_tier":%q,"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"x"}]}],"usage":%s}}`, tier, usage)
		add(`{"type":"response.created","response":{"status":"in_progress","usage":null}}`)
		add(`{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"x"}`)
		add(`{"type":"response.completed","response":%s}`, body)
	default:
		body = fmt.Appendf(nil, `{"service_tier":%q,"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":%s}}`, tier, usage)
		add(`{"service_tier":%q,"choices":[{"index":0,"delta":{"role":"assistant","content":"x"}}],"usage":null}`, tier)
		add(`{"service_tier":%q,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`, tier)
		add(`{"service_tier":%q,"choices":[],"usage":%s}}`, tier, usage)
		events = append(events, "data: [DONE]\n\n"...)
	}
	return body, events
}

// metered is what the events of a stream report.
func metered(t *testing.T, d Dialect, stream io.Reader) Usage {
	t.Helper()
	var m Meter
	for r := sse.NewReader(stream, 0); ; {
		ev, err := r.Next()
		if err != nil {
			return m.Usage()
		}
		if ev.Data != nil && d.Inspect(ev.Data).Usage {
			m.Add(d, ev.Data)
		}
	}
}

// P05: whatever an answer has used, it costs the same in each dialect, from each dialect, buffered and streamed.
func TestP05DialectsDoNotChangeTheCost(t *testing.T) {
	price, r := dearPrice(), rand.New(rand.NewPCG(7, 8))
	cost := func(u Usage) int64 { n, _ := price.Cost(priced(u)); return int64(n) }
	part := func(of int64) int64 { return r.Int64N(of+1) * r.Int64N(2) }
	for range 500 {
		u := Usage{Input: r.Int64N(1 << r.IntN(28)), Output: r.Int64N(1 << r.IntN(28)), ServiceTier: []string{"", "flex", "priority"}[r.IntN(3)], Reported: true}
		u.CacheRead = part(u.Input)
		u.CacheWrite = part(u.Input - u.CacheRead)
		u.CacheWrite12h = part(u.CacheWrite)
		u.CacheWrite1h = part(u.CacheWrite - u.CacheWrite12h)
		u.AudioInput = part(u.Input - u.CacheRead - u.CacheWrite)
		u.ImageInput = part(u.Input - u.CacheRead - u.CacheWrite - u.AudioInput)
		u.Reasoning = part(u.Output)
		u.AudioOutput = part(u.Output - u.Reasoning)
		u.ImageOutput = part(u.Output - u.Reasoning - u.AudioOutput)
		for _, from := range []Dialect{Chat, Messages, Responses} {
			body, events := answerWith(from, u)
			if got, _ := from.Usage(body); got != u || metered(t, from, bytes.NewReader(events)) != u {
				t.Fatalf("%v: %+v is read as %+v", from, u, got)
			}
			for _, to := range []Dialect{Chat, Messages, Responses} {
				if from == to {
					continue
				}
				out, source, err := TranslateAnswer(from, to, nil, body, AnswerOptions{})
				got, _ := to.Usage(out)
				if err != nil || cost(got) != cost(u) || cost(source) != cost(u) {
					t.Fatalf("%v to %v: %+v became %+v, %v", from, to, u, got, err)
				}
				stream := TranslateStream(from, to, bytes.NewReader(events), AnswerOptions{})
				if got := metered(t, to, stream); cost(got) != cost(u) || cost(stream.Usage()) != cost(u) {
					t.Fatalf("%v to %v, streamed: %+v became %+v of %+v", from, to, u, got, stream.Usage())
				}
			}
		}
	}
}

// TestP05GoldenVectors prices usage objects as providers send them at published prices. The sums were worked out by hand.
func TestP05GoldenVectors(t *testing.T) {
	text, err := os.ReadFile("testdata/costs.tsv")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := catalog.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	prices := map[string]catalog.Price{}
	for _, e := range entries {
		prices[e.Name] = e.Deployments[0].Price
	}
	vectors := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		cell := strings.Split(line, "\t")
		if len(cell) != 6 {
			t.Fatalf("%d columns: %s", len(cell), line)
		}
		name, model, dialect, tier, usage, want := cell[0], cell[1], cell[2], cell[3], cell[4], cell[5]
		price, ok := prices[model]
		if rates, own := strings.CutPrefix(model, "usd_per_1m "); own {
			price, ok = priceOf(t, rates), true
		}
		if !ok {
			t.Fatalf("%s: no price of %s", name, model)
		}
		d, body := Chat, `{"service_tier":"`+tier+`","choices":[{"delta":{}}],"usage":`+usage+`}`
		event := body
		switch dialect {
		case "messages":
			d, body = Messages, `{"type":"message","content":[],"usage":`+usage+`}`
			event = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":` + usage + `}`
		case "responses":
			d, event = Responses, `{"type":"response.completed","response":`+body+`}`
		}
		u, _ := d.Usage([]byte(body))
		var m Meter
		m.Add(d, []byte(event))
		for _, u := range []Usage{u, m.Usage()} {
			cost, lack := price.Cost(priced(u))
			if got := cost.String(); got != want || lack != 0 || u.Suspect {
				t.Errorf("%s: %s costs %s, want %s; lacking %q", name, usage, got, want, lack)
			}
		}
		vectors++
	}
	if vectors < 15 {
		t.Errorf("only %d vectors", vectors)
	}
}

// priceOf reads "in=3 out=15".
func priceOf(t *testing.T, text string) (p catalog.Price) {
	t.Helper()
	for pair := range strings.FieldsSeq(text) {
		name, rate, _ := strings.Cut(pair, "=")
		for k, known := range catalog.RateNames() {
			if known == name {
				n, err := catalog.ParseRate(rate)
				if err != nil {
					t.Fatal(err)
				}
				p.Rates[k] = n
			}
		}
	}
	return p
}

// P36: a stream that reports over and over may not take back what it has reported.
func TestP36DecreasingCounts(t *testing.T) {
	for d, events := range map[Dialect][]string{
		Chat: {
			`{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}`,
			`{"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":0}}}`,
		},
		Messages: {
			`{"type":"message_start","message":{"usage":{"input_tokens":6,"cache_read_input_tokens":4,"output_tokens":5}}}`,
			`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}`,
		},
		Responses: {
			`{"type":"response.in_progress","response":{"usage":{"input_tokens":10,"input_tokens_details":{"cached_tokens":4},"output_tokens":5}}}`,
			`{"type":"response.completed","response":{"usage":{"input_tokens":10,"output_tokens":0}}}`,
		},
	} {
		var m Meter
		for _, e := range events {
			m.Add(d, []byte(e))
		}
		if want := (Usage{Input: 10, Output: 5, CacheRead: 4, Reported: true, Suspect: true}); m.Usage() != want {
			t.Errorf("%v: %+v", d, m.Usage())
		}
	}
}

func TestServiceTier(t *testing.T) {
	for tier, want := range map[string]string{
		`"default"`: "", `"standard"`: "", `"auto"`: "", `"on_demand"`: "", `null`: "", `7`: "", `""`: "", `"flex"`: "flex", `"priority"`: "priority", `"fast"`: "priority", `"batch"`: "batch",
		`"scale"`: "scale", `"a b"`: "", `"\u0041"`: "", strconv.Quote(strings.Repeat("x", 33)): "",
	} {
		if got := serviceTier([]byte(tier)); got != want {
			t.Errorf("%s is %q", tier, got)
		}
	}
}
