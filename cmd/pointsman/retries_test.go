package main

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// retrying is a gateway whose pauses are short.
func retrying(t *testing.T, toml, more string) *testGateway {
	t.Helper()
	return newGateway(t, toml+"[health]\nprobe = \"off\"\n[retries]\npause = 0.002\n"+more, nil)
}

// failingFirst fails n times and then answers.
func failingFirst(n int64, status int, header ...string) func(*scripted.Request) *scripted.Reply {
	var count atomic.Int64
	fail := failing(status, header...)
	return func(r *scripted.Request) *scripted.Reply {
		if count.Add(1) <= n {
			return fail(r)
		}
		return nil
	}
}

func TestOnlyCandidateIsTriedAgain(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	for _, test := range []struct {
		status int
		header []string
		asked  int64 // until it answers or is given up
		want   int
	}{
		{500, nil, 2, 200},
		{503, nil, 2, 200},
		{429, []string{"Retry-After-Ms", "5"}, 2, 200},
		{429, []string{"Retry-After", "30"}, 1, 429},
		{400, nil, 1, 400},
		{401, nil, 1, 502},
		{404, nil, 1, 502},
	} {
		up[0].Script(failingFirst(1, test.status, test.header...))
		before := up[0].Count()
		fresh := retrying(t, toml, "")
		resp, body := fresh.api.post(t, chatPath, ask("m"))
		if asked := up[0].Count() - before; resp.StatusCode != test.want || asked != test.asked {
			t.Errorf("%d, %v: %d after %d attempts, want %d after %d: %s", test.status, test.header, resp.StatusCode, asked, test.want, test.asked, body)
		}
	}
}

// A provider that wants to be left alone for longer than a pause may last is not asked again by the request, neither at once, as its
// plan would have it, nor after the plan; the next candidate does not wait for it, and no repetition is paid for.
func TestLongRetryAfterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 2)
	g := retrying(t, toml, "max_pause = 0.05\nattempts = 9\n[policies.custom.config]\nattempts = 3\n")
	asked := func() int64 { return up[0].Count() + up[1].Count() }
	for i := range 25 {
		first := failingFirst(1, 503, "Retry-After", "30") // of either
		for _, u := range up {
			u.Script(first)
		}
		before, began := asked(), time.Now()
		resp, body := g.api.post(t, chatPath, ask("m"))
		if took := time.Since(began); resp.StatusCode != 200 || asked()-before != 2 || took > 5*time.Second {
			t.Fatalf("request %d: %d after %d attempts and %s: %s", i, resp.StatusCode, asked()-before, took, body)
		}
		for _, model := range []string{"up0/m", "up1/m"} { // a success, so that no circuit opens
			g.api.post(t, chatPath, ask(model))
		}
	}
	up[0].Script(failingFirst(1, 500))
	if resp, body := g.api.post(t, chatPath, ask("up0/m")); resp.StatusCode != 200 {
		t.Errorf("there is no repetition left: %d %s", resp.StatusCode, body)
	}

	up[0].Script(failing(500))
	up[1].Script(failing(429, "Retry-After", "30"))
	before := up[1].Count()
	resp, body := g.api.post(t, chatPath, ask("m"))
	if asked := up[1].Count() - before; asked != 1 {
		t.Errorf("%d, asked %d times in all: %s", resp.StatusCode, asked, body)
	}
}

// A provider that said when it may be asked again is not asked before, though another one is, and is asked then if that one does not answer.
func TestRetryAfterOfEachIsWaitedFor(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[retries]\npause = 0.01\nattempts = 10\n", nil)
	var first, early atomic.Int64
	up[0].Script(failing(500))
	up[1].Script(func(r *scripted.Request) *scripted.Reply {
		now := time.Now().UnixNano()
		if first.CompareAndSwap(0, now) {
			return failing(429, "Retry-After-Ms", "300")(r)
		}
		if now-first.Load() < int64(300*time.Millisecond) {
			early.Add(1)
		}
		return nil
	})
	resp, body := g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != 200 || early.Load() > 0 || up[0].Count() < 2 || up[1].Count() != 2 {
		t.Errorf("%d, asked %d and %d times, %d too early: %s", resp.StatusCode, up[0].Count(), up[1].Count(), early.Load(), body)
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 2)
	for attempts, want := range map[string]int{"1": 2, "3": 3, "5": 5} {
		g := retrying(t, toml, "attempts = "+attempts+"\n")
		for _, u := range up {
			u.Script(failing(500))
		}
		before := up[0].Count() + up[1].Count()
		resp, _ := g.api.post(t, chatPath, ask("m"))
		if asked := up[0].Count() + up[1].Count() - before; asked != int64(want) || resp.StatusCode != http.StatusBadGateway {
			t.Errorf("attempts = %s: %d attempts, want %d; status %d", attempts, asked, want, resp.StatusCode)
		}
	}
}

// TestRetriesDoNotMultiply fails everything a provider is asked: it must see little more than it was offered.
func TestRetriesDoNotMultiply(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := retrying(t, toml, "")
	up[0].Script(failing(429, "Retry-After-Ms", "1")) // which opens no circuit
	const offered = 300
	for range offered {
		g.api.post(t, chatPath, ask("m"))
	}
	if asked := up[0].Count(); asked > offered*12/10+10 {
		t.Errorf("%d requests became %d", offered, asked)
	}
}

func TestDeadlineOfTheClient(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := retrying(t, toml, "")
	up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 20 * time.Second} })
	within := func(limit, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", g.api.base+chatPath, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+g.api.key)
		req.Header.Set("X-Pointsman-Timeout-Ms", limit)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}
	for _, stream := range []string{"false", "true"} {
		began := time.Now()
		status, body := within("150", `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":`+stream+`}`)
		if took := time.Since(began); status != 504 || !strings.Contains(body, "deadline_exceeded") || took > 15*time.Second {
			t.Errorf("stream %s: %d after %s: %s", stream, status, took, body)
		}
	}
	for _, bad := range []string{"0", "-1", "soon", "3600001", "1.5"} {
		if status, body := within(bad, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`); status != 400 || !strings.Contains(body, "X-Pointsman-Timeout-Ms") {
			t.Errorf("%q: %d %s", bad, status, body)
		}
	}
}
