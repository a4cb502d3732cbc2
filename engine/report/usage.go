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
		{Name: "service_tier"},
		{Name: "cache_write_tokens", Kind: Integer},
		{Name: "cache_write_1h_tokens", Kind: Integer},
		{Name: "cache_write_12h_tokens", Kind: Integer},
		{Name: "audio_input_tokens", Kind: Integer},
		{Name: "image_input_tokens", Kind: Integer},
		{Name: "audio_output_tokens", Kind: Integer},
		{Name: "image_output_tokens", Kind: Integer},
		{Name: "estimated", Kind: Flag},
		{Name: "suspect", Kind: Flag},
		{Name: "credits", Kind: Credits},
		{Name: "cost_usd", Kind: USD},
		{Name: "cost_listed_usd", Kind: USD},
		{Name: "cost_reported_usd", Kind: USD},
		{Name: "price_version"},
		{Name: "saved_usd", Kind: USD},
		{Name: "byok", Kind: Flag},
		{Name: "simulated", Kind: Flag},
		{Name: "cache"},
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
	text(u.ServiceTier)
	for _, n := range [...]int64{
		u.CacheWrite, u.CacheWrite1h, u.CacheWrite12h, u.AudioInput, u.ImageInput, u.AudioOutput, u.ImageOutput,
	} {
		number(n)
	}
	flag(u.Estimated)
	flag(u.Suspect)
	for _, n := range [...]int64{int64(u.Credits), int64(u.CostUSD), int64(u.ListedUSD), int64(u.ReportedUSD)} {
		number(n)
	}
	text(u.PriceVersion)
	number(int64(u.SavedUSD))
	flag(u.BYOK)
	flag(u.Simulated)
	text(u.Cache)
	text(string(u.Outcome))
	number(int64(u.Status))
	text(u.ErrorCode)
	for _, n := range [...]int64{int64(u.Attempts), u.TTFT.Microseconds(), u.Latency.Microseconds(), u.Overhead.Microseconds()} {
		number(n)
	}
	return values
}
