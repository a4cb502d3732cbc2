package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// limitedTo is a gateway that takes so many requests at once, and its provider, which answers a request with "held" in it only
// once release is closed.
func limitedTo(t *testing.T, requests int, more string) (g *testGateway, up *scripted.Server, release chan struct{}) {
	t.Helper()
	ups, toml := upstreams(t, 1)
	g = newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+fmt.Sprintf("[overload]\nrequests = %d\n", requests)+more, nil)
	release = make(chan struct{})
	ups[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		if strings.Contains(string(r.Body), "held") {
			reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		}
		return reply
	})
	return g, ups[0], release
}

// within asks with a limit of the client's own, in milliseconds, unless it is "".
func (c *client) within(t testing.TB, text, limit string) *http.Response {
	t.Helper()
	h := http.Header{}
	if limit != "" {
		h.Set("X-Pointsman-Timeout-Ms", limit)
	}
	resp, _ := c.as(t, chatPath, ask("m", "messages", user(text)), h)
	return resp
}

// waitFor waits until a condition holds.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for range 2000 {
		if holds() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited in vain: %s", what)
}

// Beyond the limit requests wait, beyond the queue they are refused at once with the error clients know how to treat; health and
// metrics say so; what waited is served when there is room.
func TestOverloadedGateway(t *testing.T) {
	g, up, release := limitedTo(t, 2, "queue = 1\nqueue_time = 60\n")
	var all sync.WaitGroup
	statuses := make([]int, 3)
	for i := range statuses {
		all.Go(func() { statuses[i] = g.api.within(t, "held", "").StatusCode })
		waitFor(t, "a request under way or in the queue", func() bool { s := g.guard.Stats(); return s.Running+s.Waiting == i+1 })
	}
	for path, body := range map[string]string{
		chatPath:         `{"model":"m","messages":[{"role":"user","content":"x"}]}`,
		messagesPath:     `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"x"}]}`,
		"/v1/responses":  `{"model":"m","input":"x"}`,
		"/v1/embeddings": `{"model":"m","input":"x"}`,
	} {
		resp, text := g.api.post(t, path, []byte(body))
		kind := `"code":"overloaded"`
		if path == messagesPath {
			kind = `"type":"overloaded_error"`
		}
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text, kind) || resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d %v %s", path, resp.StatusCode, resp.Header, text)
		}
	}
	took := make([]time.Duration, 500)
	for i := range took {
		began := time.Now()
		g.api.within(t, "x", "")
		took[i] = time.Since(began)
	}
	figure(t, "refused within %s (half of 500), %s (99 %%), as the client sees it", quantile(took, 0.5), quantile(took, 0.99))
	if best := quantile(took, 0); best > 5*time.Millisecond { // a busy machine delays some
		t.Errorf("the fastest of 500 refusals took %s", best)
	}
	var health struct {
		Status   string                `json:"status"`
		Overload engine.OverloadHealth `json:"overload"`
	}
	if err := g.api.call("GET", "/health", nil, &health); err != nil {
		t.Fatal(err)
	}
	if o := health.Overload; health.Status != "ok" || o.Running != 2 || o.Waiting != 1 || o.Limit != 2 || fmt.Sprint(o.Shedding) != "[requests]" {
		t.Errorf("%+v", health)
	}
	if n := metric(t, g.admin, `pointsman_shed_total{reason="requests"}`); n != 504 {
		t.Errorf("%v refusals are counted", n)
	}
	if running, waiting := metric(t, g.admin, "pointsman_requests_running"), metric(t, g.admin, "pointsman_requests_waiting"); running != 2 || waiting != 1 {
		t.Errorf("%v run and %v wait", running, waiting)
	}
	close(release)
	all.Wait()
	if fmt.Sprint(statuses) != "[200 200 200]" || up.Count() != 3 {
		t.Errorf("%v, and the provider was asked %d times", statuses, up.Count())
	}
	waitFor(t, "an empty gateway", func() bool { s := g.guard.Stats(); return s.Running == 0 && s.Waiting == 0 })
}

// The client's own limit is the limit of its waiting, and who left meanwhile is not served.
func TestWaitingIsBoundedByTheClient(t *testing.T) {
	g, up, release := limitedTo(t, 1, "queue_time = 60\n")
	var all sync.WaitGroup
	all.Go(func() { g.api.within(t, "held", "") })
	waitFor(t, "the request under way", func() bool { return g.guard.Stats().Running == 1 })
	began := time.Now()
	resp := g.api.within(t, "x", "100")
	if took := time.Since(began); resp.StatusCode != 503 || took < 100*time.Millisecond || took > 20*time.Second {
		t.Errorf("%d after %s", resp.StatusCode, took)
	}
	conn := sendAndKeep(t, g, g.firstKey, chatPath, inDialect(chatPath, "m", "of a client that leaves", false))
	waitFor(t, "the request in the queue", func() bool { return g.guard.Stats().Waiting == 1 })
	conn.Close()
	close(release)
	all.Wait()
	waitFor(t, "an empty gateway", func() bool { s := g.guard.Stats(); return s.Running == 0 && s.Waiting == 0 })
	if n := up.Count(); n != 1 {
		t.Errorf("the provider was asked %d times", n)
	}
}

// Accounts of higher tiers are served first.
func TestQueueByAccountTier(t *testing.T) {
	g, up, release := limitedTo(t, 1, "queue_time = 60\n")
	clients := map[string]*client{}
	for _, tier := range []string{"starter", "professional", "enterprise"} {
		clients[tier] = g.account(tier)
		if err := g.admin.call("PATCH", "/api/v1/admin/accounts/"+tier, map[string]string{"tier": tier}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	all.Go(func() { g.api.within(t, "held", "") })
	waitFor(t, "the request under way", func() bool { return g.guard.Stats().Running == 1 })
	for i, tier := range []string{"starter", "professional", "enterprise"} {
		all.Go(func() {
			if resp := clients[tier].within(t, "from "+tier, ""); resp.StatusCode != 200 {
				t.Errorf("%s: %d", tier, resp.StatusCode)
			}
		})
		waitFor(t, "the requests in the queue", func() bool { return g.guard.Stats().Waiting == i+1 })
	}
	close(release)
	all.Wait()
	var order []string
	for _, r := range up.Requests()[1:] {
		_, who, _ := strings.Cut(string(r.Body), "from ")
		order = append(order, who[:strings.IndexByte(who, '"')])
	}
	if fmt.Sprint(order) != "[enterprise professional starter]" {
		t.Errorf("served in the order %v", order)
	}
}

// At three times what it can do the gateway still does nine tenths of it. What it can do is bounded by its limit, not by the
// machine, and measured first, in the same way.
func TestGoodputBeyondCapacity(t *testing.T) {
	const limit, hold, begin, length = 10, 200 * time.Millisecond, time.Second, 4 * time.Second
	ups, toml := upstreams(t, 1)
	ups[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders = hold
		return reply
	})
	g := newGateway(t, toml+fmt.Sprintf("[accounts]\ndefault_credits = 1000000\n[overload]\nrequests = %d\nqueue = 100\nqueue_time = 0.5\n", limit), nil)
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 400
	defer func() { http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 0 }()
	body := marshal(ask("m"))
	var served, refused, other atomic.Int64
	one := func() {
		resp, err := g.api.do("POST", chatPath, body)
		if err != nil {
			other.Add(1)
			return
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case 200:
			served.Add(1)
		case 503:
			refused.Add(1)
		default:
			other.Add(1)
		}
	}
	perSecond := func() float64 { // once it has begun
		time.Sleep(begin)
		before, began := served.Load(), time.Now()
		time.Sleep(length)
		return float64(served.Load()-before) / time.Since(began).Seconds()
	}
	best := 0.0
	for try := range 3 {
		var all sync.WaitGroup
		until := time.Now().Add(begin + length)
		for range limit {
			all.Go(func() {
				for time.Now().Before(until) {
					one()
				}
			})
		}
		capacity := perSecond()
		all.Wait()

		refused.Store(0)
		began := time.Now()
		all.Go(func() {
			for n := 0; time.Since(began) < begin+length; n++ { // whether answers come or not
				time.Sleep(time.Until(began.Add(time.Duration(float64(n) / (3 * capacity) * float64(time.Second)))))
				all.Go(one)
			}
		})
		share := perSecond() / capacity
		all.Wait()
		figure(t, "%.0f a second are possible: of three times as many %.0f %% of what is possible was served, and %d were refused", capacity, 100*share, refused.Load())
		if other.Load() > 0 {
			t.Errorf("%d requests ended in another way", other.Load())
		}
		if best = max(best, share); best >= 0.9 && refused.Load() > 0 {
			return
		}
		t.Logf("attempt %d: once more, in case the machine was busy", try+1)
	}
	t.Errorf("%.0f %% of what is possible was served", 100*best)
}

// A client that still sends a body when it is refused gets to read why, also if sending takes longer than the server would wait
// for a silent one.
func TestRefusedBodyIsReadOn(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.api.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const pieces, piece = 25, 128 << 10
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", chatPath, 40<<20) //nolint:errcheck // what is read tells
	for n := range pieces {
		if _, err := conn.Write(make([]byte, piece)); err != nil {
			t.Fatalf("piece %d: %v", n, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // the read tells
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 413 {
		t.Errorf("%d", resp.StatusCode)
	}
}
