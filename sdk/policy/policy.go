// Package policy is the Go view of the policy contract in sdk/abi: the facts a policy decides on, the plan it returns,
// and their encoding. Hosts and tests use it natively; guests compile it with GOOS=wasip1 and register a [Policy].
package policy

// Snapshot is one generation of what is known about every candidate. It is immutable once published.
type Snapshot struct {
	Generation uint64
	WallMillis int64 // Unix milliseconds when it was taken
	Candidates []Candidate
}

// Candidate is one deployment of a model at a provider, with static facts from the catalog and live ones from traffic.
// Units and codes are those of sdk/abi.
type Candidate struct {
	Key            uint64
	Model          uint16
	Provider       uint16
	Tier           uint8
	Health         uint8
	Mode           uint8
	Capabilities   uint32
	Strengths      uint32
	ContextWindow  uint32  // tokens
	MaxOutput      uint32  // tokens, 0 unknown
	CreditsPer1K   int64   // micro-credits per 1,000 tokens
	PriceIn        int64   // pico-USD per token
	PriceOut       int64   // pico-USD per token
	PriceCacheRead int64   // pico-USD per token
	Quality        float32 // 0..1
	TTFT           float32 // milliseconds, 0 unknown
	TokensPerSec   float32 // 0 unknown
	ErrorRate      float32 // 0..1
	Samples        uint32
	Flags          uint32
	ModelName      string
	ProviderName   string
}

// Request is what a policy is told about one request. Options has one entry per candidate of the snapshot, in its order.
type Request struct {
	Generation  uint64
	Seed        uint64
	Level       uint8
	Task        uint8
	Privacy     uint8
	Latency     uint8
	AccountTier uint8
	Flags       uint8
	Model       uint16 // abi.NoModel if the request names none
	Needs       uint32
	InputTokens uint32
	MaxOutput   uint32
	Messages    uint32
	Credits     int64 // micro-credits available
	Session     uint64
	State       uint64 // number of the policy's state, 0 if none
	Options     []Option
	Text        []byte // last user message; nil without abi.GrantText
	Metadata    []byte // "key=value\n" lines, sorted; nil without abi.GrantMetadata
}

// Option is what holds for one candidate in this request only.
type Option struct {
	Excluded uint8 // 0, or the abi.Reason* why the engine will not use it
	Flags    uint8
	Inflight uint16
}

// Plan is a policy's decision. Its slices are reused by [DecodePlan] and by [Plan.Reset]: copy what outlives the next call.
type Plan struct {
	Kind        uint8
	Flags       uint8 // abi.PlanReview or 0
	Reason      uint16
	Status      uint16 // of a reject
	MaxOutput   uint32 // output tokens to reserve for when the request gives no limit
	Steps       []Step
	Verdicts    []Verdict // empty, or one per candidate
	Explanation []byte    // UTF-8, at most abi.MaxExplanation bytes
	Tag         uint32    // comes back in Outcome.Tag
	AskInput    uint8     // abi.Ask* of a side call
	AskOutput   uint16    // tokens of its answer; 0: 64
	Ask         []byte    // its instruction, UTF-8, at most abi.MaxAsk bytes
}

// Reset empties a plan and keeps its memory.
func (p *Plan) Reset() {
	*p = Plan{Steps: p.Steps[:0], Verdicts: p.Verdicts[:0], Explanation: p.Explanation[:0], Ask: p.Ask[:0]}
}

// Step is one candidate to try.
type Step struct {
	Candidate     uint16
	Attempts      uint8
	TimeoutMillis uint32
	HedgeMillis   uint32
	Score         float32
	Reason        uint16
}

// Verdict is what the policy thought of one candidate.
type Verdict struct {
	Score  float32
	Reason uint16
	Rank   uint16
}

// Outcome is what became of one attempt of a plan: an answer, a side call, or a failure. Units and codes are those of
// sdk/abi.
type Outcome struct {
	Key       uint64 // of the candidate
	Credits   int64  // micro-credits charged for it
	Candidate uint16
	HTTP      uint16
	Tag       uint32 // of the plan
	Input     uint32 // tokens
	Output    uint32 // tokens
	TTFT      float32
	Latency   float32
	Flags     uint32 // abi.Outcome* bits
	Round     uint8
	Kind      uint8 // abi.Kind* of the plan
	Failure   uint8
	Finish    uint8
	Level     uint8
	Task      uint8
	Text      []byte // of a side call's answer
}
