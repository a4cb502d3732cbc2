package main

import (
	"fmt"
	"net/url"
	"text/tabwriter"
)

type accountsCmd struct {
	Create   accountsCreate   `cmd:"" help:"Create an account with the opening credits of the configuration."`
	List     accountsList     `cmd:"" help:"List accounts with their balances."`
	Show     accountsShow     `cmd:"" help:"Show an account with its limits and where its budgets stand."`
	Update   accountsUpdate   `cmd:"" help:"Change an account: tier, power level, team, overdraft, limits."`
	Disable  accountsDisable  `cmd:"" help:"Let an account do nothing until it is enabled."`
	Enable   accountsEnable   `cmd:"" help:"Enable an account again."`
	Grant    accountsGrant    `cmd:"" help:"Add credits to an account, once per reference."`
	Transfer accountsTransfer `cmd:"" help:"Move credits from one account to another, once per reference."`
}

// accountEntry is an account as the admin API shows it, as far as it is listed.
type accountEntry struct {
	ID        string  `json:"id"`
	Tier      string  `json:"tier"`
	Level     string  `json:"default_power_level"`
	Team      *string `json:"team"`
	Disabled  *string `json:"disabled"`
	Remaining string  `json:"credits_remaining"`
	Held      string  `json:"credits_held"`
}

// accountFlags say what an account is.
type accountFlags struct {
	Tier      string `help:"free, starter, professional or enterprise."`
	Level     string `help:"Default power level: eco, balanced or precision."`
	Team      string `help:"Whose limits hold for it too, or 'none'."`
	Overdraft string `help:"How far below zero its credits may go, or 'none'." placeholder:"CREDITS"`
	limitFlags
}

func (f *accountFlags) change(current func() ([]budget, error)) (map[string]any, error) {
	change := map[string]any{}
	put(change, "tier", f.Tier, f.Tier != "")
	put(change, "default_power_level", f.Level, f.Level != "")
	put(change, "team", orNone(f.Team), f.Team != "")
	put(change, "overdraft", orNone(f.Overdraft), f.Overdraft != "")
	limits, err := f.limitFlags.change(current)
	put(change, "limits", limits, limits != nil)
	return change, err
}

type accountsCreate struct {
	adminFlags
	ID string `arg:"" help:"1 to 64 of a-z, 0-9, '.', '_', '-'."`
	accountFlags
}

// Run creates the account.
func (a *accountsCreate) Run(term terminal) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	body, err := a.change(noBudgets)
	if err != nil {
		return err
	}
	body["id"] = a.ID
	var made accountEntry
	if err := c.call("POST", "/api/v1/admin/accounts", body, &made); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "account %s: %s credits, tier %s, power level %s\n", made.ID, made.Remaining, made.Tier, made.Level)
	return nil
}

type accountsUpdate struct {
	idFlags
	accountFlags
}

// Run changes the account.
func (a *accountsUpdate) Run(term terminal) error {
	o, err := a.one("account", a.ID)
	if err != nil {
		return err
	}
	change, err := a.change(o.budgets)
	if err != nil {
		return err
	}
	return o.update(term, change, "changed")
}

type accountsShow struct{ idFlags }

// Run shows the account.
func (a *accountsShow) Run(term terminal) error { return a.show(term, "account") }

type accountsDisable struct{ reasonFlags }

// Run disables the account.
func (a *accountsDisable) Run(term terminal) error { return a.disable(term, "account") }

type accountsEnable struct{ idFlags }

// Run enables the account.
func (a *accountsEnable) Run(term terminal) error { return a.enable(term, "account") }

type accountsList struct{ adminFlags }

// Run lists the accounts.
func (a *accountsList) Run(term terminal) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var list struct{ Data []accountEntry }
	if err := c.call("GET", "/api/v1/admin/accounts", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ACCOUNT\tCREDITS\tHELD\tTIER\tPOWER LEVEL\tTEAM\tDISABLED")
	for _, e := range list.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Remaining, e.Held, e.Tier, e.Level, orEmpty(e.Team), orEmpty(e.Disabled))
	}
	return w.Flush()
}

func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

type accountsGrant struct {
	adminFlags
	ID        string `arg:"" help:"The account."`
	Amount    string `arg:"" help:"Credits, a decimal number. An adjustment may take credits back: put -- before the arguments, as in -- alice -5."`
	Reference string `required:"" help:"What the grant is for, such as an invoice number. The same reference grants once."`
	Kind      string `help:"purchase, bonus, refund or adjustment." default:"purchase" enum:"purchase,bonus,refund,adjustment"`
}

// Run grants the credits.
func (a *accountsGrant) Run(term terminal) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var after accountEntry
	body := map[string]string{"amount": a.Amount, "reference": a.Reference, "kind": a.Kind}
	if err := c.call("POST", "/api/v1/admin/accounts/"+url.PathEscape(a.ID)+"/credits", body, &after); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "account %s: %s credits\n", a.ID, after.Remaining)
	return nil
}

type accountsTransfer struct {
	adminFlags
	From      string `arg:"" help:"The account that gives."`
	To        string `arg:"" help:"The account that takes."`
	Amount    string `arg:"" help:"Credits, a decimal number."`
	Reference string `required:"" help:"What the transfer is for. The same reference transfers once."`
}

// Run transfers the credits.
func (a *accountsTransfer) Run(term terminal) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var after accountEntry
	body := map[string]string{"from": a.From, "to": a.To, "amount": a.Amount, "reference": a.Reference}
	if err := c.call("POST", "/api/v1/admin/transfers", body, &after); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "account %s: %s credits\n", a.From, after.Remaining)
	return nil
}
