package admin

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// optional is a field of a change: absent leaves what there is, null takes it away.
type optional[T any] struct {
	given bool
	value *T // nil: null
}

// UnmarshalJSONFrom reads the field, which is there.
func (o *optional[T]) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	o.given = true
	return json.UnmarshalDecode(d, &o.value)
}

// set changes what the field is about, to the zero value for null.
func (o *optional[T]) set(to *T) {
	if o.given {
		*to = o.or()
	}
}

// or is the value, or the zero value.
func (o *optional[T]) or() (v T) {
	if o.value != nil {
		v = *o.value
	}
	return v
}

// tooLong refuses a text of more than so many bytes.
func tooLong(name string, o optional[string], most int) *engine.Fault {
	if len(o.or()) > most {
		return invalid(name, fmt.Sprintf("must have at most %d bytes", most))
	}
	return nil
}

const (
	maxName   = 128
	maxReason = 200
	maxRate   = 1_000_000_000
)

// limitsBody is a change of limits. null is no limit, 0 allows nothing.
type limitsBody struct {
	RequestsPerMinute optional[int64]        `json:"requests_per_minute"`
	TokensPerMinute   optional[int64]        `json:"tokens_per_minute"`
	Concurrent        optional[int64]        `json:"concurrent_requests"`
	Budgets           optional[[]budgetBody] `json:"budgets"`

	budgets []storage.Budget
}

type budgetBody struct {
	Period  string `json:"period"`
	Tier    *int64 `json:"tier"`
	Credits string `json:"credits"`
	Suspend bool   `json:"suspend"`
}

// check finds what is wrong with the values, and reads the budgets.
func (b *limitsBody) check() *engine.Fault {
	for _, rate := range []struct {
		name string
		optional[int64]
	}{
		{"requests_per_minute", b.RequestsPerMinute}, {"tokens_per_minute", b.TokensPerMinute}, {"concurrent_requests", b.Concurrent},
	} {
		if n := rate.or(); n < 0 || n > maxRate {
			return invalid("limits."+rate.name, fmt.Sprintf("must be a whole number from 0 to %d, or null for no limit", maxRate))
		}
	}
	for i, body := range b.Budgets.or() {
		name := "limits.budgets." + strconv.Itoa(i)
		budget := storage.Budget{Suspend: body.Suspend}
		if budget.Period.UnmarshalText([]byte(body.Period)) != nil {
			return invalid(name+".period", fmt.Sprintf("must be one of %q", storage.Periods()))
		}
		if body.Tier != nil {
			if *body.Tier < 0 || *body.Tier > maxTier {
				return invalid(name+".tier", tierRange)
			}
			tier := uint8(*body.Tier)
			budget.Tier = &tier
		}
		var err error
		if budget.Credits, err = storage.ParseCredits(body.Credits); err != nil || budget.Credits < 0 || budget.Credits > maxGrant {
			return invalid(name+".credits", `must be a decimal string from "0" to "1000000000", with at most 6 fractional digits`)
		}
		if slices.ContainsFunc(b.budgets, func(other storage.Budget) bool { return sameBudget(other, budget) }) {
			return invalid(name, "is a second budget of one period and tier")
		}
		b.budgets = append(b.budgets, budget)
	}
	return nil
}

const (
	maxTier   = 5
	tierRange = "must be a model tier, a whole number from 0 to 5"
)

func sameBudget(a, b storage.Budget) bool {
	return a.Period == b.Period && (a.Tier == nil) == (b.Tier == nil) && (a.Tier == nil || *a.Tier == *b.Tier)
}

// changeLimits makes the change that was found good.
func changeLimits(o *optional[limitsBody], to *storage.Limits) {
	if o.given && o.value == nil {
		*to = storage.Limits{}
	}
	if o.value == nil {
		return
	}
	for _, rate := range []struct {
		from *optional[int64]
		to   **int64
	}{
		{&o.value.RequestsPerMinute, &to.RequestsPerMinute}, {&o.value.TokensPerMinute, &to.TokensPerMinute}, {&o.value.Concurrent, &to.Concurrent},
	} {
		if rate.from.given {
			*rate.to = rate.from.value
		}
	}
	if o.value.Budgets.given {
		to.Budgets = o.value.budgets
	}
}

// scopesBody is a change of scopes. null allows everything, an empty list nothing.
type scopesBody struct {
	Models    optional[[]string] `json:"models"`
	Tiers     optional[[]int64]  `json:"tiers"`
	Policies  optional[[]string] `json:"policies"`
	Endpoints optional[[]string] `json:"endpoints"`

	tiers []uint8
}

// check finds what is wrong with the values: names must be those of something.
func (b *scopesBody) check(e *engine.Engine) *engine.Fault {
	for i, name := range b.Models.or() {
		if found, ok := e.Catalog.Resolve(name); !ok || found.Model.Name != name {
			return invalid("scopes.models."+strconv.Itoa(i), "must be the name of a model, not an alias of one")
		}
	}
	if b.Tiers.value != nil {
		b.tiers = []uint8{}
	}
	for i, tier := range b.Tiers.or() {
		if tier < 0 || tier > maxTier {
			return invalid("scopes.tiers."+strconv.Itoa(i), tierRange)
		}
		b.tiers = append(b.tiers, uint8(tier))
	}
	for _, list := range []struct {
		name         string
		given, known []string
	}{
		{"policies", b.Policies.or(), e.OfferedPolicies()}, {"endpoints", b.Endpoints.or(), engine.Endpoints()},
	} {
		for i, name := range list.given {
			if !slices.Contains(list.known, name) {
				return invalid("scopes."+list.name+"."+strconv.Itoa(i), fmt.Sprintf("must be one of %q", list.known))
			}
		}
	}
	return nil
}

// changeScopes makes the change that was found good.
func changeScopes(o *optional[scopesBody], to *storage.Scopes) {
	if o.given && o.value == nil {
		*to = storage.Scopes{}
	}
	if o.value == nil {
		return
	}
	o.value.Models.set(&to.Models)
	o.value.Policies.set(&to.Policies)
	o.value.Endpoints.set(&to.Endpoints)
	if o.value.Tiers.given {
		to.Tiers = o.value.tiers
	}
}

func invalid(field, must string) *engine.Fault {
	return &engine.Fault{Status: 400, Type: "invalid_request_error", Code: "invalid_value", Param: field, Message: field + " " + must}
}

// limitsEntry are limits as the API shows them: as they are written.
type limitsEntry struct {
	RequestsPerMinute *int64        `json:"requests_per_minute"`
	TokensPerMinute   *int64        `json:"tokens_per_minute"`
	Concurrent        *int64        `json:"concurrent_requests"`
	Budgets           []budgetEntry `json:"budgets"`
}

type budgetEntry struct {
	Period  string `json:"period"`
	Tier    *uint8 `json:"tier"`
	Credits string `json:"credits"`
	Suspend bool   `json:"suspend"`
}

func showLimits(l storage.Limits) limitsEntry {
	entry := limitsEntry{l.RequestsPerMinute, l.TokensPerMinute, l.Concurrent, []budgetEntry{}}
	for _, b := range l.Budgets {
		entry.Budgets = append(entry.Budgets, budgetEntry{b.Period.String(), b.Tier, b.Credits.String(), b.Suspend})
	}
	return entry
}

// standing is where a budget stands in its current period.
type standing struct {
	Period    string     `json:"period"`
	Tier      *uint8     `json:"tier"`
	Credits   string     `json:"credits"`
	Spent     string     `json:"spent"`
	Held      string     `json:"held"`
	Remaining string     `json:"remaining"`
	Began     *time.Time `json:"began"`      // null: for ever
	Next      *time.Time `json:"next_begin"` // null: never
}

// standings tells where the budgets of a spender stand, nil if nobody counts.
func (a *api) standings(kind, id string, budgets []storage.Budget) []standing {
	if a.Engine.Budgets == nil {
		return nil
	}
	out := []standing{}
	for _, b := range budgets {
		spent, held := a.Engine.Budgets.Spent(storage.Spender(kind+id), b.Period, b.Tier)
		s := standing{
			Period: b.Period.String(), Tier: b.Tier, Credits: b.Credits.String(), Spent: spent.String(), Held: held.String(),
			Remaining: max(b.Credits-spent-held, 0).String(),
		}
		if b.Period != storage.PeriodTotal {
			began := b.Period.Start(a.Engine.Now())
			next := b.Period.Next(began)
			s.Began, s.Next = &began, &next
		}
		out = append(out, s)
	}
	return out
}

// orNull is a text for JSON, null if it is empty.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
