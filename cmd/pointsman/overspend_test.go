package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// TestOverspend sends thousands of requests at the same moment for an account that has credits for the worst case of exactly a
// hundred. A hundred reach the provider; all others are refused with 402 before any byte is sent there, and the balance is
// never below zero.
func TestOverspend(t *testing.T) {
	requests, connections := 1_000, 250
	if os.Getenv("POINTSMAN_CHAOS") != "" {
		requests, connections = 10_000, 2_000
	}
	up, toml := upstreams(t, 1)
	release := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Hour, release
		return reply
	})
	g := newGateway(t, "[accounts]\ndefault_credits = 0\n"+strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 300", 1), nil)
	worst := worstCase(t, g, up[0])
	before := up[0].Count()

	c := g.account("crowd")
	c.http.Transport = &http.Transport{MaxIdleConnsPerHost: connections}
	grant(t, g, "crowd", 100*worst)
	var accepted, refused atomic.Int64
	var next atomic.Int64
	var clients sync.WaitGroup
	start := make(chan struct{})
	for range connections {
		clients.Go(func() {
			<-start
			for next.Add(1) <= int64(requests) {
				resp, err := c.do("POST", chatPath, ask("m"))
				if err != nil {
					t.Error(err)
					return
				}
				text, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusOK:
					accepted.Add(1)
				case resp.StatusCode == http.StatusPaymentRequired && strings.Contains(string(text), "insufficient_credits"):
					refused.Add(1)
				default:
					t.Errorf("answered with %d: %s", resp.StatusCode, text)
				}
			}
		})
	}
	began := time.Now()
	close(start)
	samples := 0
	for ; refused.Load() < int64(requests)-100 && time.Since(began) < 5*time.Minute && !t.Failed(); samples++ {
		if b, err := g.store.Balance("crowd"); err != nil || b.Available() < 0 || b.Posted != 100*worst {
			t.Fatalf("the balance is %+v, %v", b, err)
		}
		time.Sleep(100 * time.Microsecond)
	}
	took := time.Since(began)
	close(release)
	clients.Wait()
	if a, r, reached := accepted.Load(), refused.Load(), up[0].Count()-before; a != 100 || r != int64(requests)-100 || reached != 100 {
		t.Errorf("%d requests were answered, %d refused, %d reached the provider; credits were there for exactly 100", a, r, reached)
	}
	b, err := g.store.Balance("crowd")
	if err != nil || b.Held != 0 || b.Posted < 0 || b.Posted >= 100*worst {
		t.Errorf("in the end the balance is %+v, %v", b, err)
	}
	t.Logf("figure: credits for 100 worst cases: exactly 100 accepted of %d requests over %d connections in %s, worst case %s credits, balance sampled %d times", requests, connections, took.Round(time.Millisecond), worst, samples)
}

// worstCase is what is held for one request.
func worstCase(t *testing.T, g *testGateway, up *scripted.Server) storage.Credits {
	t.Helper()
	c := g.account("measure")
	grant(t, g, "measure", 1_000_000_000)
	body, err := json.Marshal(ask("m"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", c.base+chatPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	var asking sync.WaitGroup
	asking.Go(func() {
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	})
	defer asking.Wait()
	defer cancel()
	for range 5000 {
		if b, err := g.store.Balance("measure"); err == nil && b.Held > 0 && up.Count() > 0 {
			return b.Held
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nothing is held for a request")
	return 0
}

// grant adds credits through the admin API.
func grant(t *testing.T, g *testGateway, account string, amount storage.Credits) {
	t.Helper()
	body := map[string]string{"amount": amount.String(), "reference": strconv.Itoa(int(amount)), "kind": "bonus"}
	if err := g.admin.call("POST", "/api/v1/admin/accounts/"+account+"/credits", body, nil); err != nil {
		t.Fatal(err)
	}
}

// TestCreationRace: of many requests to create an account at the same moment one does, and the opening credits are there once.
func TestCreationRace(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, "[accounts]\ndefault_credits = 5\n"+toml, nil)
	var created, refused atomic.Int64
	var clients sync.WaitGroup
	for range 200 {
		clients.Go(func() {
			resp, err := g.admin.do("POST", "/api/v1/admin/accounts", map[string]string{"id": "new"})
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			switch resp.StatusCode {
			case http.StatusCreated, http.StatusOK:
				created.Add(1)
			case http.StatusConflict:
				refused.Add(1)
			default:
				t.Errorf("answered with %d", resp.StatusCode)
			}
		})
	}
	clients.Wait()
	if b, err := g.store.Balance("new"); created.Load() != 1 || refused.Load() != 199 || err != nil || b.Posted != 5_000_000 {
		t.Errorf("created %d times, refused %d times, balance %+v, %v", created.Load(), refused.Load(), b, err)
	}
}
