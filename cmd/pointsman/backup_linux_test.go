package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/vault"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// TestBackupDrill is what an operator does after a disaster: a gateway under load is backed up, goes on, and is killed; the backup
// is restored elsewhere. The restored ledger proves, the balances are those at the backup's position, every own key that it has
// opens, and a gateway serves on it.
func TestBackupDrill(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	k.run()
	operator := newClient(k.admin, killMaster)
	var holder keyEntry // of an account that only holds own keys
	if err := operator.call("POST", "/api/v1/admin/accounts", map[string]string{"id": "holder"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := operator.call("POST", "/api/v1/admin/keys", map[string]string{"account": "holder"}, &holder); err != nil {
		t.Fatal(err)
	}
	stop := atomic.Bool{}
	var clients sync.WaitGroup
	for n := range killClients {
		clients.Go(func() {
			account := killAccounts[n%4/3]
			c := newClient(k.api, k.keys[account])
			c.http.Transport = &http.Transport{}
			defer c.http.CloseIdleConnections()
			for i := n; !stop.Load() && k.ask(c, account, i); i++ {
			}
		})
	}
	clients.Go(func() { // own keys are replaced and deleted all the while
		c := newClient(k.api, holder.Key)
		for i := 0; !stop.Load(); i++ {
			method := "PUT"
			if i%3 == 2 {
				method = "DELETE"
			}
			if err := c.call(method, byokPath, map[string]string{"key": fmt.Sprintf("sk-own-%012d", i)}, nil); err != nil && !k.killed.Load() {
				t.Errorf("%s own key: %v", method, err)
				return
			}
		}
	})
	for answered := 0; answered < 50; time.Sleep(10 * time.Millisecond) { // under load from the first backup on
		k.mu.Lock()
		answered = len(k.seen)
		k.mu.Unlock()
		if t.Failed() {
			t.FailNow()
		}
	}
	dir := t.TempDir()
	var files []string
	for i := range 6 {
		path := filepath.Join(dir, fmt.Sprintf("%d.tar", i))
		args := []string{"backup", "create", "--to", path, "--data", k.data, "--admin-url", k.admin}
		if i%2 == 1 {
			args = append(args, "--with-log", "--with-root-key")
		}
		if out := mustRun(t, killMaster, args...); !strings.Contains(out, "ledger proven up to position") {
			t.Error(out)
		}
		files = append(files, path)
		time.Sleep(time.Duration(k.random.IntN(100)) * time.Millisecond)
	}
	stop.Store(true)
	k.kill()
	clients.Wait()
	for i, file := range files {
		restored := filepath.Join(dir, fmt.Sprintf("restored-%d", i))
		args := []string{"backup", "restore", file, "--data", restored}
		if i%2 == 0 {
			args = append(args, "--root-key", filepath.Join(k.data, "root.key"))
		}
		mustRun(t, killMaster, "backup", "verify", file)
		mustRun(t, killMaster, args...)
		mustRun(t, killMaster, "ledger", "verify", "--data", restored)
		checkBalances(t, k.data, restored)
		checkOwnKeys(t, restored)
	}
	k.data = filepath.Join(dir, "restored-5")
	k.run()
	for account, key := range k.keys {
		c := newClient(k.api, key)
		if !k.ask(c, account, 0) {
			t.Errorf("%s cannot ask", account)
		}
	}
	if usage := newClient(k.api, k.keys["rich"]).lastUsage(t); usage["outcome"] == nil {
		t.Errorf("usage %v", usage)
	}
	k.kill()
}

// checkBalances compares the accounts of a restored ledger with what the lines of the original say at its position.
func checkBalances(t *testing.T, original, restored string) {
	t.Helper()
	var standing admin.LedgerStanding
	if err := json.Unmarshal([]byte(mustRun(t, killMaster, "ledger", "show", "--json", "--data", restored)), &standing); err != nil {
		t.Fatal(err)
	}
	s, err := badgerdb.OpenSnapshot(original)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	last := map[string]storage.Entry{}
	if err := s.Each(1, standing.Position, func(e *storage.Entry) error {
		last[e.Account] = *e
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(last) != len(standing.Data) || standing.Position < 100 {
		t.Errorf("%d accounts at position %d, the original has %d", len(standing.Data), standing.Position, len(last))
	}
	for _, b := range standing.Data {
		if e := last[b.Account]; b.Posted != e.Posted.String() || b.Held != e.Held.String() {
			t.Errorf("%+v, the original had posted %s, held %s", b, e.Posted, e.Held)
		}
	}
}

// checkOwnKeys opens every sealed key.
func checkOwnKeys(t *testing.T, dir string) {
	t.Helper()
	s, err := badgerdb.OpenSnapshot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keys, err := s.ProviderKeys()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(vault.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range keys {
		if key, err := v.Unseal(&keys[i]); err != nil || !strings.HasPrefix(key.Reveal(), "sk-own-") {
			t.Errorf("own key %s: %q, %v", keys[i].ID, key, err)
		}
	}
}

// TestBackupOfAStoppedGateway makes backups of a directory, sealed and not, and finds what may not be in them.
func TestBackupOfAStoppedGateway(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.api.storeKey(t, "sk-own-canary-0123456789")
	g.api.post(t, chatPath, ask("m"))
	data, master, balance, cfg, key := g.dataDir, g.masterKey.Reveal(), g.api.balance(t), g.cfg, g.api.key
	g.stopAndVerify()
	dir := t.TempDir()
	passphrase := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(passphrase, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(filepath.Join(data, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	plain, sealed := filepath.Join(dir, "plain.tar"), filepath.Join(dir, "sealed.tar.age")
	create := []string{"backup", "create", "--data", data, "--with-log", "--to"}
	mustRun(t, master, append(create, plain)...)
	mustRun(t, master, append(create, sealed, "--with-root-key", "--passphrase-file", passphrase)...)
	mustRun(t, master, append(create, dir)...)
	if named, _ := filepath.Glob(filepath.Join(dir, "pointsman-*Z.tar")); len(named) != 1 {
		t.Errorf("files named by the time: %v", named)
	}
	for _, path := range []string{plain, sealed} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{string(root[:32]), master, "sk-own-canary"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds %.8s…", path, secret)
			}
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
	}
	to := filepath.Join(dir, "new", "data")
	wrong := filepath.Join(dir, "wrong.key")
	if err := os.WriteFile(wrong, []byte(strings.Repeat("0", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"create", "--data", data, "--to", plain},
		{"create", "--data", data, "--to", filepath.Join(dir, "other.tar"), "--recipient", "nobody"},
		{"verify", sealed},
		{"verify", passphrase},
		{"restore", plain, "--data", to},
		{"restore", plain, "--data", to, "--root-key", wrong},
		{"restore", plain, "--data", data, "--without-root-key"},
		{"restore", sealed, "--data", to},
	} {
		if out, err := runs(t, master, append([]string{"backup"}, args...)...); err == nil {
			t.Errorf("backup %v: %s", args, out)
		} else {
			t.Log(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Dir(to)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if out := mustRun(t, master, "backup", "restore", plain, "--data", to, "--without-root-key"); !strings.Contains(out, "put root.key there") {
		t.Error(out)
	}
	mustRun(t, master, "backup", "verify", sealed, "--passphrase-file", passphrase)
	again := filepath.Join(dir, "again")
	mustRun(t, master, "backup", "restore", sealed, "--data", again, "--passphrase-file", passphrase)
	checkOwnKeys(t, again)
	names := []string{}
	entries, _ := os.ReadDir(again)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"ledger", "ledger.head", "log", "own.keys", "root.key", "vault.json"}; !slices.Equal(names, want) {
		t.Errorf("restored %v, want %v", names, want)
	}
	restored := startGateway(t, cfg, again)
	restored.api.key = key
	if got := restored.api.balance(t); got != balance {
		t.Errorf("balance %s, was %s", got, balance)
	}
	if u := restored.api.lastUsage(t); u["outcome"] != "ok" {
		t.Errorf("usage %v", u)
	}
}

// A backup that nobody reads any more ends with the gateway, or with the client.
func TestBackupEndsWithTheGateway(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	for range 2 {
		body, err := g.admin.stream("/api/v1/admin/backup?log=true")
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
	}
	began := time.Now()
	g.stopAndVerify()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

// A ledger that does not prove is not backed up, and whoever asked is told why; what costs nothing goes on.
func TestBackupOfADamagedLedgerFails(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	cfg, data, master, key := g.cfg, g.dataDir, g.masterKey.Reveal(), g.api.key
	g.api.storeKey(t, "sk-own-0123456789")
	g.stopAndVerify()
	if err := os.WriteFile(filepath.Join(data, "ledger.head"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	halted := startGateway(t, cfg, data)
	halted.api.key = key
	file := filepath.Join(t.TempDir(), "backup.tar")
	for _, where := range []string{"running", "stopped"} {
		if out, err := runs(t, master, "backup", "create", "--to", file, "--data", data, "--admin-url", halted.admin.base); err == nil || !strings.Contains(err.Error(), "ledger.head is damaged") {
			t.Errorf("%s: %s%v", where, out, err)
		}
		if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
			t.Errorf("%s: left behind: %v", where, left)
		}
		if where == "running" {
			if resp, body := halted.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
				t.Errorf("with an own key: %d %s", resp.StatusCode, body)
			}
			_, health := halted.api.send(t, "GET", "/health", nil)
			if !strings.Contains(health, "the credit ledger is halted") {
				t.Error(health)
			}
			halted.stop(t.Context()) //nolint:errcheck // what it does is looked at elsewhere
			halted.gateway = nil
		}
	}
}
