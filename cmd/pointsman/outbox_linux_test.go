package main

import (
	"crypto/sha256"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// hookReceiver takes webhooks, badly: it fails, hangs and drops connections now and then.
type hookReceiver struct {
	t      *testing.T
	server *httptest.Server
	good   bool

	mu       sync.Mutex
	messages map[string][32]byte // digest by id
	got      map[string]int      // how often each request came
}

func newHookReceiver(t *testing.T) *hookReceiver {
	h := &hookReceiver{t: t, messages: map[string][32]byte{}, got: map[string]int{}}
	h.server = httptest.NewServer(h)
	t.Cleanup(h.server.Close)
	return h
}

func (h *hookReceiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the gateway was killed while it sent
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	id, sum := r.Header.Get("webhook-id"), sha256.Sum256(body)
	if known, again := h.messages[id]; again && known != sum || id == "" || r.Header.Get("webhook-signature") == "" {
		h.t.Errorf("message %q came again with another body", id)
	}
	h.messages[id] = sum
	mischief := rand.IntN(8)
	if h.good {
		mischief = 9
	}
	switch mischief {
	case 0:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case 1:
		panic(http.ErrAbortHandler)
	}
	var message struct {
		Data struct{ Requests []struct{ ID string } }
	}
	if err := json.Unmarshal(body, &message); err != nil {
		h.t.Errorf("%v in %s", err, body)
	}
	for _, one := range message.Data.Requests {
		h.got[one.ID]++
	}
	switch mischief {
	case 2:
		panic(http.ErrAbortHandler) // it was taken, and the answer is lost
	case 3:
		time.Sleep(300 * time.Millisecond)
	}
}

// TestOutboxKill kills the gateway again and again while a receiver fails, hangs and drops connections: in the end every request of
// the log has been delivered, and every message that came twice was the same.
func TestOutboxKill(t *testing.T) {
	t.Parallel()
	h := newHookReceiver(t)
	k := newKilling(t)
	config, err := os.ReadFile(k.config)
	if err != nil {
		t.Fatal(err)
	}
	config = append(config, "\n[events]\nurl = \""+h.server.URL+"/hook\"\nsecret = \"whsec_c2VjcmV0\"\nallow_private = true\nbatch = 7\ntimeout = 0.2\nretry_first = 0.02\nretry_most = 0.1\n"...)
	if err := os.WriteFile(k.config, config, 0o600); err != nil {
		t.Fatal(err)
	}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		k.run()
		k.load(round, time.Duration(200+rand.IntN(400))*time.Millisecond)
	}
	h.mu.Lock()
	h.good = true
	h.mu.Unlock()
	k.run()
	k.waitForMetric("pointsman_events_pending 0\n")
	k.terminate()
	again := 0
	for _, u := range loggedUsage(t, k.data) {
		n := h.got[u.Request.String()]
		if n == 0 {
			t.Errorf("request %s was never delivered", u.Request)
		}
		if n > 1 {
			again++
		}
	}
	t.Logf("%d requests in %d messages, %d of them more than once", len(h.got), len(h.messages), again)
}

// waitForMetric waits until the metrics have a line.
func (k *killing) waitForMetric(line string) {
	k.t.Helper()
	for range 3000 {
		_, text := newClient(k.admin, killMaster).send(k.t, "GET", "/metrics", nil)
		if strings.Contains(text, line) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	k.t.Fatalf("the metrics never said %q", line)
}

// terminate ends the gateway by SIGTERM, and waits for it.
func (k *killing) terminate() {
	k.t.Helper()
	if err := k.gateway.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Fatal(err)
	}
	if err := k.gateway.Wait(); err != nil {
		k.t.Errorf("stopping the gateway: %v\n%s", err, k.stderr.String())
	}
}

// loggedUsage is everything in the log of a stopped gateway.
func loggedUsage(t *testing.T, data string) (all []storage.Usage) {
	t.Helper()
	l, err := badgerdb.OpenLog(badgerdb.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for place := (storage.Place{}); ; {
		records, next, missed, err := l.Forward(place, time.Time{}, 1000)
		if err != nil || missed > 0 {
			t.Fatalf("%d missed, %v", missed, err)
		}
		if len(records) == 0 {
			return all
		}
		all, place = append(all, records...), next
	}
}

// P14: SIGTERM with 300 streams under way and requests queued for the log loses none: every hold has an end, every end a record, once,
// and the sums equal a recount.
func TestTerminateLosesNothing(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	streams := 300
	up, toml := upstreams(t, 1)
	reply := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		answer := r.Default()
		if answer.Chunks != nil {
			answer.Interval, answer.Release = time.Minute, reply
		}
		return answer
	})
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[accounts]\ndefault_credits = 1000\n" + toml
	if err := os.WriteFile(k.config, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run()
	var clients sync.WaitGroup
	begun := make(chan struct{}, streams)
	for range streams {
		clients.Go(func() {
			c := newClient(k.api, k.keys["rich"])
			c.http.Transport = &http.Transport{}
			defer c.http.CloseIdleConnections()
			resp, err := c.do("POST", chatPath, ask("m", "stream", true))
			begun <- struct{}{}
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if _, err := io.ReadAll(resp.Body); err != nil {
				t.Errorf("a stream was cut: %v", err)
			}
		})
	}
	for range streams {
		<-begun
	}
	short := 0
	c := newClient(k.api, k.keys["rich"])
	for range 500 { // which the log's writer has not all seen when the end comes
		resp, err := c.do("POST", chatPath, ask("m"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		short++
	}
	if err := k.gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(reply)
	clients.Wait()
	if err := k.gateway.Wait(); err != nil {
		t.Errorf("stopping the gateway: %v\n%s", err, k.stderr.String())
	}
	k.verify()
	records := map[storage.RequestID]int{}
	outcomes := map[storage.Outcome]int{}
	for _, u := range loggedUsage(t, k.data) {
		records[u.Request]++
		outcomes[u.Outcome]++
	}
	if outcomes[storage.OutcomeOK] != streams+short {
		t.Errorf("outcomes %v of %d requests", outcomes, streams+short)
	}
	k.checkLogged(records)
	if differ, err := badgerdb.Recount(badgerdb.Config{Dir: k.data}, true, t.Logf); err != nil || differ > 0 {
		t.Errorf("%d sums differ from a recount, %v", differ, err)
	}
}

// checkLogged holds the log against the ledger: a record for every request that ended, one each.
func (k *killing) checkLogged(records map[storage.RequestID]int) {
	s, err := badgerdb.Open(badgerdb.Config{Dir: k.data})
	if err != nil {
		k.t.Fatal(err)
	}
	defer s.Close()
	requests := map[storage.RequestID]*ledgerRequest{}
	for _, account := range killAccounts {
		k.collect(s, account, requests)
	}
	for id, r := range requests {
		if r.ends != 1 || records[id] != 1 {
			k.t.Errorf("request %s of %s has %d ends in the ledger and %d records in the log", id, r.account, r.ends, records[id])
		}
	}
}

// P14, P17: kills lose no record of a request that the ledger knows, and no request is counted twice: the sums equal a recount after
// every kill.
func TestKillSums(t *testing.T) {
	t.Parallel()
	k := newKilling(t)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	for round := range rounds {
		k.run()
		k.load(round, time.Duration(50+rand.IntN(400))*time.Millisecond)
		if differ, err := badgerdb.Recount(badgerdb.Config{Dir: k.data}, true, t.Logf); err != nil || differ > 0 {
			t.Fatalf("round %d: %d sums differ from a recount, %v", round, differ, err)
		}
	}
	k.run()
	k.terminate()
	records := map[storage.RequestID]int{}
	for _, u := range loggedUsage(t, k.data) {
		records[u.Request]++
	}
	k.checkLogged(records)
	l, err := badgerdb.OpenLog(badgerdb.Config{Dir: k.data})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := l.Summary(storage.SummaryQuery{From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)})
	if err != nil || len(s.Rows) != 1 || s.Rows[0].Sums.Of[storage.SumRequests] != int64(len(records)) {
		t.Errorf("the summary is %+v of %d requests, %v", s.Rows, len(records), err)
	}
}
