package storage

import "time"

// Limits bound what a virtual key, an account or a team may use. A nil limit is none, 0 allows nothing. Limits of a key, its
// account and its team hold all at once.
type Limits struct {
	RequestsPerMinute *int64   `json:"requests_per_minute,omitempty"`
	TokensPerMinute   *int64   `json:"tokens_per_minute,omitempty"` // input and output
	Concurrent        *int64   `json:"concurrent_requests,omitempty"`
	Budgets           []Budget `json:"budgets,omitempty"`
}

// Budget bounds the credits spent in a period, by models of one tier or of all. There is at most one of a period and tier.
type Budget struct {
	Period  Period  `json:"period"`
	Tier    *uint8  `json:"tier,omitempty"` // of the model that answers; nil: all tiers
	Credits Credits `json:"credits"`        // >= 0
	// Suspend disables the key, account or team when the budget is used up, until the operator enables it again; without it
	// requests are refused until the next period.
	Suspend bool `json:"suspend,omitempty"`
}

// Period is the calendar period of a budget, in UTC.
type Period uint8

// The periods. Their numbers are stored.
const (
	PeriodTotal Period = iota // for ever
	PeriodDay
	PeriodWeek // from Monday
	PeriodMonth
)

// Periods are the names of the periods, by their numbers.
func Periods() []string { return []string{"total", "day", "week", "month"} }

// String is the period's name.
func (p Period) String() string {
	if names := Periods(); int(p) < len(names) {
		return names[p]
	}
	return "unknown"
}

// MarshalText writes the name.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads a name; any other is ErrInvalid.
func (p *Period) UnmarshalText(text []byte) error {
	for i, name := range Periods() {
		if string(text) == name {
			*p = Period(i)
			return nil
		}
	}
	return ErrInvalid
}

// Start is when the period that holds t began; the zero time for PeriodTotal.
func (p Period) Start(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	switch p {
	case PeriodDay:
		return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	case PeriodWeek:
		day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		return day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
	case PeriodMonth:
		return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}
}

// Next is when the period that begins at start ends; the zero time for PeriodTotal, which never does.
func (p Period) Next(start time.Time) time.Time {
	switch p {
	case PeriodDay:
		return start.AddDate(0, 0, 1)
	case PeriodWeek:
		return start.AddDate(0, 0, 7)
	case PeriodMonth:
		return start.AddDate(0, 1, 0)
	}
	return time.Time{}
}

// Spender names who spends, to the ledger, which counts what each spends by period and model tier: SpenderKey + the id of a
// virtual key, SpenderAccount + an account, SpenderTeam + a team.
type Spender string

// Prefixes of spenders.
const (
	SpenderKey     = "k:"
	SpenderAccount = "a:"
	SpenderTeam    = "t:"
)

// Whose says in words who spends: "key key_0123456789abcdef", "account alice", "team red".
func (s Spender) Whose() string {
	kind, id := s[:min(2, len(s))], string(s[min(2, len(s)):])
	switch kind {
	case SpenderKey:
		return "key " + id
	case SpenderTeam:
		return "team " + id
	}
	return "account " + id
}

// Cap is a budget as a hold is checked against it: the hold is refused with a [BudgetError] when what the spender has spent in
// the period, what is held for it, and the hold's amount exceed the budget.
type Cap struct {
	Spender Spender
	Budget
}

// Alert tells that what was spent reached a part of a budget.
type Alert struct {
	Cap
	Time      time.Time
	Percent   int       // of the budget, that was reached
	Spent     Credits   // in the period
	Next      time.Time // when the next period begins; zero: never
	Suspended bool      // the spender was disabled for it
}

// BudgetError refuses a hold for a budget. It is ErrBudget.
type BudgetError struct {
	Cap
	Spent Credits   // in the period, with what is held
	Next  time.Time // when the next period begins; zero: never
}

// Error tells which budget.
func (e *BudgetError) Error() string { return "the budget is used up" }

// Is makes it ErrBudget.
func (e *BudgetError) Is(target error) bool { return target == ErrBudget }
