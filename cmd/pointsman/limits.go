package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// limitFlags change the limits of an account, a team or a key. Those that are not given leave what there is.
type limitFlags struct {
	RequestsPerMinute  string   `help:"Requests a minute: a number, 0 for none at all, or 'none' for no limit." placeholder:"N"`
	TokensPerMinute    string   `help:"Tokens a minute, likewise." placeholder:"N"`
	ConcurrentRequests string   `help:"Requests under way at once, likewise." placeholder:"N"`
	Budget             []string `help:"Credits in a period (total, day, week, month): month=100, day=5:tier=3 for models of a tier, day=5:suspend to disable once used up, month=none for no budget. Repeatable; other budgets stay." sep:"none" placeholder:"PERIOD=CREDITS"`
}

// budget is a budget as the admin API has it.
type budget struct {
	Period  string `json:"period"`
	Tier    *int   `json:"tier"`
	Credits string `json:"credits"`
	Suspend bool   `json:"suspend"`
}

// change is the change of limits for the API, nil if there is none. current fetches the budgets that there are.
func (f *limitFlags) change(current func() ([]budget, error)) (any, error) {
	limits := map[string]any{}
	for name, text := range map[string]string{
		"requests_per_minute": f.RequestsPerMinute, "tokens_per_minute": f.TokensPerMinute, "concurrent_requests": f.ConcurrentRequests,
	} {
		switch n, err := strconv.ParseInt(text, 10, 64); {
		case text == "":
		case text == "none":
			limits[name] = nil
		case err != nil:
			return nil, fmt.Errorf("--%s %q must be a number or none", strings.ReplaceAll(name, "_", "-"), text)
		default:
			limits[name] = n
		}
	}
	if len(f.Budget) > 0 {
		budgets, err := current()
		for _, text := range f.Budget {
			if err == nil {
				budgets, err = withBudget(budgets, text)
			}
		}
		if err != nil {
			return nil, err
		}
		limits["budgets"] = budgets
	}
	if len(limits) == 0 {
		return nil, nil
	}
	return limits, nil
}

// withBudget puts a budget as a flag tells it into a list, in place of one of the same period and tier.
func withBudget(list []budget, text string) ([]budget, error) {
	parts := strings.Split(text, ":")
	period, credits, ok := strings.Cut(parts[0], "=")
	b := budget{Period: period, Credits: credits}
	for _, part := range parts[1:] {
		name, value, given := strings.Cut(part, "=")
		tier, err := strconv.Atoi(value)
		switch {
		case part == "suspend":
			b.Suspend = true
		case given && name == "tier" && err == nil:
			b.Tier = &tier
		default:
			ok = false
		}
	}
	if !ok {
		return nil, fmt.Errorf("--budget %q must be PERIOD=CREDITS, with :tier=N and :suspend behind it if wanted", text)
	}
	list = slices.DeleteFunc(slices.Clone(list), func(o budget) bool {
		return o.Period == b.Period && (o.Tier == nil) == (b.Tier == nil) && (o.Tier == nil || *o.Tier == *b.Tier)
	})
	if credits != "none" {
		list = append(list, b)
	}
	return list, nil
}

// scopeFlags change what a key may ask for.
type scopeFlags struct {
	Models    []string `help:"Only these models; 'all' for all, 'none' for none."`
	Tiers     []string `help:"Only models of these tiers (0 to 5), likewise."`
	Policies  []string `help:"Only these policies and power levels, likewise. A request that names a model goes by custom."`
	Endpoints []string `help:"Only these endpoints, such as chat, embeddings or models, likewise."`
}

// change is the change of scopes for the API, nil if there is none.
func (f *scopeFlags) change() (any, error) {
	scopes := map[string]any{}
	for name, list := range map[string][]string{"models": f.Models, "policies": f.Policies, "endpoints": f.Endpoints, "tiers": f.Tiers} {
		switch {
		case len(list) == 0:
		case slices.Equal(list, []string{"all"}):
			scopes[name] = nil
		case slices.Equal(list, []string{"none"}):
			scopes[name] = []string{}
		case name == "tiers":
			var tiers []int
			for _, text := range list {
				tier, err := strconv.Atoi(text)
				if err != nil {
					return nil, fmt.Errorf("--tiers %q must be numbers, all or none", strings.Join(list, ","))
				}
				tiers = append(tiers, tier)
			}
			scopes[name] = tiers
		default:
			scopes[name] = list
		}
	}
	if len(scopes) == 0 {
		return nil, nil
	}
	return scopes, nil
}

// one is an account, a team or a key of the admin API: kind is "account", "team" or "key".
type one struct {
	*client
	kind, id string
}

func (f adminFlags) one(kind, id string) (one, error) {
	c, err := f.client()
	return one{c, kind, id}, err
}

func (o one) path() string { return "/api/v1/admin/" + o.kind + "s/" + url.PathEscape(o.id) }

// budgets are the budgets that it has.
func (o one) budgets() ([]budget, error) {
	var shown struct {
		Limits struct {
			Budgets []budget `json:"budgets"`
		} `json:"limits"`
	}
	err := o.call("GET", o.path(), nil, &shown)
	return shown.Limits.Budgets, err
}

// update makes a change and says so.
func (o one) update(term terminal, change map[string]any, said string) error {
	if len(change) == 0 {
		return fmt.Errorf("nothing to change: see --help for what can be")
	}
	if err := o.call("PATCH", o.path(), change, nil); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s %s is %s\n", o.kind, o.id, said)
	return nil
}

// show prints it as the API has it.
func (o one) show(term terminal) error {
	var shown json.RawMessage
	if err := o.call("GET", o.path(), nil, &shown); err != nil {
		return err
	}
	text, err := json.MarshalIndent(shown, "", "  ")
	fmt.Fprintf(term.out, "%s\n", text)
	return err
}

// idFlags name one account, team or key.
type idFlags struct {
	adminFlags
	ID string `arg:"" help:"Its id, as listed."`
}

type reasonFlags struct {
	idFlags
	Reason string `help:"Why; its callers are told." default:"disabled by the operator"`
}

func (f *idFlags) show(term terminal, kind string) error {
	o, err := f.one(kind, f.ID)
	if err != nil {
		return err
	}
	return o.show(term)
}

func (f *idFlags) enable(term terminal, kind string) error {
	o, err := f.one(kind, f.ID)
	if err != nil {
		return err
	}
	return o.update(term, map[string]any{"disabled": nil}, "enabled")
}

func (f *reasonFlags) disable(term terminal, kind string) error {
	o, err := f.one(kind, f.ID)
	if err != nil {
		return err
	}
	return o.update(term, map[string]any{"disabled": f.Reason}, "disabled")
}

// put adds a change that there is.
func put(to map[string]any, name string, value any, given bool) {
	if given {
		to[name] = value
	}
}

// orNone is a text for the API, null for "none".
func orNone(text string) any {
	if text == "none" {
		return nil
	}
	return text
}

// noBudgets are those of what is only being made.
func noBudgets() ([]budget, error) { return nil, nil }
