package main

import (
	"encoding/hex"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

var vaultKills = flag.Int("vault-kills", 10, "how often TestRotationSurvivesKills kills the gateway")

// TestRotationSurvivesKills kills the gateway in the middle of rotations, there and back. After each kill every record opens
// under exactly one of the key-encryption keys that the vault lists; the next start goes on by itself.
func TestRotationSurvivesKills(t *testing.T) {
	t.Parallel()
	const accounts = 12
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
	rounds, between := *vaultKills, 0
	if testing.Short() {
		rounds = 2
	}
	to := 1
	for round := range rounds {
		operator := newClient(k.admin, killMaster)
		if err := operator.call("POST", vaultPath+"/rotate", map[string]string{"to": sources[to]}, nil); err != nil {
			if _, code := statusOf(err); code != "invalid_value" && code != "vault_rotating" { // it is there already, or still on its way
				t.Fatalf("round %d: %v", round, err)
			}
			to = 1 - to
		}
		time.Sleep(time.Duration(k.random.IntN(60_000)) * time.Microsecond)
		k.kill()
		if k.checkSealed(accounts, round) {
			between++
		}
		k.run()
	}
	k.kill()
	t.Logf("figure: %d of %d kills came in the middle of a rotation", between, rounds)
	if hits := search(t, k.data, "sk-own-of-owner-1-0123456789", strings.Repeat("0a", 32), strings.Repeat("0b", 32)); len(hits) > 0 {
		t.Error(hits)
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
