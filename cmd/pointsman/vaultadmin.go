package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/vault"
)

// rotation wraps all sealed keys anew in the background.
type rotation struct {
	stop context.CancelFunc // nil: none was ever started
	done sync.WaitGroup

	mu     sync.Mutex
	latest *admin.Rotation
}

// close ends what is under way; the next start goes on with it.
func (r *rotation) close() {
	if r.stop != nil {
		r.stop()
	}
	r.done.Wait()
}

func (r *rotation) update(change func(*admin.Rotation)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.latest)
}

// openVault opens the vault of the data directory.
func (g *gateway) openVault() (err error) {
	fresh := g.store.Halted() == nil && g.store.CountAccounts() == 0
	g.vault, err = vault.Open(vault.Config{Dir: g.dataDir, KEK: g.cfg.Vault.KEK, Fresh: fresh, Env: g.env})
	return err
}

// resumeRotation goes on with the rotation that the last run did not end, if any, and says what does not open.
func (g *gateway) resumeRotation() {
	for _, k := range g.directory.UndecryptableKeys() {
		g.log.Error("a stored provider key does not open; its account has to store it again", "account", k.Account, "provider", k.Provider, "key", k.ID)
	}
	if s := g.vault.Status(); s.NextKEK != "" {
		g.log.Info("going on with the rotation of the vault", "from", s.KEK, "to", s.NextKEK)
		g.startRotation()
	} else if s.Drift != "" {
		g.log.Warn(s.Drift)
	}
}

// startRotation begins to wrap keys anew, unless that is under way.
func (g *gateway) startRotation() {
	r := &g.rotation
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.latest != nil && r.latest.State == "running" {
		return
	}
	if r.stop != nil {
		r.stop()
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.latest = &admin.Rotation{State: "running", Left: len(g.directory.StaleOwnKeys()), Started: time.Now().UTC()}
	r.done.Go(func() {
		err := g.directory.RewrapOwnKeys(ctx, func() { r.update(func(s *admin.Rotation) { s.Done, s.Left = s.Done+1, max(0, s.Left-1) }) })
		if err == nil {
			err = g.vault.End()
		}
		ended := time.Now().UTC()
		r.update(func(s *admin.Rotation) {
			s.Ended, s.State = &ended, "done"
			if err != nil {
				s.State, s.Error = "failed", err.Error()
			}
		})
		switch status := g.vault.Status(); {
		case ctx.Err() != nil: // the gateway stops
		case err != nil:
			g.log.Error("the rotation of the vault was interrupted; another request to rotate, or a restart, goes on with it", "error", err)
		default:
			g.log.Info("the vault is rotated; the former key-encryption key is not needed any more", "kek", status.KEK, "source", string(status.Source))
		}
	})
}

// vaultAdmin is the vault as the admin API sees it.
type vaultAdmin struct{ g *gateway }

// VaultStatus is the state of the vault.
func (v vaultAdmin) VaultStatus() admin.VaultStatus {
	s := v.g.vault.Status()
	out := admin.VaultStatus{
		KEK: admin.KEK{ID: s.KEK, Source: string(s.Source)}, Keys: v.g.directory.CountOwnKeys(), Undecryptable: []admin.SealedKey{}, Drift: s.Drift,
	}
	if s.NextKEK != "" {
		out.Next = &admin.KEK{ID: s.NextKEK, Source: string(s.NextSource)}
	}
	for _, k := range v.g.directory.UndecryptableKeys() {
		out.Undecryptable = append(out.Undecryptable, admin.SealedKey{Account: k.Account, Provider: k.Provider, ID: k.ID})
	}
	v.g.rotation.mu.Lock()
	defer v.g.rotation.mu.Unlock()
	if v.g.rotation.latest != nil {
		latest := *v.g.rotation.latest
		out.Rotation = &latest
	}
	return out
}

// CheckVault opens every sealed key once.
func (v vaultAdmin) CheckVault() admin.VaultStatus {
	v.g.directory.CheckOwnKeys()
	return v.VaultStatus()
}

// RotateVault begins a rotation. A command is started only if the configuration names it: else the master key of the admin API
// would start any program.
func (v vaultAdmin) RotateVault(to, by string) error {
	source, err := vault.ParseSource(to)
	switch {
	case err != nil:
		return fmt.Errorf("%w: to %w", admin.ErrVaultSource, err)
	case source.IsCommand() && source != v.g.cfg.Vault.NextKEK:
		return fmt.Errorf("%w: a command must be that of next_kek in [vault] of the configuration", admin.ErrVaultSource)
	}
	switch err := v.g.vault.Begin(source); {
	case errors.Is(err, vault.ErrRotating):
		return fmt.Errorf("%w: %w", admin.ErrVaultRotating, err)
	case errors.Is(err, vault.ErrUnreadable), errors.Is(err, vault.ErrSameKEK):
		return fmt.Errorf("%w: %w", admin.ErrVaultSource, err)
	case err != nil:
		return err
	}
	v.g.log.Info("the vault is being rotated", "to", to, "by", by)
	v.g.startRotation()
	return nil
}

// vaultProblems are what is wrong with the vault, for everybody: no account is named.
func (g *gateway) vaultProblems() (problems []string) {
	if n := len(g.directory.UndecryptableKeys()); n > 0 {
		problems = append(problems, fmt.Sprintf("%d stored provider keys do not open (undecryptable); `pointsman vault status` names them", n))
	}
	if g.vault.Status().Drift != "" {
		problems = append(problems, "[vault] kek is not where the vault was rotated to; `pointsman vault status` says where that is")
	}
	return problems
}

// vaultSummary is "ok" or what is wrong with the vault, for operators.
func (g *gateway) vaultSummary() string {
	var faults []string
	for _, k := range g.directory.UndecryptableKeys() {
		faults = append(faults, fmt.Sprintf("the key of account %s for provider %s does not open", k.Account, k.Provider))
	}
	if len(faults) == 0 {
		return "ok"
	}
	return strings.Join(faults, "; ")
}
