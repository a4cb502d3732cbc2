package main

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// TestRotationSurvivesKills kills the gateway in the middle of rotations, there and back, and of their being gone on with after a kill.
// After each kill every record opens under exactly one of the key-encryption keys that the vault lists; the next start goes on by itself.
func TestRotationSurvivesKills(t *testing.T) {
	t.Parallel()
	const accounts = 24
	k := newKilling(t)
	sources := []string{kekFile(t, "0a"), kekFile(t, "0b")}
	text, err := os.ReadFile(k.config)
	if err == nil {
		err = os.WriteFile(k.config, fmt.Appendf(text, "[vault]\nkek = %q\n", sources[0]), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.run()
	operator := newClient(k.admin, killMaster)
	for i := range accounts {
		id := fmt.Sprint("owner-", i)
		var key keyEntry
		if err := operator.call("POST", "/api/v1/admin/accounts", map[string]string{"id": id}, nil); err != nil {
			t.Fatal(err)
		}
		if err := operator.call("POST", "/api/v1/admin/keys", map[string]string{"account": id}, &key); err != nil {
			t.Fatal(err)
		}
		newClient(k.api, key.Key).storeKey(t, "sk-own-of-"+id+"-0123456789")
	}
	rounds, between := times(10, 100), 0
	if testing.Short() {
		rounds = 4
	}
	to := 1
	for round := range rounds {
		to = k.rotating(sources, to)
		k.rewrapped(k.random.Float64() / 2)
		k.kill()
		if k.checkSealed(accounts, round) {
			between++
		}
		k.run()
	}
	k.kill()
	figure(t, "%d of %d kills came in the middle of a rotation, when some of %d keys were under the former key-encryption key and some under the next", between, rounds, accounts)
	if between == 0 || allFaults() && between <= rounds/2 {
		t.Error("the kills missed the rotations")
	}
	if hits := search(t, k.data, "sk-own-of-owner-1-0123456789", strings.Repeat("0a", 32), strings.Repeat("0b", 32)); len(hits) > 0 {
		t.Error(hits)
	}
}

// rotating makes sure that a rotation is under way, to the source of that number or the other one, and returns to which.
func (k *killing) rotating(sources []string, to int) int {
	k.t.Helper()
	operator := newClient(k.admin, killMaster)
	for range 2 {
		err := operator.call("POST", vaultPath+"/rotate", map[string]string{"to": sources[to]}, nil)
		if err == nil {
			return to
		}
		_, code := statusOf(err)
		switch to = 1 - to; code {
		case "vault_rotating": // since before the kill, and to there
			return to
		case "invalid_value": // the vault is there already
		default:
			k.t.Fatal(err)
		}
	}
	k.t.Fatal("the vault can be rotated to neither")
	return to
}

// rewrapped returns when the rotation under way has wrapped that share of its keys anew, or is over.
func (k *killing) rewrapped(share float64) {
	k.t.Helper()
	operator := newClient(k.admin, killMaster)
	for deadline := time.Now().Add(10 * time.Second); ; {
		var s admin.VaultStatus
		if err := operator.call("GET", vaultPath, nil, &s); err != nil {
			k.t.Fatal(err)
		}
		if r := s.Rotation; r == nil || r.State != "running" || r.Done > 0 && float64(r.Done) >= share*float64(r.Done+r.Left) {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("the rotation stands still: %+v", s.Rotation)
		}
	}
}

// checkSealed opens what the killed gateway left, and tells whether that was in the middle of a rotation.
func (k *killing) checkSealed(accounts, round int) (between bool) {
	k.t.Helper()
	store, err := badgerdb.Open(badgerdb.Config{Dir: k.data, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		k.t.Fatal(err)
	}
	defer store.Close()
	keys, err := store.ProviderKeys()
	if err != nil || len(keys) != accounts {
		k.t.Fatalf("round %d: %d keys, %v", round, len(keys), err)
	}
	copied := filepath.Join(k.t.TempDir(), "vault") // for opening it changes it
	for _, name := range []string{"vault.json", "own.keys"} {
		text, err := os.ReadFile(filepath.Join(k.data, name))
		if err == nil {
			err = os.MkdirAll(copied, 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(copied, name), text, 0o600)
		}
		if err != nil {
			k.t.Fatal(err)
		}
	}
	v, err := vault.Open(vault.Config{Dir: copied, KEK: k.source()})
	if err != nil {
		k.t.Fatalf("round %d: %v", round, err)
	}
	defer v.Close()
	s := v.Status()
	under := map[string]int{}
	for i := range keys {
		if key, err := v.Unseal(&keys[i]); err != nil || key.Reveal() != "sk-own-of-"+keys[i].Account+"-0123456789" {
			k.t.Errorf("round %d: the key of %s: %v", round, keys[i].Account, err)
		}
		under[hex.EncodeToString(keys[i].Sealed[33:41])]++ // the id that the record names
	}
	if under[s.KEK]+under[s.NextKEK] != accounts || len(under) > 2 {
		k.t.Errorf("round %d: records are under %v, the vault lists %s and %q", round, under, s.KEK, s.NextKEK)
	}
	return len(under) == 2
}

// source is what the configuration names.
func (k *killing) source() vault.Source {
	cfg, err := loadConfig(k.config)
	if err != nil {
		k.t.Fatal(err)
	}
	return cfg.Vault.KEK
}
