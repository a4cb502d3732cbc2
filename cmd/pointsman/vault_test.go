package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

const vaultPath = "/api/v1/admin/vault"

// kekFile makes a key-encryption key in a file and returns its source.
func kekFile(t testing.TB, fill string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, []byte(strings.Repeat(fill, 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "file:" + path
}

// rotate rotates a running gateway's vault and waits until that has ended.
func (c *client) rotate(t testing.TB, to string) (s admin.VaultStatus) {
	t.Helper()
	if err := c.call("POST", vaultPath+"/rotate", map[string]string{"to": to}, &s); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Rotation.State == "running"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", *s.Rotation)
		}
		s = admin.VaultStatus{}
		if err := c.call("GET", vaultPath, nil, &s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// restarted stops the gateway and starts it again on its data, with another configuration of the vault.
func (g *testGateway) restarted(t testing.TB, kek string) (*testGateway, error) {
	t.Helper()
	cfg, data := g.cfg, g.dataDir
	g.stopAndVerify()
	cfg.Vault.KEK = vault.Source(kek)
	again, err := start(context.Background(), cfg, options{dataDir: data, log: slog.New(slog.DiscardHandler), env: noEnv})
	if err != nil {
		return nil, err
	}
	tg := watched(t, again, &evidence{})
	tg.api.key = g.api.key
	t.Cleanup(func() { tg.stopAndVerify() })
	return tg, nil
}

// The vault is rotated while requests with own keys go on: none fails, and all keys, virtual ones too, are what they were after
// a restart without the former key-encryption key.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	takes(up[0], "sk-own-0123456789-tail")
	owners := []*client{g.api}
	for i := range 20 {
		owners = append(owners, g.account(fmt.Sprint("owner-", i)))
	}
	for _, c := range owners {
		c.storeKey(t, "sk-own-0123456789-tail")
	}
	var load sync.WaitGroup
	var ended atomic.Bool
	var answered atomic.Int64
	for i := range 4 {
		load.Go(func() {
			for n := i; !ended.Load(); n++ {
				resp, body := owners[n%len(owners)].post(t, chatPath, ask("m"))
				if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Credits") != "0" {
					t.Errorf("%d: %s", resp.StatusCode, body)
					return
				}
				answered.Add(1)
			}
		})
	}
	second, third := kekFile(t, "02"), kekFile(t, "03")
	first := admin.VaultStatus{}
	if err := g.admin.call("GET", vaultPath, nil, &first); err != nil || first.Keys != len(owners) || first.KEK.Source != "file:root.key" {
		t.Fatalf("%+v, %v", first, err)
	}
	for _, to := range []string{second, third} {
		before := answered.Load()
		s := g.admin.rotate(t, to)
		if s.Rotation.State != "done" || s.Rotation.Done != len(owners) || s.Rotation.Left != 0 || s.KEK.Source != to || s.KEK.ID == first.KEK.ID || s.Next != nil || s.Drift == "" {
			t.Errorf("%+v, %+v", s, s.Rotation)
		}
		t.Logf("%d keys in %v, %d requests meanwhile", s.Rotation.Done, s.Rotation.Ended.Sub(s.Rotation.Started), answered.Load()-before)
	}
	ended.Store(true)
	load.Wait()
	var health struct{ Problems []string }
	if err := g.api.call("GET", "/health", nil, &health); err != nil || len(health.Problems) != 1 {
		t.Errorf("%v, %v", health, err)
	}
	if err := os.Remove(filepath.Join(g.dataDir, "root.key")); err != nil {
		t.Fatal(err)
	}
	for _, kek := range []string{"", third} { // as it was, and as it should be
		again, err := g.restarted(t, kek)
		if err != nil {
			t.Fatal(err)
		}
		g = again
		for _, c := range owners {
			c.base = g.api.base
			if resp, body := c.post(t, chatPath, ask("m")); resp.StatusCode != http.StatusOK {
				t.Errorf("%q: %d %s", kek, resp.StatusCode, body)
			}
		}
	}
	data, cfg := g.dataDir, g.cfg
	g.stopAndVerify()
	cfg.Vault.KEK = vault.Source(second)
	if again, err := start(context.Background(), cfg, options{dataDir: data, log: slog.New(slog.DiscardHandler), env: noEnv}); !errors.Is(err, vault.ErrKEK) || strings.Contains(err.Error(), "\n") {
		t.Errorf("with a retired key-encryption key: %v", err)
		again.stop(t.Context()) //nolint:errcheck // it should not run
	}
}

// P39: without the key-encryption key nothing is served, and nothing new is made in its place.
func TestLostKEKRefusesTheStart(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	root := filepath.Join(g.dataDir, "root.key")
	text, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	id := g.vault.Status().KEK
	for name, spoil := range map[string]func() error{
		"lost":  func() error { return os.Remove(root) },
		"other": func() error { return os.WriteFile(root, []byte(strings.Repeat("ab", 32)), 0o600) },
	} {
		data, cfg := g.dataDir, g.cfg
		g.stopAndVerify()
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		_, err := start(context.Background(), cfg, options{dataDir: data, log: slog.New(slog.DiscardHandler), env: noEnv})
		if !errors.Is(err, vault.ErrKEK) || !strings.Contains(err.Error(), "id "+id) || !strings.Contains(err.Error(), "root.key") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.WriteFile(root, text, 0o600); err != nil {
			t.Fatal(err)
		}
		key := g.api.key
		g = startGateway(t, cfg, data)
		if _, ok := g.directory.Caller([]byte(key)); !ok {
			t.Errorf("%s: the virtual key is not known any more", name)
		}
		g.api.key = key
	}
}

// A stored key that does not open is seen by everyone it concerns, stops nothing else, and is never replaced by the platform's.
func TestUndecryptableKeyIsShown(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	sound := g.account("sound")
	g.api.storeKey(t, "sk-own-0123456789-tail")
	sound.storeKey(t, "sk-own-9876543210-tail")
	cfg, data, key, soundKey := g.cfg, g.dataDir, g.api.key, sound.key
	g.stopAndVerify()
	store, err := badgerdb.Open(badgerdb.Config{Dir: data, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := store.ProviderKeys()
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	damaged := keys[0] // of "default"
	damaged.Sealed[len(damaged.Sealed)-1] ^= 1
	if err := errors.Join(store.PutProviderKey(damaged), store.Close()); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, cfg, data)
	g.api.key = key
	sound = newClient(g.api.base, soundKey)

	resp, body := g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "provider_key_unreadable") || !strings.Contains(body, "PUT "+byokPath) || up[0].Count() != 0 {
		t.Errorf("%d %s, the provider was asked %d times", resp.StatusCode, body, up[0].Count())
	}
	if resp, body := sound.post(t, chatPath, ask("m")); resp.StatusCode != http.StatusOK {
		t.Errorf("another's: %d %s", resp.StatusCode, body)
	}
	var shown shownKey
	if err := g.api.call("GET", byokPath, nil, &shown); err != nil || shown.Status != "undecryptable" || shown.Reason == "" {
		t.Errorf("%+v, %v", shown, err)
	}
	var health struct{ Problems []string }
	if err := g.api.call("GET", "/health", nil, &health); err != nil || len(health.Problems) != 1 || !strings.Contains(health.Problems[0], "undecryptable") || strings.Contains(health.Problems[0], "default") {
		t.Errorf("%+v, %v", health, err)
	}
	var s admin.VaultStatus
	if err := g.admin.call("POST", vaultPath+"/check", nil, &s); err != nil || s.Keys != 2 || len(s.Undecryptable) != 1 || s.Undecryptable[0].Account != "default" || s.Undecryptable[0].Provider != "up0" {
		t.Errorf("%+v, %v", s, err)
	}
	var out bytes.Buffer
	t.Setenv("POINTSMAN_MASTER_KEY", g.admin.key)
	for _, args := range [][]string{{"vault", "check"}, {"doctor", "--url", g.api.base, "--config", cfg.File}} {
		out.Reset()
		if code := run(append(args, "--admin-url", g.admin.base), terminal{&out, &out}); code != 1 || !strings.Contains(out.String(), "account default") {
			t.Errorf("%v: %d\n%s", args, code, out.String())
		}
	}
	if s := g.admin.rotate(t, kekFile(t, "07")); s.Rotation.State != "done" || s.Rotation.Done != 1 {
		t.Errorf("%+v", *s.Rotation)
	}
	g.api.storeKey(t, "sk-own-another-6789")
	if resp, body := g.api.post(t, chatPath, ask("m")); resp.StatusCode != http.StatusOK {
		t.Errorf("after storing it again: %d %s", resp.StatusCode, body)
	}
	out.Reset()
	if code := run([]string{"vault", "check", "--admin-url", g.admin.base}, terminal{&out, &out}); code != 0 || !strings.Contains(out.String(), "2, of which 0 do not open") {
		t.Errorf("%d\n%s", code, out.String())
	}
}

func TestRotationIsRefused(t *testing.T) {
	g := newGateway(t, "[vault]\nnext_kek = \"command:/bin/cat /no/such/kek\"\n", nil)
	for to, want := range map[string]string{
		"": "must be", "root.key": "must be", "file:relative": "must be", "file:/no/such/kek": "no such file", "env:NO_SUCH_KEK": "not set",
		"command:/bin/echo " + strings.Repeat("00", 32): "next_kek", "command:/bin/cat /no/such/kek": "exit status 1",
		"file:" + filepath.Join(g.dataDir, "root.key"): "that one already", "file:" + filepath.Join(g.dataDir, "master.key"): "hex digits",
	} {
		resp, body := g.admin.post(t, vaultPath+"/rotate", map[string]string{"to": to})
		if resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, `"param":"to"`) || !strings.Contains(body, want) || strings.Contains(body, "sk-pointsman-") {
			t.Errorf("%q: %d %s", to, resp.StatusCode, body)
		}
	}
	if s := g.vault.Status(); s.NextKEK != "" {
		t.Errorf("%+v", s)
	}
}

// The command tells what it did, and a second rotation to the same key-encryption key is refused.
func TestVaultCommand(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.api.storeKey(t, "sk-own-0123456789-tail")
	t.Setenv("POINTSMAN_MASTER_KEY", g.admin.key)
	to := kekFile(t, "05")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"status"}, 0, []string{"file:root.key", "1, of which 0 do not open"}},
		{[]string{"rotate", "--to", to}, 0, []string{to, "done: 1 done, 0 left", "set kek to that"}},
		{[]string{"rotate", "--to", to}, 1, []string{"that one already"}},
		{[]string{"rotate"}, 2, []string{"--to"}},
		{[]string{"check"}, 0, []string{"1, of which 0 do not open"}},
	} {
		var out bytes.Buffer
		args := append([]string{"vault"}, append(c.args, "--admin-url", g.admin.base)...)
		if code := run(args, terminal{&out, &out}); code != c.code {
			t.Errorf("%v: %d", c.args, code)
		}
		for _, part := range c.want {
			if !strings.Contains(out.String(), part) || strings.Contains(out.String(), "rotating to") {
				t.Errorf("%v does not say %q:\n%s", c.args, part, out.String())
			}
		}
	}
}

// B5: from the answer to the deletion on no request uses the key, however many are on their way.
func TestDeletedKeyIsUnusableAtOnce(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for round := range 5 {
		key := fmt.Sprintf("sk-own-deleted-%d-0123456789", round)
		g.api.storeKey(t, key)
		var load sync.WaitGroup
		var ended atomic.Bool
		for range 4 {
			load.Go(func() {
				for !ended.Load() {
					g.api.post(t, chatPath, ask("m"))
				}
			})
		}
		for seen := up[0].Count(); up[0].Count() < seen+20; time.Sleep(time.Millisecond) {
		}
		if err := g.api.call("DELETE", byokPath, nil, nil); err != nil {
			t.Fatal(err)
		}
		deleted := time.Now()
		for seen := up[0].Count(); up[0].Count() < seen+20; time.Sleep(time.Millisecond) {
		}
		ended.Store(true)
		load.Wait()
		used, late := 0, time.Duration(0)
		for _, r := range up[0].Requests() {
			if strings.Contains(r.Authorization, key) {
				used++
				late = max(late, r.Time.Sub(deleted))
			}
		}
		// What was opened before the deletion may arrive just after its answer.
		if used == 0 || late > 500*time.Millisecond {
			t.Errorf("round %d: used %d times, the last %v after the deletion", round, used, late)
		}
	}
}

// B4: requests of two accounts go over one connection, each with the key of its account.
func TestKeysDoNotMixOnOneConnection(t *testing.T) {
	type seen struct{ connection, key, text string }
	var mu sync.Mutex
	var all []seen
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var asked struct{ Messages []struct{ Content string } }
		if err := json.Unmarshal(body, &asked); err != nil || len(asked.Messages) == 0 {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		mu.Lock()
		all = append(all, seen{r.RemoteAddr, r.Header.Get("Authorization"), asked.Messages[0].Content})
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"x","object":"chat.completion","model":"x","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"y"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`) //nolint:errcheck // the client would tell
	}))
	t.Cleanup(up.Close)
	_, toml := upstreams(t, 1)
	at := strings.Index(toml, "base_url = ")
	end := at + strings.IndexByte(toml[at:], '\n')
	g := newGateway(t, toml[:at]+fmt.Sprintf("base_url = %q", up.URL+"/v1")+toml[end:], nil)
	clients := map[string]*client{"alice": g.account("alice"), "bob": g.account("bob"), "platform": g.account("platform")}
	keys := map[string]string{"alice": "Bearer sk-own-of-alice-0123", "bob": "Bearer sk-own-of-bob-0123456", "platform": "Bearer sk-platform-0-canary"}
	for _, name := range []string{"alice", "bob"} {
		clients[name].storeKey(t, strings.TrimPrefix(keys[name], "Bearer "))
	}
	ask := func(name string) {
		resp, body := clients[name].post(t, chatPath, map[string]any{"model": "m", "messages": user(name)})
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	for range 10 { // one after the other, so that one connection will do
		for _, name := range []string{"alice", "bob", "platform"} {
			ask(name)
		}
	}
	var load sync.WaitGroup
	for name := range clients {
		load.Go(func() {
			for range 30 {
				ask(name)
			}
		})
	}
	load.Wait()
	shared := map[string]map[string]bool{}
	for _, s := range all {
		if s.key != keys[s.text] {
			t.Errorf("a request of %s had the key %q", s.text, s.key)
		}
		if shared[s.connection] == nil {
			shared[s.connection] = map[string]bool{}
		}
		shared[s.connection][s.key] = true
	}
	most := 0
	for _, used := range shared {
		most = max(most, len(used))
	}
	if len(all) != 120 || most != 3 {
		t.Errorf("%d requests, at most %d keys on one connection: nothing is shown", len(all), most)
	}
}

// A database from before a key was deleted does not open it with the shares as they are, rotated or not; nor does a backup
// without any key-encryption key.
func TestRestoredDatabaseDoesNotBringKeysBack(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	kept := g.account("kept")
	g.api.storeKey(t, "sk-own-deleted-0123456789")
	kept.storeKey(t, "sk-own-kept-0123456789-x")
	cfg, data := g.cfg, g.dataDir
	g.stopAndVerify()
	backup := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(backup, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, cfg, data)
	if _, err := g.directory.DeleteOwnKey("default", "up0"); err != nil {
		t.Fatal(err)
	}
	g.admin.rotate(t, kekFile(t, "06"))
	g.stopAndVerify()

	old := filepath.Join(t.TempDir(), "data") // the old database, with what belongs to the vault as it is
	if err := os.CopyFS(old, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"own.keys", "vault.json"} {
		text, err := os.ReadFile(filepath.Join(data, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(old, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g = startGateway(t, cfg, old)
	if bad := g.directory.UndecryptableKeys(); len(bad) != 2 {
		t.Errorf("%d keys of the old database do not open, want both: one was deleted, one wrapped anew", len(bad))
	}
	g.stopAndVerify()

	g = startGateway(t, cfg, backup) // all of it together is as it was
	if bad := g.directory.UndecryptableKeys(); len(bad) != 0 {
		t.Errorf("%v of the whole backup do not open", bad)
	}
	g.stopAndVerify()
	if err := os.Remove(filepath.Join(backup, "root.key")); err != nil {
		t.Fatal(err)
	}
	if hits := search(t, backup, "sk-own-deleted-0123456789", "sk-own-kept-0123456789-x"); len(hits) > 0 {
		t.Error(hits)
	}
	if _, err := vault.Open(vault.Config{Dir: backup}); !errors.Is(err, vault.ErrKEK) {
		t.Errorf("without root.key: %v", err)
	}
}
