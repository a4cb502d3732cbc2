package report

import "github.com/pointsman/pointsman/storage"

// UsageColumns are the columns of a table of requests: those of the API's usage entries, and id, the gateway's own id of a request,
// where request_id may be its client's.
func UsageColumns() []Column {
	return []Column{
		{Name: "id"},
		{Name: "request_id"},
		{Name: "time", Kind: Time},
		{Name: "account"},
		{Name: "team"},
		{Name: "key"},
		{Name: "endpoint"},
		{Name: "model"},
		{Name: "provider"},
		{Name: "power_level"},
		{Name: "policy"},
		{Name: "stream", Kind: Flag},
		{Name: "input_tokens", Kind: Integer},
		{Name: "output_tokens", Kind: Integer},
		{Name: "cached_tokens", Kind: Integer},
		{Name: "reasoning_tokens", Kind: Integer},
		{Name: "estimated", Kind: Flag},
		{Name: "credits", Kind: Credits},
		{Name: "cost_usd", Kind: USD},
		{Name: "saved_usd", Kind: USD},
		{Name: "byok", Kind: Flag},
		{Name: "simulated", Kind: Flag},
		{Name: "outcome"},
		{Name: "status", Kind: Integer},
		{Name: "error_code"},
		{Name: "attempts", Kind: Integer},
		{Name: "ttft_ms", Kind: Millis},
		{Name: "latency_ms", Kind: Millis},
		{Name: "overhead_ms", Kind: Millis},
	}
}

// AppendUsage appends the values of a request, in the order of [UsageColumns].
func AppendUsage(values []Value, u *storage.Usage) []Value {
	text := func(s string) { values = append(values, Value{Text: s}) }
	number := func(n int64) { values = append(values, Value{N: n}) }
	flag := func(set bool) {
		n := int64(0)
		if set {
			n = 1
		}
		number(n)
	}
	id := u.Request.String()
	text(id)
	if u.ClientID != "" {
		id = u.ClientID
	}
	text(id)
	number(u.Request.Time().UnixMicro())
	for _, s := range [...]string{u.Account, u.Team, u.Key, u.Endpoint, u.Model, u.Provider, u.PowerLevel, u.Policy} {
		text(s)
	}
	flag(u.Stream)
	for _, n := range [...]int64{u.InputTokens, u.OutputTokens, u.CachedTokens, u.Reasoning} {
		number(n)
	}
	flag(u.Estimated)
	for _, n := range [...]int64{int64(u.Credits), int64(u.CostUSD), int64(u.SavedUSD)} {
		number(n)
	}
	flag(u.BYOK)
	flag(u.Simulated)
	text(string(u.Outcome))
	number(int64(u.Status))
	text(u.ErrorCode)
	for _, n := range [...]int64{int64(u.Attempts), u.TTFT.Microseconds(), u.Latency.Microseconds(), u.Overhead.Microseconds()} {
		number(n)
	}
	return values
}
