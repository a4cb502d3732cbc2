package directory

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
)

// otherKEK is the source of a key-encryption key to rotate to.
func otherKEK(t *testing.T) vault.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(hex.EncodeToString(bytes.Repeat([]byte{9}, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	return vault.Source("file:" + path)
}

// holder makes an account with a key of its own.
func holder(t *testing.T, d *Directory, account string) {
	t.Helper()
	_, err := d.CreateAccount(storage.Account{ID: account})
	if err == nil {
		_, err = d.SetOwnKey(account, "openai", "sk-before-0123456789")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Keys open at every moment of a rotation, and none that is replaced or deleted meanwhile comes back.
func TestRewrapUnderLoad(t *testing.T) {
	d, m, reopen := open(t)
	const keys = 40
	for i := range keys {
		holder(t, d, fmt.Sprint("a", i))
	}
	before := map[[2]string]storage.ProviderKey{}
	for at, k := range m.own {
		before[at] = k
	}
	var readers sync.WaitGroup
	var ended atomic.Bool
	for i := range 4 {
		readers.Go(func() {
			for n := i; !ended.Load(); n++ {
				account := fmt.Sprint("a", 2+n%(keys-2))
				if _, key, err := d.OpenOwnKey(account, "openai"); err != nil || key.Reveal() != "sk-before-0123456789" {
					t.Errorf("%s: %q, %v", account, key.Reveal(), err)
					return
				}
			}
		})
	}
	if err := d.vault.Begin(otherKEK(t)); err != nil {
		t.Fatal(err)
	}
	if n := len(d.StaleOwnKeys()); n != keys {
		t.Errorf("%d keys are to be done", n)
	}
	if _, err := d.DeleteOwnKey("a0", "openai"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.SetOwnKey("a1", "openai", "sk-after-0123456789"); err != nil {
		t.Fatal(err)
	}
	total := 0
	if err := d.RewrapOwnKeys(t.Context(), func() { total++ }); err != nil {
		t.Fatal(err)
	}
	ended.Store(true)
	readers.Wait()
	if err := d.vault.End(); err != nil || total != keys-2 || len(d.StaleOwnKeys()) != 0 {
		t.Errorf("%d were done, %d are left, %v", total, len(d.StaleOwnKeys()), err)
	}
	for at, k := range before {
		if _, err := d.vault.Unseal(&k); !errors.Is(err, vault.ErrSealed) {
			t.Errorf("the record of %s from before opens: %v", at[0], err)
		}
	}
	d = reopen()
	for i := range keys {
		_, key, err := d.OpenOwnKey(fmt.Sprint("a", i), "openai")
		switch want := []string{"", "sk-after-0123456789", "sk-before-0123456789"}[min(i, 2)]; {
		case i == 0 && !errors.Is(err, storage.ErrNotFound):
			t.Errorf("the deleted key: %v", err)
		case i > 0 && (err != nil || key.Reveal() != want):
			t.Errorf("a%d: %q, %v", i, key.Reveal(), err)
		}
	}
}

// A store that fails in the middle leaves every key as it was or done, and the rest can be done later.
func TestRewrapGoesOnAfterAFailure(t *testing.T) {
	d, m, _ := open(t)
	for i := range 6 {
		holder(t, d, fmt.Sprint("a", i))
	}
	if err := d.vault.Begin(otherKEK(t)); err != nil {
		t.Fatal(err)
	}
	full := errors.New("disk full")
	n := 0
	if err := d.RewrapOwnKeys(t.Context(), func() {
		if n++; n == 2 {
			m.fail = full
		}
	}); n != 2 || !errors.Is(err, full) {
		t.Fatalf("%d, %v", n, err)
	}
	m.fail = nil
	ctx, stop := context.WithCancel(t.Context())
	if err := d.RewrapOwnKeys(ctx, func() { n++; stop() }); n != 3 || !errors.Is(err, context.Canceled) {
		t.Fatalf("%d, %v", n, err)
	}
	if err := d.RewrapOwnKeys(t.Context(), func() { n++ }); n != 6 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	for i := range 6 {
		if _, _, err := d.OpenOwnKey(fmt.Sprint("a", i), "openai"); err != nil {
			t.Error(err)
		}
	}
}

// A damaged record is known, keeps nothing from starting or from a rotation, and is mended by another key.
func TestUndecryptable(t *testing.T) {
	d, m, reopen := open(t)
	for _, account := range []string{"sound", "damaged"} {
		holder(t, d, account)
	}
	at := [2]string{"damaged", "openai"}
	k := m.own[at]
	k.Sealed = bytes.Clone(k.Sealed)
	k.Sealed[60] ^= 1
	m.own[at] = k
	d = reopen()
	if bad := d.UndecryptableKeys(); len(bad) != 1 || bad[0].Account != "damaged" || d.CountOwnKeys() != 2 {
		t.Fatalf("%+v", bad)
	}
	if _, key, err := d.OpenOwnKey("damaged", "openai"); !errors.Is(err, vault.ErrSealed) || key.IsSet() {
		t.Errorf("%v", err)
	}
	if err := d.vault.Begin(otherKEK(t)); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := d.RewrapOwnKeys(t.Context(), func() { n++ }); n != 1 || err != nil || len(d.StaleOwnKeys()) != 0 {
		t.Errorf("%d, %v", n, err)
	}
	if err := d.vault.End(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.SetOwnKey("damaged", "openai", "sk-after-0123456789"); err != nil {
		t.Fatal(err)
	}
	if bad := d.UndecryptableKeys(); len(bad) != 0 {
		t.Errorf("%+v", bad)
	}
}
