package main

import (
	"fmt"
	"net/url"
	"text/tabwriter"
	"time"
)

type keysCmd struct {
	Create  keysCreate  `cmd:"" help:"Create a virtual key for an account. The key is shown once."`
	List    keysList    `cmd:"" help:"List virtual keys, without the keys."`
	Show    keysShow    `cmd:"" help:"Show a virtual key with its scopes, its limits and where its budgets stand."`
	Update  keysUpdate  `cmd:"" help:"Change a virtual key: name, expiry, scopes, limits."`
	Rotate  keysRotate  `cmd:"" help:"Create a key in the place of another, with its scopes, limits and budgets. The key is shown once."`
	Disable keysDisable `cmd:"" help:"Let a virtual key do nothing until it is enabled."`
	Enable  keysEnable  `cmd:"" help:"Enable a virtual key again."`
	Revoke  keysRevoke  `cmd:"" help:"Revoke a virtual key at once and for good."`
}

// keyEntry is a virtual key as the admin API shows it, as far as it is listed.
type keyEntry struct {
	ID       string  `json:"id"`
	Account  string  `json:"account"`
	Name     string  `json:"name"`
	Hint     string  `json:"hint"`
	Key      string  `json:"key"`
	Created  string  `json:"created"`
	Revoked  string  `json:"revoked"`
	Expires  *string `json:"expires"`
	Disabled *string `json:"disabled"`
}

// keyFlags say what a key is.
type keyFlags struct {
	Name    string `help:"To tell it from others."`
	Expires string `help:"How long it is valid from now on, such as 720h, or 'never'." placeholder:"DURATION"`
	scopeFlags
	limitFlags
}

func (f *keyFlags) change(current func() ([]budget, error)) (map[string]any, error) {
	change := map[string]any{}
	put(change, "name", f.Name, f.Name != "")
	put(change, "expires", nil, f.Expires == "never")
	if f.Expires != "" && f.Expires != "never" {
		life, err := time.ParseDuration(f.Expires)
		if err != nil || life <= 0 {
			return nil, fmt.Errorf("--expires %q must be a duration such as 720h, or never", f.Expires)
		}
		change["expires"] = time.Now().Add(life).UTC().Truncate(time.Second)
	}
	scopes, err := f.scopeFlags.change()
	if err != nil {
		return nil, err
	}
	put(change, "scopes", scopes, scopes != nil)
	limits, err := f.limitFlags.change(current)
	put(change, "limits", limits, limits != nil)
	return change, err
}

type keysCreate struct {
	adminFlags
	Account string `arg:"" help:"The account the key belongs to."`
	keyFlags
}

// Run creates the key and prints it alone on standard output.
func (k *keysCreate) Run(term terminal) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	body, err := k.change(noBudgets)
	if err != nil {
		return err
	}
	body["account"] = k.Account
	return newKey(term, c, "/api/v1/admin/keys", body)
}

// newKey asks for a key and prints it.
func newKey(term terminal, c *client, path string, body any) error {
	var made keyEntry
	if err := c.call("POST", path, body, &made); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s\n", made.Key)
	fmt.Fprintf(term.err, "key %s of account %s; it is not shown again\n", made.ID, made.Account)
	return nil
}

type keysRotate struct {
	idFlags
	Overlap time.Duration `help:"How long the old key goes on." default:"24h"`
}

// Run creates the new key and prints it alone on standard output.
func (k *keysRotate) Run(term terminal) error {
	o, err := k.one("key", k.ID)
	if err != nil {
		return err
	}
	return newKey(term, o.client, o.path()+"/rotate", map[string]string{"overlap": k.Overlap.String()})
}

type keysUpdate struct {
	idFlags
	keyFlags
}

// Run changes the key.
func (k *keysUpdate) Run(term terminal) error {
	o, err := k.one("key", k.ID)
	if err != nil {
		return err
	}
	change, err := k.change(o.budgets)
	if err != nil {
		return err
	}
	return o.update(term, change, "changed")
}

type keysShow struct{ idFlags }

// Run shows the key.
func (k *keysShow) Run(term terminal) error { return k.show(term, "key") }

type keysDisable struct{ reasonFlags }

// Run disables the key.
func (k *keysDisable) Run(term terminal) error { return k.disable(term, "key") }

type keysEnable struct{ idFlags }

// Run enables the key.
func (k *keysEnable) Run(term terminal) error { return k.enable(term, "key") }

type keysList struct {
	adminFlags
	Account string `help:"Only this account's keys."`
}

// Run lists the keys.
func (k *keysList) Run(term terminal) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	var list struct{ Data []keyEntry }
	if err := c.call("GET", "/api/v1/admin/keys?account="+url.QueryEscape(k.Account), nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tACCOUNT\tKEY\tNAME\tCREATED\tEXPIRES\tREVOKED\tDISABLED")
	for _, e := range list.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Account, e.Hint, e.Name, e.Created, orEmpty(e.Expires), e.Revoked, orEmpty(e.Disabled))
	}
	return w.Flush()
}

type keysRevoke struct {
	adminFlags
	ID string `arg:"" help:"Id of the key, as listed."`
}

// Run revokes the key.
func (k *keysRevoke) Run(term terminal) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	if err := c.call("DELETE", "/api/v1/admin/keys/"+url.PathEscape(k.ID), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "key %s is revoked\n", k.ID)
	return nil
}
