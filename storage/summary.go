package storage

import (
	"math"
	"time"
)

// Dimension is what requests are grouped and selected by. The numbers are stored.
type Dimension uint8

// The dimensions, in the order in which groups are sorted.
const (
	ByAccount Dimension = iota
	ByTeam
	ByKey
	ByModel
	ByProvider
	ByPowerLevel
	ByPolicy
	ByOutcome
	Dimensions // their number
)

// DimensionNames are the names of the dimensions, by their numbers.
func DimensionNames() [Dimensions]string {
	return [Dimensions]string{"account", "team", "key", "model", "provider", "power_level", "policy", "outcome"}
}

// OtherValue stands for the account, the team and the key of requests beyond the number of groups that are kept apart.
const OtherValue = "(other)"

// GroupValues are the values of a group, by dimension.
type GroupValues [Dimensions]string

// Values are the dimensions of a request.
func (u *Usage) Values() GroupValues {
	return GroupValues{u.Account, u.Team, u.Key, u.Model, u.Provider, u.PowerLevel, u.Policy, string(u.Outcome)}
}

// Measure is a sum over requests. The numbers are stored.
type Measure uint8

// The measures.
const (
	SumRequests Measure = iota
	SumSucceeded
	SumInputTokens
	SumOutputTokens
	SumCachedTokens
	SumReasoning
	SumCredits  // micro-credits
	SumCostUSD  // nano-dollars
	SumSavedUSD // nano-dollars
	// SumTimedTokens are output tokens of the requests whose generation took SumTimedMicros, in microseconds: those that succeeded
	// and have some. Their quotient is the speed.
	SumTimedTokens
	SumTimedMicros
	Measures // their number
)

// Sums are the measures of a group of requests.
type Sums struct {
	Of      [Measures]int64
	Latency Histogram // of requests that succeeded
	TTFT    Histogram // of requests with content
}

// Count adds a request.
func (s *Sums) Count(u *Usage) {
	add := [Measures]int64{
		SumRequests: 1, SumInputTokens: u.InputTokens, SumOutputTokens: u.OutputTokens, SumCachedTokens: u.CachedTokens,
		SumReasoning: u.Reasoning, SumCredits: int64(u.Credits), SumCostUSD: int64(u.CostUSD), SumSavedUSD: int64(u.SavedUSD),
	}
	if u.Outcome == OutcomeOK {
		add[SumSucceeded] = 1
		s.Latency.Add(u.Latency)
		generating := u.Latency
		if u.Stream {
			generating -= u.TTFT
		}
		if u.OutputTokens > 0 && generating >= time.Microsecond {
			add[SumTimedTokens], add[SumTimedMicros] = u.OutputTokens, generating.Microseconds()
		}
	}
	if u.TTFT > 0 {
		s.TTFT.Add(u.TTFT)
	}
	for i, n := range add {
		s.Add(Measure(i), n)
	}
}

// Add adds to a measure; beyond what a number holds it stays at the limit.
func (s *Sums) Add(m Measure, n int64) {
	sum := s.Of[m] + n
	if n > 0 && sum < s.Of[m] {
		sum = math.MaxInt64
	} else if n < 0 && sum > s.Of[m] {
		sum = math.MinInt64
	}
	s.Of[m] = sum
}

// Merge adds another group's sums.
func (s *Sums) Merge(other *Sums) {
	for i, n := range other.Of {
		s.Add(Measure(i), n)
	}
	s.Latency.Merge(&other.Latency)
	s.TTFT.Merge(&other.TTFT)
}

// Step is the length of time that a summary has rows for.
type Step uint8

// The steps.
const (
	StepNone Step = iota // one row for the whole time
	StepMinute
	StepHour
	StepDay
)

// Length is how long a step is, 0 for [StepNone].
func (s Step) Length() time.Duration {
	return [...]time.Duration{0, time.Minute, time.Hour, 24 * time.Hour}[s]
}

// MostSummaryGroups is how many groups a summary may have.
const MostSummaryGroups = 50_000

// SummaryQuery asks for sums over the requests that ended in a time.
type SummaryQuery struct {
	From, To time.Time // To itself is not part of it
	Step     Step
	Group    []Dimension            // each at most once
	Where    map[Dimension][]string // one of the values of each
}

// SummaryRow is one group of a summary.
type SummaryRow struct {
	Time   time.Time // when its step began; zero for StepNone
	Values []string  // of the query's Group
	Sums   Sums
}

// Summary is the answer to a query. Its rows are in no particular order.
type Summary struct {
	// From and To are the time that is summed up: the query's, extended to whole minutes, and further back to whole hours or days
	// where no finer sums are kept any more.
	From, To time.Time
	Rows     []SummaryRow
}
