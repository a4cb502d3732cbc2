package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// slowDisk is a ledger whose batches are written and synchronized when the test says so.
type slowDisk struct {
	engine.Ledger
	hold, settled *storage.Batch
}

func (s *slowDisk) Reserve(h storage.Hold) (*storage.Batch, error) {
	_, err := s.Ledger.Reserve(h)
	return s.hold, err
}

func (s *slowDisk) Settle(x storage.Settlement) (storage.Receipt, *storage.Batch, error) {
	receipt, _, err := s.Ledger.Settle(x)
	return receipt, s.settled, err
}

// TestDurability: what has to be on disk before a provider is asked, and before an answer leaves and ends.
func TestDurability(t *testing.T) {
	t.Parallel()
	for name, strict := range map[string]bool{"normal": false, "strict": true} {
		for _, stream := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				up, toml := upstreams(t, 1)
				g := newGateway(t, toml+"[ledger]\ndurability = \""+name+"\"\n", nil)
				disk := &slowDisk{g.engine.Ledger, storage.NewBatch(nil), storage.NewBatch(nil)}
				g.engine.Ledger = disk
				answered := make(chan string, 1)
				go func() {
					_, text := g.api.as(t, chatPath, ask("m", "stream", stream), nil)
					answered <- text
				}()
				waits := func(what string) {
					t.Helper()
					select {
					case text := <-answered:
						t.Fatalf("an answer before %s: %s", what, text)
					case <-time.After(100 * time.Millisecond):
					}
				}
				asked := func() error {
					if n := up[0].Count(); n != 0 && strict || n != 1 && !strict {
						return fmt.Errorf("%d were asked before the hold was on disk", n)
					}
					return nil
				}
				if err := eventually(asked); err != nil {
					t.Error(err)
				}
				waits("the hold is on disk")
				if err := asked(); err != nil {
					t.Error(err)
				}
				disk.hold.Finish(nil)
				waits("the settlement is written")
				disk.settled.Wrote()
				if strict {
					waits("the settlement is on disk")
					disk.settled.Finish(nil)
				}
				if text := <-answered; text == "" {
					t.Error("an empty answer")
				}
				if !strict {
					disk.settled.Finish(nil) // the usage log waits for it
				}
				if u := g.api.lastUsage(t); u["outcome"] != "ok" {
					t.Errorf("usage %v", u)
				}
			})
		}
	}
}

// TestKeptAnswersAreCharged: an answer that a retry would get again is not given before its charge is on disk.
func TestKeptAnswersAreCharged(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	disk := &slowDisk{g.engine.Ledger, nil, storage.NewBatch(nil)}
	g.engine.Ledger = disk
	answered := make(chan int, 1)
	go func() {
		resp, _ := g.api.as(t, chatPath, ask("m"), keyedBy("one"))
		answered <- resp.StatusCode
	}()
	disk.settled.Wrote()
	select {
	case <-answered:
		t.Error("an answer before the settlement is on disk")
	case <-time.After(100 * time.Millisecond):
	}
	disk.settled.Finish(nil)
	if status := <-answered; status != 200 {
		t.Errorf("status %d", status)
	}
}

// TestChargeThatMayBe: when it is not known whether the charge of a request with an idempotency key is on disk, its retry is not run: that would charge twice.
func TestChargeThatMayBe(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	disk := &slowDisk{g.engine.Ledger, nil, storage.NewBatch(nil)}
	g.engine.Ledger = disk
	disk.settled.Wrote()
	disk.settled.Finish(storage.ErrHalted)
	for i, want := range []int{503, 409, 409} {
		resp, text := g.api.as(t, chatPath, ask("m"), keyedBy("one"))
		if resp.StatusCode != want || want == 409 && !strings.Contains(text, "idempotency_in_progress") {
			t.Errorf("request %d: %d %s", i, resp.StatusCode, text)
		}
	}
	if asked := up[0].Count(); asked != 1 {
		t.Errorf("the provider was asked %d times", asked)
	}
}
