package replay

import (
	"cmp"
	"slices"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/storage"
)

// Breach is a budget that would have been used up.
type Breach struct {
	records.Budget
	From  time.Time `json:"from"` // beginning of the period; the zero time of one without an end
	Spent Credits   `json:"spent_credits"`
}

// spending is what would have been spent of budgets, by their place in Options.Budgets and the beginning of the period.
type spending map[spendingKey]storage.Credits

type spendingKey struct {
	budget int
	from   int64 // Unix seconds
}

func (s spending) add(budgets []records.Budget, u *storage.Usage, credits storage.Credits, tier uint8) {
	for i := range budgets {
		b := &budgets[i]
		if b.Of(u) && (b.Tier == nil || *b.Tier == tier) {
			s[spendingKey{i, b.Period.Start(u.Request.Time()).Unix()}] += credits
		}
	}
}

func (s spending) merge(o spending) {
	for k, credits := range o {
		s[k] += credits
	}
}

// breaches are the budgets that would have been used up, in the order of budgets and time.
func (s spending) breaches(budgets []records.Budget) []Breach {
	breaches := []Breach{}
	keys := make([]spendingKey, 0, len(s))
	for k := range s {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b spendingKey) int { return cmp.Or(a.budget-b.budget, cmp.Compare(a.from, b.from)) })
	for _, k := range keys {
		if s[k] >= budgets[k.budget].Credits {
			breaches = append(breaches, Breach{budgets[k.budget], time.Unix(k.from, 0).UTC(), Credits(s[k])})
		}
	}
	return breaches
}
