package engine

import (
	"reflect"
	"testing"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/limit"
	"github.com/pointsman/pointsman/storage"
)

func of(n int64) *int64 { return &n }

// Every limit of a key, its account and its team counts; what a key or an account does not say the configuration does; nil is
// none, 0 is 0.
func TestClaimsOfCallers(t *testing.T) {
	configured := Limits{Keys: storage.Limits{RequestsPerMinute: of(60)}, Accounts: storage.Limits{TokensPerMinute: of(900), Concurrent: of(9)}}
	key := func(id, spends string, l storage.Limits) *directory.Caller {
		return &directory.Caller{Account: &storage.Account{ID: "a"}, KeyID: id, Key: &storage.VirtualKey{ID: id, Spends: spends, Limits: l}}
	}
	in := func(c *directory.Caller, account storage.Limits, team *storage.Team) *directory.Caller {
		c.Account.Limits, c.Team = account, team
		return c
	}
	none := int64(limit.None)
	for _, c := range []struct {
		name   string
		limits Limits
		caller *directory.Caller
		want   []limit.Claim
	}{
		{"nobody has any", Limits{}, in(key("k1", "", storage.Limits{}), storage.Limits{}, &storage.Team{ID: "t"}), nil},
		{"defaults", configured, key("k1", "", storage.Limits{}), []limit.Claim{
			{Of: limit.Key, ID: "k1", Limits: limit.Limits{Requests: 60, Tokens: none, Concurrent: none}},
			{Of: limit.Account, ID: "a", Limits: limit.Limits{Requests: none, Tokens: 900, Concurrent: 9}},
		}},
		{"their own, each for itself", configured, in(key("k1", "", storage.Limits{RequestsPerMinute: of(0), Concurrent: of(2)}), storage.Limits{Concurrent: of(3)}, nil), []limit.Claim{
			{Of: limit.Key, ID: "k1", Limits: limit.Limits{Requests: 0, Tokens: none, Concurrent: 2}},
			{Of: limit.Account, ID: "a", Limits: limit.Limits{Requests: none, Tokens: 900, Concurrent: 3}},
		}},
		{"a rotated key and a team", Limits{}, in(key("k2", "k1", storage.Limits{TokensPerMinute: of(5)}), storage.Limits{}, &storage.Team{ID: "t", Limits: storage.Limits{RequestsPerMinute: of(7)}}), []limit.Claim{
			{Of: limit.Key, ID: "k1", Limits: limit.Limits{Requests: none, Tokens: 5, Concurrent: none}},
			{Of: limit.Team, ID: "t", Limits: limit.Limits{Requests: 7, Tokens: none, Concurrent: none}},
		}},
		{"below zero", Limits{}, key("k1", "", storage.Limits{Concurrent: of(-1)}), []limit.Claim{
			{Of: limit.Key, ID: "k1", Limits: limit.Limits{Requests: none, Tokens: none, Concurrent: 0}},
		}},
	} {
		if got := c.limits.claims(nil, c.caller); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// BenchmarkUnlimitedCaller is what limits cost a caller that has none.
func BenchmarkUnlimitedCaller(b *testing.B) {
	var limits Limits
	caller := &directory.Caller{Account: &storage.Account{ID: "a"}, Team: &storage.Team{ID: "t"}, Key: &storage.VirtualKey{ID: "k"}, KeyID: "k"}
	b.ReportAllocs()
	for b.Loop() {
		var room [limit.MaxClaims]limit.Claim
		if len(limits.claims(room[:0], caller)) > 0 {
			b.Fatal("limits of nobody")
		}
	}
}
