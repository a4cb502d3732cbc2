package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
)

type vaultCmd struct {
	Status vaultStatus `cmd:"" help:"Say which key-encryption key the vault needs, how a rotation gets on, and which stored keys do not open."`
	Rotate vaultRotate `cmd:"" help:"Wrap all stored provider keys anew under another key-encryption key, while the gateway serves."`
	Check  vaultCheck  `cmd:"" help:"Open every stored provider key once. Exits with 1 if one does not open."`
}

type vaultStatus struct {
	adminFlags
}

// Run prints the state.
func (v *vaultStatus) Run(term terminal) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	var s admin.VaultStatus
	if err := c.call("GET", "/api/v1/admin/vault", nil, &s); err != nil {
		return err
	}
	printVault(term.out, s)
	return nil
}

type vaultCheck struct {
	adminFlags
}

// Run checks the keys.
func (v *vaultCheck) Run(term terminal) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	var s admin.VaultStatus
	if err := c.call("POST", "/api/v1/admin/vault/check", nil, &s); err != nil {
		return err
	}
	printVault(term.out, s)
	if n := len(s.Undecryptable); n > 0 {
		return fmt.Errorf("%d of %d stored keys do not open", n, s.Keys)
	}
	return nil
}

type vaultRotate struct {
	adminFlags
	To string `help:"Where the new key-encryption key is: file:PATH, credential:NAME, env:NAME (of the gateway), or the command:… that next_kek in [vault] names." required:"" placeholder:"SOURCE"`
}

// Run begins the rotation and follows it to its end. Ending this command does not end the rotation.
func (v *vaultRotate) Run(term terminal) error {
	c, err := v.client()
	if err != nil {
		return err
	}
	if path, ok := strings.CutPrefix(v.To, "file:"); ok {
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		v.To = "file:" + path
	}
	var s admin.VaultStatus
	if err := c.call("POST", "/api/v1/admin/vault/rotate", map[string]string{"to": v.To}, &s); err != nil {
		return err
	}
	for s.Rotation != nil && s.Rotation.State == "running" {
		time.Sleep(100 * time.Millisecond)
		s = admin.VaultStatus{}
		if err := c.call("GET", "/api/v1/admin/vault", nil, &s); err != nil {
			return fmt.Errorf("following the rotation, which goes on: %w", err)
		}
	}
	printVault(term.out, s)
	switch {
	case s.Rotation == nil:
		return errors.New("the gateway was restarted meanwhile; `pointsman vault status` tells how the rotation gets on")
	case s.Rotation.State != "done":
		return errors.New("the rotation did not end: " + s.Rotation.Error)
	}
	return nil
}

func printVault(w io.Writer, s admin.VaultStatus) {
	fmt.Fprintf(w, "key-encryption key  %s  %s\n", s.KEK.ID, s.KEK.Source)
	if s.Next != nil {
		fmt.Fprintf(w, "rotating to         %s  %s\n", s.Next.ID, s.Next.Source)
	}
	if r := s.Rotation; r != nil {
		fmt.Fprintf(w, "rotation            %s: %d done, %d left", r.State, r.Done, r.Left)
		if r.Ended != nil {
			fmt.Fprintf(w, ", %v", r.Ended.Sub(r.Started).Round(time.Millisecond))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "stored keys         %d, of which %d do not open\n", s.Keys, len(s.Undecryptable))
	for _, k := range s.Undecryptable {
		fmt.Fprintf(w, "undecryptable       account %s, provider %s, %s\n", k.Account, k.Provider, k.ID)
	}
	if s.Drift != "" {
		fmt.Fprintf(w, "configuration       %s\n", s.Drift)
	}
}
