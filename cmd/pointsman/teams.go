package main

import (
	"fmt"
	"text/tabwriter"
)

type teamsCmd struct {
	Create  teamsCreate  `cmd:"" help:"Create a team: accounts with limits in common."`
	List    teamsList    `cmd:"" help:"List teams."`
	Show    teamsShow    `cmd:"" help:"Show a team with its limits and where its budgets stand."`
	Update  teamsUpdate  `cmd:"" help:"Change a team: name, limits. Accounts are moved by accounts update --team."`
	Disable teamsDisable `cmd:"" help:"Let all accounts of a team do nothing until it is enabled."`
	Enable  teamsEnable  `cmd:"" help:"Enable a team again."`
	Delete  teamsDelete  `cmd:"" help:"Delete a team that has no accounts."`
}

// teamFlags say what a team is.
type teamFlags struct {
	Name string `help:"For people."`
	limitFlags
}

func (f *teamFlags) change(current func() ([]budget, error)) (map[string]any, error) {
	change := map[string]any{}
	put(change, "name", f.Name, f.Name != "")
	limits, err := f.limitFlags.change(current)
	put(change, "limits", limits, limits != nil)
	return change, err
}

type teamsCreate struct {
	adminFlags
	ID string `arg:"" help:"1 to 64 of a-z, 0-9, '.', '_', '-'."`
	teamFlags
}

// Run creates the team.
func (t *teamsCreate) Run(term terminal) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	body, err := t.change(noBudgets)
	if err != nil {
		return err
	}
	body["id"] = t.ID
	if err := c.call("POST", "/api/v1/admin/teams", body, nil); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "team %s is created\n", t.ID)
	return nil
}

type teamsUpdate struct {
	idFlags
	teamFlags
}

// Run changes the team.
func (t *teamsUpdate) Run(term terminal) error {
	o, err := t.one("team", t.ID)
	if err != nil {
		return err
	}
	change, err := t.change(o.budgets)
	if err != nil {
		return err
	}
	return o.update(term, change, "changed")
}

type teamsShow struct{ idFlags }

// Run shows the team.
func (t *teamsShow) Run(term terminal) error { return t.show(term, "team") }

type teamsDisable struct{ reasonFlags }

// Run disables the team.
func (t *teamsDisable) Run(term terminal) error { return t.disable(term, "team") }

type teamsEnable struct{ idFlags }

// Run enables the team.
func (t *teamsEnable) Run(term terminal) error { return t.enable(term, "team") }

type teamsDelete struct{ idFlags }

// Run deletes the team.
func (t *teamsDelete) Run(term terminal) error {
	o, err := t.one("team", t.ID)
	if err != nil {
		return err
	}
	if err := o.call("DELETE", o.path(), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "team %s is deleted\n", t.ID)
	return nil
}

type teamsList struct{ adminFlags }

// Run lists the teams.
func (t *teamsList) Run(term terminal) error {
	c, err := t.client()
	if err != nil {
		return err
	}
	var list struct {
		Data []struct {
			ID, Name string
			Accounts int
			Disabled *string
		}
	}
	if err := c.call("GET", "/api/v1/admin/teams", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TEAM\tNAME\tACCOUNTS\tDISABLED")
	for _, e := range list.Data {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", e.ID, e.Name, e.Accounts, orEmpty(e.Disabled))
	}
	return w.Flush()
}
