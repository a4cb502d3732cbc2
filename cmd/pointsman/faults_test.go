package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/faultproxy"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// allFaults tells that the fault matrix is to be tried in full, as `make test-faults` does.
func allFaults() bool { return os.Getenv("POINTSMAN_FAULTS") == "full" }

// times is how often a fault is tried.
func times(few, full int) int {
	if allFaults() {
		return full
	}
	return few
}

// figure reports what a test has measured: the table of docs/reliability.md takes such lines.
func figure(t testing.TB, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
}

// faulty starts n scripted providers, each behind a fault proxy, with a model "m" at all of them, and returns what configures
// that. Nothing is tried twice at the same provider.
func faulty(t testing.TB, n int) ([]*scripted.Server, []*faultproxy.Proxy, string) {
	t.Helper()
	up, toml := upstreams(t, n)
	proxies := make([]*faultproxy.Proxy, n)
	for i, s := range up {
		address := strings.TrimPrefix(s.URL(), "http://")
		p, err := faultproxy.Start(address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		proxies[i] = p
		toml = strings.ReplaceAll(toml, address, p.Address())
	}
	return up, proxies, toml + "[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n"
}

// firstMeets lets the first exchange from now on meet a fault, whichever provider has it.
func firstMeets(f faultproxy.Fault, proxies ...*faultproxy.Proxy) {
	before := int64(0)
	for _, p := range proxies {
		before += p.Count()
	}
	for _, p := range proxies {
		p.Script(func(int64) faultproxy.Fault {
			now := int64(0)
			for _, q := range proxies {
				now += q.Count()
			}
			if now == before+1 {
				return f
			}
			return faultproxy.Fault{}
		})
	}
}

// sound checks what must hold whatever went wrong: nothing is held, every request in the ledger has one hold and one end, and every
// request that was accepted, those of ids too, has one terminal record. The ledger is proven when the gateway ends. It
// returns the records.
func (g *testGateway) sound(ids ...string) map[string]storage.Usage {
	g.t.Helper()
	ends := map[storage.RequestID]int{}
	for _, account := range g.directory.Accounts() {
		holds := map[storage.RequestID]int{}
		var open []storage.RequestID
		for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(10 * time.Millisecond) { // a line is decided before it is on disk
			b, err := g.store.Balance(account.ID)
			if err != nil {
				g.t.Fatal(err)
			}
			if open = g.standing(account.ID, holds, ends); len(open) == 0 && b.Held == 0 {
				break
			}
			if time.Now().After(deadline) {
				g.t.Fatalf("%s: balance %+v, and %s never ended", account.ID, b, open)
			}
		}
		for id, n := range holds {
			if n != 1 || ends[id] != 1 {
				g.t.Errorf("request %s of %s has %d holds and %d ends", id, account.ID, n, ends[id])
			}
		}
	}
	records := map[string]storage.Usage{}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		clear(records)
		g.records(func(u storage.Usage) {
			id := u.Request.String()
			if _, again := records[id]; again {
				g.t.Errorf("request %s has two records", id)
			}
			if u.Outcome == "" || u.Outcome == storage.OutcomeInterrupted {
				g.t.Errorf("request %s ended as %q: %+v", id, u.Outcome, u)
			}
			records[id] = u
		})
		missing := slices.IndexFunc(ids, func(id string) bool { _, ok := records[id]; return !ok })
		for id := range ends {
			if _, ok := records[id.String()]; !ok && missing < 0 {
				missing, ids = len(ids), append(ids, id.String())
			}
		}
		if missing < 0 {
			return records
		}
		if time.Now().After(deadline) {
			g.t.Fatalf("request %q has no record", ids[missing])
		}
	}
}

// standing counts the holds of an account and their ends anew, and returns the requests that have no end.
func (g *testGateway) standing(account string, holds, ends map[storage.RequestID]int) (open []storage.RequestID) {
	g.t.Helper()
	lines, err := g.store.Entries(account, 0, 1<<30)
	if err != nil {
		g.t.Fatal(err)
	}
	clear(holds)
	for i := range lines {
		delete(ends, lines[i].Request)
	}
	for i := range lines {
		switch e := &lines[i]; {
		case e.Kind == storage.EntryHold:
			holds[e.Request]++
		case e.Ends():
			ends[e.Request]++
		}
	}
	for id := range holds {
		if ends[id] == 0 {
			open = append(open, id)
		}
	}
	return open
}

// records gives all of the log's.
func (g *testGateway) records(visit func(storage.Usage)) {
	g.t.Helper()
	g.usage.Flush()
	for place := (storage.Place{}); ; {
		records, next, missed, err := g.usage.Forward(place, time.Time{}, 1000)
		if err != nil || missed > 0 {
			g.t.Fatalf("%d records are missing, %v", missed, err)
		}
		if len(records) == 0 {
			return
		}
		for _, u := range records {
			visit(u)
		}
		place = next
	}
}

// quantile is the value that a share of all is not above.
func quantile[T cmp.Ordered](values []T, share float64) T {
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}

// errorCode is the code of an error answer, "" if it is none.
func errorCode(body string) string {
	_, rest, _ := strings.Cut(body, `"code":"`)
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

// manyModels is the configuration of n models, each at the given providers: none of their circuits opens before it has failed
// five times.
func manyModels(n int, name string, providers ...string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[[models]]\nname = \"%s%d\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n", name, i)
		for _, p := range providers {
			fmt.Fprintf(&b, "[[models.deployments]]\nprovider = %q\nupstream = \"%s%d\"\nusd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", p, name, i)
		}
	}
	return b.String()
}
