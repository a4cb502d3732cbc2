package bench

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestSoak loads a gateway with a mixture of everything for a minute, lightly, for other tests run beside it. `make soak` takes
// half an hour.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	out, progress, err := runBinary(t, "bench", "soak", "--minutes", "1", "--load", "30", "--json", "--data-dir", dir)
	var r SoakReport
	if jsonErr := json.Unmarshal([]byte(out), &r); err != nil || jsonErr != nil {
		t.Fatalf("%v, %v\n%s\n%s", err, jsonErr, out, progress)
	}
	for _, k := range kinds {
		if r.Requests[k.name] == 0 {
			t.Errorf("no request of kind %q", k.name)
		}
	}
	if r.Reloads < 5 || r.P50MS <= 0 || r.P99MS < r.P50MS || r.Rate == 0 || !strings.Contains(r.Ledger, " 0 open holds,") {
		t.Errorf("%+v", r)
	}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "at rest after") {
		t.Errorf("%v\n%s", err, text.String())
	}
	nothingLeft(t, dir)
}

// Everything that may be wrong with a gateway is named.
func TestJudgeSoak(t *testing.T) {
	good := SoakReport{Minutes: 30, Stopped: true, OwnSlope: 0.5, OwnWithin: &[2]float64{-0.6, 1.6}, RSSSlope: 300}
	if err := good.Judge(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*SoakReport){
		"3 answers of status 500":      func(r *SoakReport) { r.OwnErrors = 3 },
		"2 other wrong answers":        func(r *SoakReport) { r.Wrong = 2 },
		"1 of 9 reloads":               func(r *SoakReport) { r.Reloads, r.Refused = 9, 1 },
		"500 goroutines at rest":       func(r *SoakReport) { r.After.Goroutines = 500 },
		"5000 sockets at rest":         func(r *SoakReport) { r.After.Sockets = 5000 },
		"grows by 1.50 MiB an hour":    func(r *SoakReport) { r.OwnSlope = 1.5 },
		"it did not stop cleanly":      func(r *SoakReport) { r.Stopped = false },
		"the ledger does not verify: ": func(r *SoakReport) { r.LedgerFault = "a hole" },
	} {
		r := good
		if change(&r); r.Judge() == nil || !strings.Contains(r.Judge().Error(), want) {
			t.Errorf("want %q: %v", want, r.Judge())
		}
	}
}

func TestSlope(t *testing.T) {
	own := func(h Holdings) float64 { return h.OwnMiB }
	within := 0
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 1))
		var seen []Watch
		wave := 0.0 // of some looks, which is what memory does
		for i := range 1800 {
			if i%20 == 0 {
				wave = 2 * random.NormFloat64()
			}
			at := 100 + float64(i)/3600 + wave // a MiB an hour
			if i%50 == 0 {
				at += 40 // outliers
			}
			seen = append(seen, Watch{float64(i), Holdings{OwnMiB: at}})
		}
		between := slopeInterval(seen, own)
		if between[0] <= 1 && 1 <= between[1] {
			within++
		}
		if seed == 0 {
			if got := slope(seen, own); math.Abs(got-1) > 3 || got < between[0] || got > between[1] {
				t.Errorf("%v MiB an hour, %v", got, between)
			}
			if between := slopeInterval(seen[:120], own); between != nil {
				t.Errorf("%v after two minutes", between)
			}
		}
	}
	if within < 88 || within > 99 {
		t.Errorf("of 100 intervals %d have the slope in them", within)
	}
}

// TestPacer: where a request takes so much of the processors' time, and twice as much later, the rate comes to what keeps them as busy as they shall be.
func TestPacer(t *testing.T) {
	p := newPacer(100)
	first, second := p.take(), p.take()
	if got := second.Sub(first); got != 10*time.Millisecond {
		t.Errorf("requests are due every %v", got)
	}
	for _, cost := range []time.Duration{500 * time.Microsecond, time.Millisecond} {
		for range 60 {
			busy := min(float64(cost)/float64(p.every), 1)
			p.adapt(busy, 0.7)
		}
		if busy := float64(cost) / float64(p.every); math.Abs(busy-0.7) > 0.01 {
			t.Errorf("with requests of %v the processors are busy for %.3f of the time", cost, busy)
		}
	}
}

func TestKinds(t *testing.T) {
	total := 0
	for _, k := range kinds {
		total += k.percent
	}
	m := newMixture(&process{address: "http://127.0.0.1:1"})
	counts := make([]int, len(kinds))
	for _, i := range m.order {
		counts[i]++
	}
	for i, k := range kinds {
		if counts[i] != k.percent {
			t.Errorf("%d of %d are %s, not %d", counts[i], len(m.order), k.name, k.percent)
		}
	}
	if total != 100 {
		t.Errorf("%d percent", total)
	}
}
