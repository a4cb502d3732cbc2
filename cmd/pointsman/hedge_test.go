package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// silentFirst has the first request at any of the upstreams wait until it is cut, and counts those that were.
func silentFirst(t *testing.T, up []*scripted.Server) (cut *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	cut = new(atomic.Int64)
	script := func(r *scripted.Request) *scripted.Reply {
		if asked.Add(1) > 1 {
			return nil
		}
		reply := r.Default()
		reply.HoldBeforeHeaders = time.Minute
		go func() {
			<-r.Gone()
			cut.Add(1)
		}()
		return reply
	}
	for _, u := range up {
		u.Script(script)
	}
	return cut
}

// hedging is a gateway that knows how long its upstreams take.
func hedging(t *testing.T, toml string) *testGateway {
	t.Helper()
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[hedge]\nmode = \"always\"\n", nil)
	for range 25 {
		for _, stream := range []bool{false, true} {
			if resp, body := g.api.post(t, chatPath, ask("m", "stream", stream)); resp.StatusCode != 200 {
				t.Fatal(resp.StatusCode, body)
			}
		}
	}
	time.Sleep(1100 * time.Millisecond) // percentiles are a second old at most
	return g
}

func TestSecondCopyAnswers(t *testing.T) {
	for _, providers := range []int{1, 2} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d providers, stream %v", providers, stream), func(t *testing.T) {
				up, toml := upstreams(t, providers)
				g := hedging(t, toml)
				cut := silentFirst(t, up)
				began := time.Now()
				resp, body := g.api.post(t, chatPath, ask("m", "stream", stream))
				if took := time.Since(began); resp.StatusCode != 200 || took > 20*time.Second {
					t.Fatalf("%d after %s: %s", resp.StatusCode, took, body)
				}
				x := explained(t, g, resp)
				if len(x.Attempts) != 2 || x.Attempts[0].Outcome != "cancelled" || x.Attempts[1].Outcome != "ok" {
					t.Errorf("%+v", x.Attempts)
				}
				if err := eventually(func() error {
					if cut.Load() != 1 {
						return errors.New("the first copy was not cut")
					}
					return nil
				}); err != nil {
					t.Error(err)
				}
				u := g.api.lastUsage(t)
				if u["attempts"] != 2.0 {
					t.Errorf("%v attempts", u["attempts"])
				}
				if won := g.metric(t, `pointsman_hedges_total{provider="up`+fmt.Sprint(providers-1)+`",outcome="won"}`); won != 1 {
					t.Errorf("%v second copies won", won)
				}
				// The client pays for one answer, the operator for a prompt more.
				up[0].Script(nil)
				var one map[string]any
				for n := 0; n < 10 && one["attempts"] != 1.0; n++ { // a busy machine may have a second copy made of this one too
					g.api.post(t, chatPath, ask("m", "stream", stream))
					one = g.api.lastUsage(t)
				}
				if one["credits"] != u["credits"] || dollars(t, one) >= dollars(t, u) {
					t.Errorf("credits %v and %v, costs %v and %v", u["credits"], one["credits"], u["cost_usd"], one["cost_usd"])
				}
			})
		}
	}
}

// No second copy goes to a provider that has just said when it may be asked again.
func TestNoSecondCopyBeforeItsTime(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := hedging(t, "[retries]\npause = 0.002\n"+toml)
	before := up[0].Count() + up[1].Count()
	var asked atomic.Int64
	for _, u := range up {
		u.Script(func(r *scripted.Request) *scripted.Reply {
			switch asked.Add(1) {
			case 1:
				return failing(500)(r)
			case 2:
				return failing(429, "Retry-After-Ms", "1900")(r)
			}
			reply := r.Default()
			reply.HoldBeforeHeaders = 700 * time.Millisecond
			return reply
		})
	}
	resp, body := g.api.post(t, chatPath, ask("m"))
	if n := up[0].Count() + up[1].Count() - before; resp.StatusCode != 200 || n != 3 {
		t.Errorf("%d after %d attempts: %s\n%+v", resp.StatusCode, n, body, explained(t, g, resp).Attempts)
	}
}

func dollars(t *testing.T, usage map[string]any) storage.NanoUSD {
	t.Helper()
	n, err := storage.ParseNanoUSD(usage["cost_usd"].(string))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// leaveAfter asks and leaves after a time, unless the answer is there.
func (c *client) leaveAfter(t testing.TB, after time.Duration, body any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), after)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+chatPath, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // it may be cut
	resp.Body.Close()
}

// TestHedgesAreBounded: a provider that has become slow altogether is not asked twice for everything.
func TestHedgesAreBounded(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := hedging(t, toml)
	before := up[0].Count()
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders = 200 * time.Millisecond
		return reply
	})
	const offered = 60
	var clients sync.WaitGroup
	for range offered {
		clients.Go(func() { g.api.post(t, chatPath, ask("m")) })
	}
	clients.Wait()
	if asked := up[0].Count() - before; asked > offered+offered*5/100+15 || asked <= offered {
		t.Errorf("%d requests became %d", offered, asked)
	}
}

// TestHedgeRaces has both copies answer, fail or be left at about the same time: each request is charged once, for one answer, and
// nothing of it stays.
func TestHedgeRaces(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[health]\nprobe = \"off\"\n[hedge]\nmode = \"always\"\npercent = 50\n[retries]\npause = 0.002\n", nil)
	var slow atomic.Bool
	for _, u := range up {
		u.Script(func(r *scripted.Request) *scripted.Reply {
			reply := r.Default()
			if !slow.Load() {
				return reply
			}
			reply.HoldBeforeHeaders = time.Duration(rand.IntN(80)) * time.Millisecond
			if rand.IntN(12) == 0 {
				reply.Status, reply.Body, reply.Chunks = 500, []byte(`{"error":{"message":"broken"}}`), nil
			}
			return reply
		})
	}
	for range 25 {
		for _, stream := range []bool{false, true} {
			g.api.post(t, chatPath, ask("m", "stream", stream))
		}
	}
	time.Sleep(1100 * time.Millisecond) // percentiles are a second old at most
	slow.Store(true)
	const clients, each = 8, 20
	var group sync.WaitGroup
	var answered atomic.Int64
	for n := range clients {
		group.Go(func() {
			for range each {
				if rand.IntN(10) == 0 {
					g.api.leaveAfter(t, time.Duration(rand.IntN(80))*time.Millisecond, ask("m", "stream", n%2 == 0))
					continue
				}
				resp, _ := g.api.post(t, chatPath, ask("m", "stream", n%2 == 0))
				if resp.StatusCode == http.StatusOK {
					answered.Add(1)
				}
			}
		})
	}
	group.Wait()
	if err := eventually(func() error {
		if held := g.api.balanceHeld(t); held != "0" {
			return fmt.Errorf("%s credits are held", held)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if answered.Load() < clients*each/2 {
		t.Errorf("only %d of %d were answered", answered.Load(), clients*each)
	}
	hedged := g.metric(t, `pointsman_hedges_total{provider="up0",outcome="won"}`) + g.metric(t, `pointsman_hedges_total{provider="up1",outcome="won"}`) +
		g.metric(t, `pointsman_hedges_total{provider="up1",outcome="lost"}`) + g.metric(t, `pointsman_hedges_total{provider="up0",outcome="lost"}`)
	if hedged == 0 {
		t.Error("no request had a second copy")
	}
}

// TestClientLeavesHedgedStream: the copy that answers is cut as any other attempt is when its client leaves, and when the gateway stops.
func TestClientLeavesHedgedStream(t *testing.T) {
	t.Parallel()
	for _, copies := range []int64{1, 2} {
		for _, stops := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d copies, the gateway stops %v", copies, stops), func(t *testing.T) {
				t.Parallel()
				up, toml := upstreams(t, 1)
				g := hedging(t, toml)
				var asked atomic.Int64
				answering := make(chan *scripted.Request, 1)
				up[0].Script(func(r *scripted.Request) *scripted.Reply {
					if asked.Add(1) < copies {
						return &scripted.Reply{HoldBeforeHeaders: time.Minute}
					}
					reply := r.Default() // content at once, and the rest late
					reply.Chunks, reply.Interval = append([][]byte{bytes.Join(reply.Chunks[:2], nil)}, reply.Chunks[2:]...), time.Minute
					select {
					case answering <- r:
					default:
					}
					return reply
				})
				conn := sendAndKeep(t, g, g.firstKey, chatPath, inDialect(chatPath, "m", "x", true))
				defer conn.Close()
				r := <-answering
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(500 * time.Millisecond) // the watcher looks at the request
				began, want := time.Now(), storage.OutcomeClientAbort
				if stops {
					over, cancel := context.WithCancel(t.Context())
					cancel()
					want = storage.OutcomeInterrupted
					go g.engine.Finish(over) //nolint:errcheck // what it cuts tells
				} else {
					conn.Close()
				}
				select {
				case <-r.Gone():
				case <-time.After(10 * time.Second):
					t.Fatal("the provider's call is not cut")
				}
				if took := time.Since(began); took > 3*time.Second {
					t.Errorf("the provider's call was cut after %s", took)
				}
				waitFor(t, "the request's record", func() bool {
					usage, _, err := g.engine.Log.Usage("default", "", 1)
					return err == nil && len(usage) == 1 && usage[0].Outcome == want
				})
			})
		}
	}
}
