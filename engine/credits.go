package engine

import (
	"errors"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/storage"
)

// balance answers what the caller may still spend.
func (e *Engine) balance(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointBalance)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	b, err := e.Ledger.Balance(caller.Account.ID)
	if err != nil {
		storageUnavailable().Write(ctx)
		return
	}
	WriteJSON(ctx, fasthttp.StatusOK, struct {
		Account    string `json:"account"`
		Remaining  string `json:"credits_remaining"`
		Held       string `json:"credits_held"`
		Posted     string `json:"credits_posted"`
		Tier       string `json:"tier"`
		PowerLevel string `json:"default_power_level"`
	}{caller.Account.ID, b.Available().String(), b.Held.String(), b.Posted.String(), string(caller.Account.Tier), caller.Account.DefaultLevel})
}

// UsageEntry is a usage record as the API shows it. Amounts are decimal strings, times milliseconds.
type UsageEntry struct {
	RequestID    string `json:"request_id"`
	Time         string `json:"time"`
	Account      string `json:"account"`
	Team         string `json:"team,omitempty"`
	Key          string `json:"key"`
	Endpoint     string `json:"endpoint"`
	Model        string `json:"model"`
	Provider     string `json:"provider"`
	PowerLevel   string `json:"power_level"`
	Policy       string `json:"policy"`
	Stream       bool   `json:"stream"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	CachedTokens int64  `json:"cached_tokens"`
	Reasoning    int64  `json:"reasoning_tokens"`
	UsageParts
	Estimated    bool    `json:"estimated"`
	Suspect      bool    `json:"suspect,omitempty"`
	Credits      string  `json:"credits"`
	CostUSD      string  `json:"cost_usd"`
	SavedUSD     string  `json:"saved_usd"`
	ListedUSD    string  `json:"cost_listed_usd"`
	ReportedUSD  string  `json:"cost_reported_usd,omitempty"`
	PriceVersion string  `json:"price_version,omitempty"`
	BYOK         bool    `json:"byok"`
	Simulated    bool    `json:"simulated"`
	Cache        string  `json:"cache,omitempty"`
	Outcome      string  `json:"outcome"`
	Status       int     `json:"status"`
	ErrorCode    string  `json:"error_code,omitempty"`
	Attempts     int     `json:"attempts"`
	TTFT         float64 `json:"ttft_ms"`
	Latency      float64 `json:"latency_ms"`
	Overhead     float64 `json:"overhead_ms"`
}

// UsageParts are the parts of the tokens that may have prices of their own. Those that an answer does not have are left out.
type UsageParts struct {
	ServiceTier   string `json:"service_tier,omitempty"`
	CacheWrite    int64  `json:"cache_write_tokens,omitempty"`
	CacheWrite1h  int64  `json:"cache_write_1h_tokens,omitempty"`
	CacheWrite12h int64  `json:"cache_write_12h_tokens,omitempty"`
	AudioInput    int64  `json:"audio_input_tokens,omitempty"`
	ImageInput    int64  `json:"image_input_tokens,omitempty"`
	AudioOutput   int64  `json:"audio_output_tokens,omitempty"`
	ImageOutput   int64  `json:"image_output_tokens,omitempty"`
}

// NewUsageEntry converts a record.
func NewUsageEntry(u *storage.Usage) UsageEntry {
	id := u.ClientID
	if id == "" {
		id = u.Request.String()
	}
	reported := ""
	if u.ReportedUSD > 0 {
		reported = u.ReportedUSD.String()
	}
	return UsageEntry{
		RequestID: id, Time: u.Request.Time().UTC().Format(time.RFC3339Nano), Account: u.Account, Team: u.Team, Key: u.Key, Endpoint: u.Endpoint,
		Model: u.Model, Provider: u.Provider, PowerLevel: u.PowerLevel, Policy: u.Policy, Stream: u.Stream,
		InputTokens: u.InputTokens, OutputTokens: u.OutputTokens, CachedTokens: u.CachedTokens, Reasoning: u.Reasoning,
		UsageParts: UsageParts{
			u.ServiceTier, u.CacheWrite, u.CacheWrite1h, u.CacheWrite12h, u.AudioInput, u.ImageInput, u.AudioOutput, u.ImageOutput,
		},
		Suspect: u.Suspect, ListedUSD: u.ListedUSD.String(), ReportedUSD: reported, PriceVersion: u.PriceVersion,
		Estimated: u.Estimated, Credits: u.Credits.String(), CostUSD: u.CostUSD.String(), SavedUSD: u.SavedUSD.String(), BYOK: u.BYOK, Simulated: u.Simulated, Cache: u.Cache,
		Outcome: string(u.Outcome), Status: u.Status, ErrorCode: u.ErrorCode, Attempts: u.Attempts,
		TTFT: millis(u.TTFT), Latency: millis(u.Latency), Overhead: millis(u.Overhead),
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// listUsage lists the caller's requests, newest first, a page at a time: ?limit=1..1000&cursor=NEXT. Asked for groups or a time, it sums
// them up.
func (e *Engine) listUsage(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointUsage)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	args := ctx.QueryArgs()
	if args.Has("group_by") || args.Has("from") || args.Has("to") {
		e.writeSummary(ctx, caller.Account.ID)
		return
	}
	e.WriteUsage(ctx, caller.Account.ID)
}

// WriteUsage answers with a page of an account's usage, or of everybody's when account is empty.
func (e *Engine) WriteUsage(ctx *fasthttp.RequestCtx, account string) {
	limit := 100
	if text := ctx.QueryArgs().Peek("limit"); len(text) > 0 {
		n, err := strconv.Atoi(string(text))
		if err != nil || n < 1 || n > 1000 {
			badRequest("invalid_value", "limit", "limit must be a number from 1 to 1000").Write(ctx)
			return
		}
		limit = n
	}
	records, next, err := e.Log.Usage(account, string(ctx.QueryArgs().Peek("cursor")), limit)
	switch {
	case errors.Is(err, storage.ErrInvalid):
		badRequest("invalid_value", "cursor", "cursor must be the next of an earlier page").Write(ctx)
		return
	case err != nil:
		e.Logger.Error("reading usage", "error", err)
		storageUnavailable().Write(ctx)
		return
	}
	page := struct {
		Data []UsageEntry `json:"data"`
		Next *string      `json:"next"`
	}{Data: make([]UsageEntry, len(records))}
	for i := range records {
		page.Data[i] = NewUsageEntry(&records[i])
	}
	if next != "" {
		page.Next = &next
	}
	WriteJSON(ctx, fasthttp.StatusOK, page)
}
