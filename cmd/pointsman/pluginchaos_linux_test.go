package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// TestKilledPluginLosesNoSettlement kills a proxied provider's plugin again and again under traffic: POINTSMAN_CHAOS times,
// else a few. Every request gets an answer, a model with another provider always a good one, and in the end the ledger has
// exactly one hold and one end for each.
func TestKilledPluginLosesNoSettlement(t *testing.T) {
	kills := 5
	if text := os.Getenv("POINTSMAN_CHAOS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	program := buildExample(t)
	sum, err := fileSum(program)
	if err != nil {
		t.Fatal(err)
	}
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	g := newGateway(t, fmt.Sprintf(`
[catalog]
builtin = false
[providers.bird]
adapter = "parrot"
[providers.other]
adapter = "openai"
base_url = %q
api_key = "sk-other"
allow_private = true
[plugins.example]
path = %q
sha256 = %q
adapters = ["parrot"]
`, up.URL()+"/v1", program, sum)+pluginModel("bird")+`
[[models]]
name = "m-both"
tier = 1
credits_per_1k = 0.002
context_window = 128000
  [[models.deployments]]
  provider = "bird"
  upstream = "m"
  usd_in_per_1m = 1
  usd_out_per_1m = 2
  [[models.deployments]]
  provider = "other"
  upstream = "m"
  usd_in_per_1m = 1
  usd_out_per_1m = 2
`, nil)

	var good, bad atomic.Int64
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 6 {
		clients.Go(func() {
			for n := client; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				model := []string{"m-bird", "m-both"}[n%2]
				resp, err := g.api.do("POST", "/v1/chat/completions", chatBody(model, n%4 < 2))
				if err != nil {
					t.Errorf("no answer: %v", err)
					return
				}
				text, _ := io.ReadAll(resp.Body) // a stream may be cut
				resp.Body.Close()
				switch {
				case resp.StatusCode == http.StatusOK:
					good.Add(1)
				case resp.StatusCode >= 500 && model == "m-bird":
					bad.Add(1)
				default:
					t.Errorf("%s answered with %d: %s", model, resp.StatusCode, text)
				}
			}
		})
	}
	for range kills {
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond)
		if pid := g.plugins.Status()[1].PID; pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
		}
	}
	close(stop)
	clients.Wait()

	data := g.dataDir
	g.stopAndVerify()
	s, err := badgerdb.Open(badgerdb.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n := len(s.Interrupted()); n > 0 {
		t.Errorf("%d holds were left open", n)
	}
	requests := map[storage.RequestID]*ledgerRequest{}
	(&killing{t: t}).collect(s, "default", requests)
	for id, r := range requests {
		if r.holds != 1 || r.ends != 1 {
			t.Errorf("request %s has %d holds and %d ends", id, r.holds, r.ends)
		}
	}
	t.Logf("figure: %d kills: %d requests answered, %d refused, %d in the ledger", kills, good.Load(), bad.Load(), len(requests))
	if int64(len(requests)) < good.Load() || good.Load() == 0 {
		t.Errorf("%d requests were answered and %d are in the ledger", good.Load(), len(requests))
	}
}
