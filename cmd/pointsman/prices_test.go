package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/tokens"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// fullPrice is the prices of a deployment, each rate another.
const fullPrice = `
usd_in_per_1m = 3
usd_out_per_1m = 15
usd_cache_read_per_1m = 0.3
usd_cache_write_per_1m = 3.75
usd_cache_write_1h_per_1m = 6
usd_reasoning_per_1m = 16
[[models.deployments.prices]]
above = 1000
usd_in_per_1m = 6
usd_out_per_1m = 22.5
[[models.deployments.prices]]
service_tier = "priority"
usd_in_per_1m = 6
usd_out_per_1m = 30
usd_cache_read_per_1m = 0.6
usd_cache_write_per_1m = 7.5
usd_cache_write_1h_per_1m = 12
usd_reasoning_per_1m = 32
`

// The usage of 700 input tokens, 300 of them read and 200 written, 50 of these for an hour, and of 90 output tokens, 40 of them
// reasoning, which the priority service answered: in each dialect. At fullPrice it costs 200*6 + 300*0.6 + 150*7.5 + 50*12 + 50*30 + 40*32
// millionths of a dollar.
func pricedUsage(kind dialect.Dialect) (usage, tier string) {
	switch kind {
	case dialect.Messages:
		return `{"input_tokens":200,"cache_read_input_tokens":300,"cache_creation_input_tokens":200,"cache_creation":{"ephemeral_5m_input_tokens":150,"ephemeral_1h_input_tokens":50},` +
			`"output_tokens":90,"output_tokens_details":{"thinking_tokens":40},"service_tier":"priority"}`, ""
	case dialect.Responses:
		return `{"input_tokens":700,"input_tokens_details":{"cached_tokens":300,"cache_write_tokens":200,"cache_write_tokens_details":{"ttl_30m_tokens":150,"ttl_1h_tokens":50}},` +
			`"output_tokens":90,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":790}`, `"service_tier":"priority",`
	}
	return `{"prompt_tokens":700,"completion_tokens":90,"total_tokens":790,"prompt_tokens_details":{"cached_tokens":300,"cache_write_tokens":200,"cache_write_tokens_details":{"ttl_1h_tokens":50}},` +
		`"completion_tokens_details":{"reasoning_tokens":40}}`, `"service_tier":"priority",`
}

const (
	pricedCost   = "0.005885"
	pricedTokens = 790
)

// pricedReply answers in the provider's dialect with that usage.
func pricedReply(kind dialect.Dialect, usage, tier string) func(*scripted.Request) *scripted.Reply {
	return func(r *scripted.Request) *scripted.Reply {
		var body string
		var chunks [][]byte
		switch kind {
		case dialect.Messages:
			body = `{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":` + usage + `}`
			chunks = named(
				`{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","content":[],"usage":{"input_tokens":200,"cache_read_input_tokens":300,"output_tokens":1}}}`,
				`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`,
				`{"type":"content_block_stop","index":0}`, `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":`+usage+`}`, `{"type":"message_stop"}`,
			)
		case dialect.Responses:
			item := `{"type":"message","id":"i","role":"assistant","status":"completed","content":[{"type":"output_text","text":"x"}]}`
			body = `{"id":"r","object":"response","status":"completed",` + tier + `"output":[` + item + `],"usage":` + usage + `}`
			chunks = named(
				`{"type":"response.created","response":{"id":"r","object":"response","status":"in_progress","output":[]}}`,
				`{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"i","role":"assistant","status":"in_progress","content":[]}}`,
				`{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"x"}`,
				`{"type":"response.output_item.done","output_index":0,"item":`+item+`}`, `{"type":"response.completed","response":`+body+`}`,
			)
		default:
			body = `{"id":"c","object":"chat.completion",` + tier + `"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":` + usage + `}`
			chunks = events(
				`{`+tier+`"choices":[{"index":0,"delta":{"role":"assistant","content":"x"}}]}`, `{`+tier+`"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
				`{`+tier+`"choices":[],"usage":`+usage+`}`, `[DONE]`,
			)
		}
		if r.Stream {
			return &scripted.Reply{Chunks: chunks}
		}
		return &scripted.Reply{Body: []byte(body)}
	}
}

// named is events with their types as names.
func named(payloads ...string) (chunks [][]byte) {
	for _, p := range payloads {
		chunks = append(chunks, fmt.Appendf(nil, "event: %s\ndata: %s\n\n", dialect.Responses.EventName([]byte(p)), p))
	}
	return chunks
}

var (
	toldCost    = regexp.MustCompile(`"cost":([0-9.]+)`)
	toldCredits = regexp.MustCompile(`"credits":"([0-9.]+)"`)
)

// recount is what a usage record costs by the prices that it names, as the operator can look them up.
func recount(t *testing.T, g *testGateway, u map[string]any) string {
	t.Helper()
	var kept struct {
		Price struct {
			USDPer1M map[string]string `json:"usd_per_1m"`
			Sets     []struct {
				ServiceTier string            `json:"service_tier"`
				Above       uint32            `json:"price_above"`
				USDPer1M    map[string]string `json:"usd_per_1m"`
			}
		}
	}
	if err := g.admin.call("GET", fmt.Sprint("/api/v1/admin/prices/", u["price_version"]), nil, &kept); err != nil {
		t.Fatal(err)
	}
	var price catalog.Price
	add := func(tier string, above uint32, texts map[string]string) {
		set := catalog.Set{ServiceTier: tier, Above: above}
		for k, name := range catalog.RateNames() {
			if texts[name] != "" {
				n, err := catalog.ParseRate(texts[name])
				if err != nil {
					t.Fatal(err)
				}
				set.Rates[k] = n
			}
		}
		price.Add(set)
	}
	add("", 0, kept.Price.USDPer1M)
	for _, s := range kept.Price.Sets {
		add(s.ServiceTier, s.Above, s.USDPer1M)
	}
	count := func(name string) int64 { n, _ := u[name].(float64); return int64(n) }
	tier, _ := u["service_tier"].(string)
	cost, _ := price.Cost(catalog.Usage{
		Input: count("input_tokens"), Output: count("output_tokens"), CacheRead: count("cached_tokens"), CacheWrite: count("cache_write_tokens"),
		CacheWrite1h: count("cache_write_1h_tokens"), CacheWrite12h: count("cache_write_12h_tokens"), AudioInput: count("audio_input_tokens"),
		ImageInput: count("image_input_tokens"), Reasoning: count("reasoning_tokens"), AudioOutput: count("audio_output_tokens"), ImageOutput: count("image_output_tokens"),
		ServiceTier: tier,
	})
	return cost.String()
}

// P05, P16: the price is one number wherever it is told: the header, the answer, the ledger, the record and its sums. It is the same
// for each dialect of the provider and of the client, streamed and buffered, and follows from the prices that the record names.
func TestP05OnePriceEverywhere(t *testing.T) {
	t.Parallel()
	for kind := range upstreamKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			for tariff, credits := range map[string]string{
				"": "0.00158", // 790 tokens at 0.002
				"[tariff]\nkind = \"cost_plus\"\ncredits_per_usd = 7\n": "0.074151", // 0.005885 * 7 * 1.8
			} {
				up, toml := upstreams(t, 1)
				toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", fullPrice, 1)
				toml = strings.ReplaceAll(toml, "adapter = \"openai\"", upstreamKinds()[kind])
				if tariff != "" {
					toml = strings.Replace(toml, "credits_per_1k = 0.002\n", "", 1)
				}
				g := newGateway(t, toml+tariff, nil)
				usage, tier := pricedUsage(kind)
				up[0].Script(pricedReply(kind, usage, tier))
				charge, err := storage.ParseCredits(credits)
				if err != nil {
					t.Fatal(err)
				}
				requests := 0
				for path := range inboundPaths() {
					for _, stream := range []bool{false, true} {
						body := inDialect(path, "m", "x", stream)
						if path == "/v1/completions" {
							body = fmt.Sprintf(`{"model":"m","max_tokens":50,"stream":%v,"stream_options":{"include_usage":true},"prompt":"x"}`, stream)
						} else if path == chatPath && stream {
							body = strings.Replace(body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
						}
						where := fmt.Sprintf("%s, stream %v, %q", path, stream, tariff)
						resp, text := g.api.post(t, path, []byte(body))
						requests++
						u := g.api.lastUsage(t)
						told, paid := toldCost.FindStringSubmatch(text), toldCredits.FindStringSubmatch(text)
						if resp.StatusCode != 200 || told == nil || paid == nil || told[1] != pricedCost || paid[1] != credits {
							t.Fatalf("%s: %d %s", where, resp.StatusCode, text)
						}
						if !stream && (resp.Header.Get("X-Pointsman-Cost-Usd") != pricedCost || resp.Header.Get("X-Pointsman-Credits") != credits) {
							t.Errorf("%s: header %v", where, resp.Header)
						}
						if u["cost_usd"] != pricedCost || u["cost_listed_usd"] != pricedCost || u["credits"] != credits || u["service_tier"] != "priority" ||
							u["cache_write_tokens"] != 200.0 || u["cache_write_1h_tokens"] != 50.0 || u["suspect"] != true && u["suspect"] != nil {
							t.Errorf("%s: record %v", where, u)
						}
						if got := recount(t, g, u); got != pricedCost {
							t.Errorf("%s: by the prices of its record it costs %s", where, got)
						}
						if left := 1000*storage.CreditsPerCredit - charge*storage.Credits(requests); g.api.balance(t) != left.String() {
							t.Errorf("%s: balance %s, want %s", where, g.api.balance(t), left)
						}
					}
				}
				// The sums over all records are those of the ledger.
				var page struct {
					Data []struct{ Credits, Cost_usd string } //nolint:revive // as the API names it
				}
				if err := g.api.call("GET", "/api/v1/llm/usage?limit=1000", nil, &page); err != nil {
					t.Fatal(err)
				}
				sum, cost := storage.Credits(0), storage.NanoUSD(0)
				for _, r := range page.Data {
					n, _ := storage.ParseCredits(r.Credits)
					c, _ := storage.ParseNanoUSD(r.Cost_usd)
					sum, cost = sum+n, cost+c
				}
				if want, _ := storage.ParseNanoUSD(pricedCost); len(page.Data) != requests || sum != charge*storage.Credits(requests) || cost != want*storage.NanoUSD(requests) {
					t.Errorf("%d records of %d sum up to %s credits and %s dollars", len(page.Data), requests, sum, cost)
				}
			}
		})
	}
}

// count is how often a text is in the log so far.
func (e *evidence) count(text string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Count(e.log.Bytes(), []byte(text))
}

// metric is the value of a metric, 0 if it is not there.
func (g *testGateway) metric(t *testing.T, name string) float64 {
	t.Helper()
	_, text := g.admin.send(t, http.MethodGet, "/metrics", nil)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// P16: what nobody has priced is counted and told each time it serves, and its record says so.
func TestP16UnpricedIsNeverSilent(t *testing.T) {
	for how, cost := range map[string]string{"free": "0", "default": "0.00011"} {
		_, toml := upstreams(t, 1)
		toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", "", 1)
		toml += "[prices]\nunpriced = \"" + how + "\"\n[prices.default]\nusd_in_per_1m = 1\nusd_out_per_1m = 5\n"
		g := newGateway(t, toml, nil)
		log := g.evidence
		for n := 1; n <= 3; n++ {
			resp, body := g.api.post(t, chatPath, ask("m"))
			u := g.api.lastUsage(t)
			if resp.StatusCode != 200 || u["cost_usd"] != cost || u["credits"] == "0" {
				t.Fatalf("%s: %d %s: %v", how, resp.StatusCode, body, u)
			}
			if got := g.metric(t, `pointsman_unpriced_answers_total{model="m",as="`+how+`"}`); got != float64(n) {
				t.Errorf("%s: counted %v of %d", how, got, n)
			}
			if got := log.count("an answer of a deployment without prices"); got != n {
				t.Errorf("%s: told %d times of %d", how, got, n)
			}
			var kept struct{ Price struct{ Unpriced string } }
			if err := g.admin.call("GET", fmt.Sprint("/api/v1/admin/prices/", u["price_version"]), nil, &kept); err != nil || kept.Price.Unpriced != how {
				t.Errorf("%s: %+v, %v", how, kept, err)
			}
		}
	}
}

// P05: cached tokens and services without a price are priced as others, and that is counted each time and told once an hour.
func TestP05IncompletePricesAreTold(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	log := g.evidence
	for n := 1; n <= 3; n++ {
		up[0].Script(pricedReply(dialect.Chat, `{"prompt_tokens":100,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":40,"cache_write_tokens":20}}`, `"service_tier":"scale",`))
		if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		if u := g.api.lastUsage(t); u["cost_usd"] != "0.00012" || u["service_tier"] != "scale" {
			t.Errorf("record %v", u)
		}
		if got := g.metric(t, `pointsman_incomplete_prices_total{model="m",provider="up0"}`); got != float64(n) {
			t.Errorf("counted %v of %d", got, n)
		}
	}
	if n := log.count(`lacking="cache_read, cache_write, service_tier"`); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// P36: numbers that make no sense cost no more than the model could read and write, and are flagged. The ledger of everybody is whole.
func TestP36HostileUsage(t *testing.T) {
	const window = 1000
	up, toml := upstreams(t, 1)
	toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", fullPrice, 1)
	g := newGateway(t, strings.Replace(toml, "context_window = 128000", fmt.Sprint("context_window = ", window), 1), nil)
	other := g.account("other")
	most := storage.Credits(2 * window * 2_000 / 1_000)
	n := 0
	for name, usage := range map[string]string{
		"negative":                  `{"prompt_tokens":-5,"completion_tokens":-7,"total_tokens":-12}`,
		"huge":                      `{"prompt_tokens":1e18,"completion_tokens":1e18,"total_tokens":2e18}`,
		"beyond int64":              `{"prompt_tokens":99999999999999999999,"completion_tokens":1e999}`,
		"fraction":                  `{"prompt_tokens":7.5,"completion_tokens":0.1}`,
		"NaN as text":               `{"prompt_tokens":"NaN","completion_tokens":"7"}`,
		"other types":               `{"prompt_tokens":true,"completion_tokens":[7]}`,
		"total is not the sum":      `{"prompt_tokens":10,"completion_tokens":10,"total_tokens":7}`,
		"parts beyond the whole":    `{"prompt_tokens":10,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":1e9,"cache_write_tokens":1e9},"completion_tokens_details":{"reasoning_tokens":1e9}}`,
		"parts of a huge whole":     `{"prompt_tokens":1e9,"completion_tokens":10,"prompt_tokens_details":{"cache_write_tokens":1e9,"cache_write_tokens_details":{"ttl_1h_tokens":1e9}}}`,
		"more than the limit":       `{"prompt_tokens":10,"completion_tokens":900}`,
		"a price that is negative":  `{"prompt_tokens":10,"completion_tokens":10,"cost":-1}`,
		"a price that is no number": `{"prompt_tokens":10,"completion_tokens":10,"cost":"NaN"}`,
		"a price beyond everything": `{"prompt_tokens":10,"completion_tokens":10,"cost":1e300}`,
	} {
		for _, stream := range []bool{false, true} {
			up[0].Script(pricedReply(dialect.Chat, usage, ""))
			before := parsed(t, g.api.balance(t))
			resp, body := g.api.post(t, chatPath, ask("m", "stream", stream))
			n++
			u := g.api.lastUsage(t)
			credits, cost := parsed(t, u["credits"].(string)), parsed(t, u["cost_usd"].(string))
			if resp.StatusCode != 200 || u["suspect"] != true {
				t.Errorf("%s, stream %v: %d %s: %v", name, stream, resp.StatusCode, body, u)
			}
			if credits < 0 || credits > most || before-parsed(t, g.api.balance(t)) != credits {
				t.Errorf("%s, stream %v: charged %s, balance %s after %s", name, stream, credits, g.api.balance(t), before)
			}
			if limit := storage.Credits(window*6 + window*16); cost < 0 || cost > limit { // at the dearest rates, in millionths of a dollar
				t.Errorf("%s, stream %v: costs %s", name, stream, cost)
			}
		}
	}
	// A stream that takes back what it has reported.
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		return &scripted.Reply{Chunks: events(
			`{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":50,"completion_tokens":20}}`,
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2}}`, `[DONE]`)}
	})
	if resp, body := g.api.post(t, chatPath, ask("m", "stream", true)); resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	if u := g.api.lastUsage(t); u["input_tokens"] != 50.0 || u["output_tokens"] != 20.0 || u["suspect"] != true {
		t.Errorf("record %v", u)
	}
	if got := g.metric(t, `pointsman_suspect_usage_total{provider="up0",model="m"}`); got != float64(n+1) {
		t.Errorf("%v of %d are counted", got, n+1)
	}
	if got := other.balance(t); got != "1000" {
		t.Errorf("another account has %s", got)
	}
}

func parsed(t *testing.T, text string) storage.Credits {
	t.Helper()
	n, err := storage.ParseNanoUSD(text) // both kinds of amounts
	if err != nil {
		t.Fatal(err)
	}
	return storage.Credits(n / 1000)
}

// What a provider says that it costs is kept beside what its prices come to; the differences are summed up, and told when they are a tenth.
func TestReportedCostsAreCompared(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	log := g.evidence
	answer := func(cost string) map[string]any {
		up[0].Script(pricedReply(dialect.Chat, `{"prompt_tokens":1000,"completion_tokens":500,"cost":`+cost+`}`, ""))
		if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return g.api.lastUsage(t)
	}
	const difference = `pointsman_reported_cost_difference_nanodollars_total{provider="up0",direction="`
	u := answer("0.0025")
	if u["cost_usd"] != "0.0025" || u["cost_reported_usd"] != "0.0025" || u["cost_listed_usd"] != "0.002" || u["credits"] != "0.003" {
		t.Errorf("record %v", u)
	}
	if u = answer("0.0019"); u["cost_usd"] != "0.0019" || u["cost_listed_usd"] != "0.002" {
		t.Errorf("record %v", u)
	}
	if above, below := g.metric(t, difference+`above"}`), g.metric(t, difference+`below"}`); above != 500_000 || below != 100_000 {
		t.Errorf("differences: %v above, %v below", above, below)
	}
	for range 97 {
		answer("0.00221")
	}
	if n := log.count("reports other costs"); n != 0 {
		t.Errorf("told %d times after 99 answers", n)
	}
	for range 5 {
		answer("0.00225")
	}
	if n := log.count("reports other costs"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// The tariff of the cost charges each account tier its markup, rounded up once, and holds the worst case before.
func TestCostPlusTariff(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", "usd_in_per_1m = 1.1\nusd_out_per_1m = 2.3\nusd_cache_write_1h_per_1m = 4.7\n", 1)
	toml = strings.Replace(toml, "credits_per_1k = 0.002\n", "", 1)
	g := newGateway(t, toml+"[tariff]\nkind = \"cost_plus\"\ncredits_per_usd = 3\n", nil)
	up[0].Script(pricedReply(dialect.Chat, `{"prompt_tokens":101,"completion_tokens":7}`, ""))
	for tier, markup := range map[string]float64{"starter": 40, "professional": 60, "enterprise": 80} {
		if err := g.admin.call("POST", "/api/v1/admin/accounts", map[string]string{"id": tier, "tier": tier}, nil); err != nil {
			t.Fatal(err)
		}
		var key keyEntry
		if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": tier}, &key); err != nil {
			t.Fatal(err)
		}
		c := newClient(g.api.base, key.Key)
		resp, body := c.post(t, chatPath, ask("m"))
		// 101 * 1.1 + 7 * 2.3 = 127.2 millionths of a dollar, at 3 credits a dollar.
		want := storage.Credits(math.Ceil(127.2 * 3 * (100 + markup) / 100))
		if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Credits") != want.String() || resp.Header.Get("X-Pointsman-Cost-Usd") != "0.0001272" {
			t.Errorf("%s: %d %s: charged %s, want %s", tier, resp.StatusCode, body, resp.Header.Get("X-Pointsman-Credits"), want)
		}
	}
}

// What is held covers the dearest way in which the tokens can be used: an account that has it gets its answer, one that lacks a
// millionth of it does not.
func TestP03CostPlusHoldsTheDearestUse(t *testing.T) {
	t.Parallel()
	price := catalog.Price{Rates: catalog.Rates{catalog.RateIn: 1_000_000, catalog.RateOut: 2_000_000, catalog.RateCacheWrite1h: 4_000_000, catalog.RateReasoning: 5_000_000}}
	model := catalog.Model{CostRate: 3_000_000}
	prices := "usd_in_per_1m = 1\nusd_out_per_1m = 2\nusd_cache_write_1h_per_1m = 4\nusd_reasoning_per_1m = 5\n"
	for _, c := range []struct {
		tier string
		most func(in int64) storage.NanoUSD
	}{
		{"default", func(in int64) storage.NanoUSD { return price.Most(in, 100, catalog.Scope{}) }},
		{"auto", func(in int64) storage.NanoUSD { return 2 * price.Most(in, 100, catalog.Scope{}) }},
	} {
		var status [2]int
		var paid storage.Credits
		for i, lacking := range []storage.Credits{0, 1} {
			up, toml := upstreams(t, 1)
			toml = strings.Replace(toml, "usd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", prices+
				"[[models.deployments.prices]]\nservice_tier = \"priority\"\n"+strings.NewReplacer(" 1\n", " 2\n", " 2\n", " 4\n", " 4\n", " 8\n", " 5\n", " 10\n").Replace(prices), 1)
			toml = strings.Replace(toml, "credits_per_1k = 0.002\n", "credits_per_usd = 3\n", 1)
			// The estimate of the input is told by the decision's record.
			g := newGateway(t, toml, nil)
			body := ask("m", "service_tier", c.tier)
			resp, _ := g.api.post(t, chatPath, body)
			x := decided(t, g, resp)
			hold := model.ChargeUnits(0, c.most(tokens.FamilyOf("gpt-up0").Reserve(int64(x.Asked.InputTokens))), 80)
			poor := newGateway(t, toml+"[accounts]\ndefault_credits = "+(hold-lacking).String()+"\n", nil)
			in := x.Asked.InputTokens
			up[0].Script(pricedReply(dialect.Chat, fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":100,"prompt_tokens_details":{"cache_write_tokens":%d,"cache_write_tokens_details":{"ttl_1h_tokens":%d}},"completion_tokens_details":{"reasoning_tokens":100}}`, in, in, in), ""))
			answer, text := poor.api.post(t, chatPath, body)
			if status[i] = answer.StatusCode; status[i] == 200 {
				if paid, _ = storage.ParseCredits(answer.Header.Get("X-Pointsman-Credits")); paid > hold {
					t.Errorf("%s: %s of %s held were charged: %s", c.tier, paid, hold, text)
				}
			}
		}
		if status != [2]int{200, 402} {
			t.Errorf("%s: status %v", c.tier, status)
		}
	}
}

// A price of a former configuration is found by the records that it was charged by.
func TestPriceVersionsAreKept(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.api.post(t, chatPath, ask("m"))
	version := fmt.Sprint(g.api.lastUsage(t)["price_version"])
	resp, body := g.admin.send(t, "GET", "/api/v1/admin/prices/"+version, nil)
	var shown map[string]any
	if err := json.Unmarshal([]byte(body), &shown); err != nil || resp.StatusCode != 200 || shown["version"] != version || !strings.Contains(body, `"usd_per_1m":{"in":"1","out":"2"}`) {
		t.Errorf("%d %s, %v", resp.StatusCode, body, err)
	}
	for _, unknown := range []string{"0000000000000000", "x", ""} {
		if resp, _ := g.admin.send(t, "GET", "/api/v1/admin/prices/"+unknown, nil); resp.StatusCode != 404 {
			t.Errorf("version %q: %d", unknown, resp.StatusCode)
		}
	}
	if resp, _ := newClient(g.admin.base, "sk-wrong").send(t, "GET", "/api/v1/admin/prices/"+version, nil); resp.StatusCode != 401 {
		t.Errorf("without the master key: %d", resp.StatusCode)
	}
}
