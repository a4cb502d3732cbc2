package storage

import "time"

// Outcome is the terminal state of an accepted request.
type Outcome string

// The outcomes.
const (
	OutcomeOK            Outcome = "ok"
	OutcomeClientAbort   Outcome = "client_abort"   // the client left before the end
	OutcomeUpstreamAbort Outcome = "upstream_abort" // the upstream broke off after content was sent
	OutcomeUpstreamError Outcome = "upstream_error" // every attempt failed
	OutcomeRejected      Outcome = "rejected"       // refused before any attempt: no candidate, no credits
	OutcomeInterrupted   Outcome = "interrupted"    // the gateway stopped before the end; where it died, found at the next start
)

// CacheHit in Usage.Cache says that the answer came from the response cache: nobody was asked, and the tokens are those of the
// request that it was made for.
const CacheHit = "hit"

// Usage is the one terminal record of an accepted request.
type Usage struct {
	Request      RequestID
	ClientID     string // x-request-id as the client sent it, "" if we made the id
	Account      string
	Team         string // of the account at the time; "" if it has none
	Key          string // virtual key id
	Model        string // public name of the model that answered, or was asked for
	Provider     string // who answered: a provider's name or "simulator"
	PowerLevel   string
	Policy       string
	Endpoint     string // "chat"
	Stream       bool
	BYOK         bool
	Simulated    bool
	Estimated    bool   // the upstream reported no usage; tokens are our own count
	Cache        string // CacheHit, or "" if the answer was made for this request
	Outcome      Outcome
	Status       int // HTTP status the client got
	ErrorCode    string
	Attempts     int
	InputTokens  int64
	OutputTokens int64
	CachedTokens int64 // part of InputTokens read from a prompt cache
	Reasoning    int64 // part of OutputTokens
	// The other parts of InputTokens and OutputTokens that may have prices of their own.
	CacheWrite, CacheWrite1h, CacheWrite12h int64 // the last two are parts of the first
	AudioInput, ImageInput                  int64
	AudioOutput, ImageOutput                int64
	ServiceTier                             string // of the provider, "" for its standard service
	Suspect                                 bool   // the provider's numbers made no sense; they were mended
	Credits                                 Credits
	CostUSD                                 NanoUSD       // what the provider charges the operator: as it says itself, else ListedUSD
	ListedUSD                               NanoUSD       // by the operator's prices
	ReportedUSD                             NanoUSD       // as the provider says itself; 0: it says nothing
	PriceVersion                            string        // of the prices and the tariff that credits and ListedUSD follow from, "" for none
	SavedUSD                                NanoUSD       // what the dearest model of the power level would have cost beyond CostUSD; 0 where no level chose
	TTFT                                    time.Duration // to the first content byte; 0 if none came
	Latency                                 time.Duration // to the last byte
	Overhead                                time.Duration // the part of Latency that was ours before the first attempt
}
