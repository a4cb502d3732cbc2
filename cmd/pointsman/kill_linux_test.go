package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

const (
	killClients = 12
	killMaster  = "sk-pointsman-of-the-kill-test"
)

// killAccounts are the accounts of TestKill. The second has so little that it is always about to run dry.
var killAccounts = []string{"rich", "poor"}

// TestKill kills the whole gateway twenty times, with twelve clients at work and now and then while it comes up. After each
// kill nothing of it runs any more and its ledger proves; after the restart no hold is open. In the end the ledger has
// exactly one hold and one end for every request, and every answer that a client got whole was charged as the client was
// told.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	k := newKilling(t)
	for round := range rounds {
		if round%5 == 4 { // in the middle of the recovery from the kill before
			k.start()
			time.Sleep(time.Duration(5+k.random.IntN(90)) * time.Millisecond)
			k.kill()
			continue
		}
		k.run()
		k.checkRestart(round)
		k.load(round, time.Duration(50+k.random.IntN(351))*time.Millisecond)
	}
	k.run()
	k.checkRestart(rounds)
	if err := k.gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.gateway.Wait(); err != nil {
		t.Errorf("stopping the gateway: %v", err)
	}
	k.verify()
	k.checkLedger()
}

// killing is a gateway that is killed again and again, and what its clients saw.
type killing struct {
	t       *testing.T
	random  *rand.Rand
	binary  string
	config  string
	data    string
	keys    map[string]string // account -> virtual key
	gateway *exec.Cmd
	stdout  *bufio.Reader
	stderr  bytes.Buffer
	api     string
	admin   string
	killed  atomic.Bool

	mu   sync.Mutex
	seen map[storage.RequestID]killAnswer
}

// killAnswer is what a client saw of an accepted request.
type killAnswer struct {
	account string
	whole   bool            // the answer came to its end
	told    storage.Credits // the charge it named; -1: none
}

func newKilling(t *testing.T) *killing {
	dir := t.TempDir()
	k := &killing{
		t: t, random: rand.New(rand.NewPCG(7, 7)), binary: buildGateway(t, dir), config: filepath.Join(dir, "pointsman.toml"),
		data: filepath.Join(dir, "data"), keys: map[string]string{}, seen: map[storage.RequestID]killAnswer{},
	}
	up, toml := upstreams(t, 1)
	up[0].Script(killScript)
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[accounts]\ndefault_credits = 0.01\n" + toml
	if err := os.WriteFile(k.config, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if k.gateway != nil && k.gateway.ProcessState == nil {
			k.gateway.Process.Kill()
			k.gateway.Wait()
		}
		if t.Failed() {
			t.Logf("the last gateway logged:\n%s", k.stderr.Bytes()[max(0, k.stderr.Len()-4000):])
		}
	})
	return k
}

// killScript spreads the answers over time, so that kills find requests in every state, and makes no two charges alike:
// some of them above what is held.
func killScript(r *scripted.Request) *scripted.Reply {
	reply := r.Default()
	tokens := fmt.Appendf(nil, `"completion_tokens":%d,`, 1+rand.IntN(200))
	for i, chunk := range reply.Chunks {
		reply.Chunks[i] = bytes.Replace(chunk, []byte(`"completion_tokens":20,`), tokens, 1)
	}
	reply.Body = bytes.Replace(reply.Body, []byte(`"completion_tokens":20,`), tokens, 1)
	reply.HoldBeforeHeaders = time.Duration(rand.IntN(4000)) * time.Microsecond
	reply.Interval = time.Duration(rand.IntN(1000)) * time.Microsecond
	return reply
}

// start starts the gateway and does not wait for it.
func (k *killing) start() {
	k.t.Helper()
	k.killed.Store(false)
	k.stderr.Reset()
	k.gateway = exec.Command(k.binary, "serve", "--config", k.config, "--data", k.data, "--log", "warn")
	k.gateway.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "POINTSMAN_MASTER_KEY=" + killMaster, "POINTSMAN_ALLOW_DUMPS=true"} // or only root could see what is left of it
	k.gateway.Stderr = &k.stderr
	out, err := k.gateway.StdoutPipe()
	if err == nil {
		err = k.gateway.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.stdout = bufio.NewReader(out)
}

var bannerAddress = regexp.MustCompile(`^ *(api|admin) +(http://[^/\s]+)`)

// run starts the gateway and returns when it takes requests.
func (k *killing) run() {
	k.t.Helper()
	k.start()
	limit := time.AfterFunc(10*time.Second, func() { k.gateway.Process.Kill() })
	defer limit.Stop()
	for k.api, k.admin = "", ""; k.admin == ""; {
		line, err := k.stdout.ReadString('\n')
		if err != nil {
			k.t.Fatalf("the gateway did not come up: %v", err)
		}
		switch found := bannerAddress.FindStringSubmatch(line); {
		case found == nil:
		case found[1] == "api":
			k.api = found[2]
		default:
			k.admin = found[2]
		}
	}
	if len(k.keys) > 0 {
		return
	}
	operator := newClient(k.admin, killMaster)
	for _, account := range killAccounts {
		var key keyEntry
		err := operator.call("POST", "/api/v1/admin/accounts", map[string]string{"id": account}, nil)
		if err == nil {
			err = operator.call("POST", "/api/v1/admin/keys", map[string]string{"account": account}, &key)
		}
		if err != nil {
			k.t.Fatal(err)
		}
		k.keys[account] = key.Key
	}
	k.grant("rich", "1000", "at the start")
}

// grant adds credits, which must then be there for good.
func (k *killing) grant(account, amount, reference string) {
	k.t.Helper()
	body := map[string]string{"amount": amount, "reference": reference, "kind": "bonus"}
	if err := newClient(k.admin, killMaster).call("POST", "/api/v1/admin/accounts/"+account+"/credits", body, nil); err != nil {
		k.t.Fatal(err)
	}
}

// load sends requests from all clients until the gateway is killed in the midst of them.
func (k *killing) load(round int, life time.Duration) {
	k.t.Helper()
	k.grant("poor", "0.002", fmt.Sprint("round ", round))
	var clients sync.WaitGroup
	for n := range killClients {
		clients.Go(func() {
			account := killAccounts[n%4/3] // one of four is poor
			c := newClient(k.api, k.keys[account])
			c.http.Transport = &http.Transport{}
			defer c.http.CloseIdleConnections()
			for i := n; k.ask(c, account, i); i++ {
			}
		})
	}
	time.Sleep(life)
	k.kill()
	clients.Wait()
}

// ask sends one request, buffered, streamed, or streamed without being told the charge; false if the gateway is gone.
func (k *killing) ask(c *client, account string, kind int) bool {
	body := ask("m")
	switch kind % 3 {
	case 1:
		body = ask("m", "stream", true, "stream_options", map[string]bool{"include_usage": true})
	case 2:
		body = ask("m", "stream", true)
	}
	resp, err := c.do("POST", chatPath, body)
	if err != nil {
		if !k.killed.Load() {
			k.t.Errorf("a request failed before the kill: %v", err)
		}
		return false
	}
	defer resp.Body.Close()
	text, readErr := io.ReadAll(resp.Body)
	switch resp.StatusCode {
	case http.StatusPaymentRequired:
		return readErr == nil
	case http.StatusOK:
	default:
		k.t.Errorf("answered with %d: %s", resp.StatusCode, text)
		return false
	}
	id, err := storage.ParseRequestID(resp.Header.Get("X-Request-Id"))
	if err != nil {
		k.t.Error(err)
	}
	a := killAnswer{account: account, told: -1, whole: readErr == nil}
	charge := resp.Header.Get("X-Pointsman-Credits")
	if kind%3 != 0 {
		a.whole = a.whole && bytes.HasSuffix(text, []byte("data: [DONE]\n\n"))
		if found := chargeInUsage.FindSubmatch(text); found != nil {
			charge = string(found[1])
		}
	}
	if charge != "" {
		if a.told, err = storage.ParseCredits(charge); err != nil {
			k.t.Error(err)
		}
	}
	if readErr == nil && (!a.whole || (kind%3 != 2) != (a.told >= 0)) {
		k.t.Errorf("an answer that looks whole is not, or does not tell its charge: %s", text)
	}
	k.mu.Lock()
	k.seen[id] = a
	k.mu.Unlock()
	return readErr == nil
}

var chargeInUsage = regexp.MustCompile(`"credits":"([0-9.]+)"`)

// kill kills the gateway; within two seconds nothing of it runs, and its ledger proves.
func (k *killing) kill() {
	k.t.Helper()
	if k.api != "" && len(k.processes()) < 2 {
		k.t.Error("there is no plugin process that could be left behind")
	}
	k.api = ""
	k.killed.Store(true)
	if err := k.gateway.Process.Kill(); err != nil {
		k.t.Fatal(err)
	}
	k.gateway.Wait()
	if code := k.gateway.ProcessState.ExitCode(); code != -1 {
		k.t.Fatalf("the gateway ended by itself with %d", code)
	}
	for died := time.Now(); len(k.processes()) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(died) > 2*time.Second {
			k.t.Fatalf("still running two seconds after the kill: %v", k.processes())
		}
	}
	k.verify()
}

// processes are those that run the binary of this test, the adapters' process too.
func (k *killing) processes() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if exe, err := os.Readlink(filepath.Join("/proc", e.Name(), "exe")); err == nil && exe == k.binary {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (k *killing) verify() {
	k.t.Helper()
	if _, err := os.Stat(filepath.Join(k.data, "ledger")); err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, k.binary, "ledger", "verify", "--data", k.data).CombinedOutput(); err != nil {
		k.t.Fatalf("the ledger does not prove: %v\n%s", err, out)
	}
}

// checkRestart looks at the balances before the first request.
func (k *killing) checkRestart(round int) {
	k.t.Helper()
	for account, key := range k.keys {
		var b struct {
			Remaining string `json:"credits_remaining"`
			Held      string `json:"credits_held"`
		}
		if err := newClient(k.api, key).call("GET", "/api/v1/llm/credits/balance", nil, &b); err != nil {
			k.t.Fatal(err)
		}
		if b.Held != "0" || strings.HasPrefix(b.Remaining, "-") {
			k.t.Errorf("after restart %d: %s has %s credits, %s of them held", round, account, b.Remaining, b.Held)
		}
	}
}

// ledgerRequest is what the ledger says of a request.
type ledgerRequest struct {
	account     string
	holds, ends int
	end         storage.Entry
}

// checkLedger holds every line against what the clients saw.
func (k *killing) checkLedger() {
	requests := map[storage.RequestID]*ledgerRequest{}
	s, err := badgerdb.Open(badgerdb.Config{Dir: k.data})
	if err != nil {
		k.t.Fatal(err)
	}
	defer s.Close()
	if n := len(s.Interrupted()); n > 0 {
		k.t.Errorf("%d holds were open after the gateway had stopped", n)
	}
	for _, account := range killAccounts {
		k.collect(s, account, requests)
	}
	interrupted, losses := 0, 0
	for id, r := range requests {
		if r.holds != 1 || r.ends != 1 {
			k.t.Errorf("request %s of %s has %d holds and %d ends", id, r.account, r.holds, r.ends)
		}
		if r.end.Kind == storage.EntryInterrupt {
			interrupted++
		}
		if r.end.Loss > 0 {
			losses++
		}
	}
	whole, cut := 0, 0
	for id, a := range k.seen {
		r := requests[id]
		switch {
		case r == nil || r.account != a.account:
			k.t.Errorf("request %s was answered, and %s has no hold for it", id, a.account)
		case !a.whole:
			cut++
		case r.end.Kind != storage.EntrySettle || r.end.Reason != string(storage.OutcomeOK):
			k.t.Errorf("request %s was answered whole, and its hold ended as %s, %q", id, r.end.Kind, r.end.Reason)
		case a.told >= 0 && a.told != r.end.Charged:
			k.t.Errorf("request %s: the client was told %s, the account paid %s", id, a.told, r.end.Charged)
		default:
			whole++
		}
	}
	k.t.Logf("figure: %d requests in the ledger; %d answered whole, %d answers cut, %d holds interrupted, %d not covered whole",
		len(requests), whole, cut, interrupted, losses)
	if whole == 0 || cut == 0 || interrupted == 0 {
		k.t.Error("the kills did not find every state they were to find")
	}
}

// collect adds up an account's lines, the oldest first: what was granted less what was charged is the balance after each.
func (k *killing) collect(s *badgerdb.Store, account string, requests map[storage.RequestID]*ledgerRequest) {
	entries, err := s.Entries(account, 0, 1<<30)
	if err != nil {
		k.t.Fatal(err)
	}
	slices.Reverse(entries)
	var posted storage.Credits
	for i := range entries {
		e := &entries[i]
		posted -= e.Charged
		if e.Kind == storage.EntryGrant {
			posted += e.Amount
		} else {
			r := requests[e.Request]
			if r == nil {
				r = &ledgerRequest{account: account}
				requests[e.Request] = r
			}
			if e.Ends() {
				r.ends, r.end = r.ends+1, *e
			} else {
				r.holds++
			}
		}
		if e.Posted != posted || e.Posted < e.Held || e.Held < 0 {
			k.t.Fatalf("%s, line %d: posted %s, held %s; the lines add up to %s", account, e.Seq, e.Posted, e.Held, posted)
		}
	}
	last := entries[len(entries)-1]
	if b, err := s.Balance(account); err != nil || b.Posted != posted || b.Held != 0 || last.Open != 0 {
		k.t.Errorf("%s: balance %+v, %v; the lines add up to %s with %d open holds", account, b, err, posted, last.Open)
	}
}
