package records

import (
	"github.com/pointsman/pointsman/storage"
)

// Budget is one that an account, a team or a key has.
type Budget struct {
	Account string `json:"account,omitempty"`
	Team    string `json:"team,omitempty"`
	Key     string `json:"key,omitempty"`
	storage.Budget
}

// Of tells whether a request counts for the budget.
func (b *Budget) Of(u *storage.Usage) bool {
	return b.Account != "" && b.Account == u.Account || b.Team != "" && b.Team == u.Team || b.Key != "" && b.Key == u.Key
}

// Budgets are those of accounts, teams and keys.
func Budgets(accounts []storage.Account, teams []storage.Team, keys []storage.VirtualKey) (all []Budget) {
	for i := range accounts {
		for _, b := range accounts[i].Limits.Budgets {
			all = append(all, Budget{Account: accounts[i].ID, Budget: b})
		}
	}
	for i := range teams {
		for _, b := range teams[i].Limits.Budgets {
			all = append(all, Budget{Team: teams[i].ID, Budget: b})
		}
	}
	for i := range keys {
		for _, b := range keys[i].Limits.Budgets {
			all = append(all, Budget{Key: keys[i].ID, Budget: b})
		}
	}
	return all
}
