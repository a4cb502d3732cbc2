package main

import (
	"fmt"
	"net/url"
	"text/tabwriter"
)

type keysCmd struct {
	Create keysCreate `cmd:"" help:"Create a virtual key for an account. The key is shown once."`
	List   keysList   `cmd:"" help:"List virtual keys, without the keys."`
	Revoke keysRevoke `cmd:"" help:"Revoke a virtual key at once."`
}

// keyEntry is a virtual key as the admin API shows it.
type keyEntry struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	Name    string `json:"name"`
	Hint    string `json:"hint"`
	Key     string `json:"key"`
	Created string `json:"created"`
	Revoked string `json:"revoked"`
}

type keysCreate struct {
	adminFlags
	Account string `arg:"" help:"The account the key belongs to."`
	Name    string `help:"A name to know it by."`
}

// Run creates the key and prints it.
func (k *keysCreate) Run(term terminal) error {
	c, err := k.client()
	if err != nil {
		return err
	}
	var made keyEntry
	if err := c.call("POST", "/api/v1/admin/keys", map[string]string{"account": k.Account, "name": k.Name}, &made); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s\n", made.Key)
	fmt.Fprintf(term.err, "key %s of account %s; it is not shown again\n", made.ID, made.Account)
	return nil
}

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
	fmt.Fprintln(w, "ID\tACCOUNT\tKEY\tNAME\tCREATED\tREVOKED")
	for _, e := range list.Data {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Account, e.Hint, e.Name, e.Created, e.Revoked)
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
