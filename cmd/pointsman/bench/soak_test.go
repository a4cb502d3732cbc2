package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSoak loads a gateway with a mixture of everything for less than a minute, lightly, for other tests run beside it. `make soak` takes
// half an hour.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	out, progress, err := runBinary(t, "bench", "soak", "--minutes", "0.7", "--load", "30", "--json", "--data-dir", dir)
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
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "at rest after") || !strings.Contains(text.String(), "1 MiB an hour: not judged") {
		t.Errorf("%v\n%s", err, text.String())
	}
	nothingLeft(t, dir)
}

// Everything that may be wrong with a gateway is named.
func TestJudgeSoak(t *testing.T) {
	soak := func() *SoakReport {
		r := &SoakReport{Minutes: 30, Stopped: true, OwnSlope: 0.5, OwnWithin: &[2]float64{-0.6, 1.6}, RSSSlope: 300, Before: Holdings{Files: 40}, After: Holdings{Goroutines: 2, Files: 200}}
		r.Requests, r.Failing = map[string]int{}, map[string]Tally{}
		for _, k := range kinds {
			if r.Requests[k.name] = 1000; k.code != "" {
				r.Failing[k.name] = Tally{Whole: 940, Failed: 10, Refused: 50, Asked: 1250}
			}
		}
		return r
	}
	good := soak()
	if err := good.Judge(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*SoakReport){
		"3 answers of status 500":      func(r *SoakReport) { r.OwnErrors = 3 },
		"2 other wrong answers":        func(r *SoakReport) { r.Wrong = 2 },
		"1 of 9 reloads":               func(r *SoakReport) { r.Reloads, r.Refused = 9, 1 },
		"3 goroutines at rest":         func(r *SoakReport) { r.After.Goroutines = 3 },
		"16 sockets at rest":           func(r *SoakReport) { r.Before.Sockets, r.After.Sockets = 13, 16 },
		"3 other descriptors at rest":  func(r *SoakReport) { r.After.Others = 3 },
		"failed none of 1000 requests": func(r *SoakReport) { r.Failing["one in four beyond its rate limit"] = Tally{Whole: 1000, Asked: 1000} },
		"51 of 1000 requests met an":   func(r *SoakReport) { r.Failing["one in four beyond its rate limit"] = Tally{Refused: 51, Asked: 1} },
		"no circuit was open for any":  func(r *SoakReport) { r.Failing["to an upstream that is down"] = Tally{Failed: 1000, Asked: 1250} },
		"grows by 1.50 MiB an hour":    func(r *SoakReport) { r.OwnSlope = 1.5 },
		"it did not stop cleanly":      func(r *SoakReport) { r.Stopped = false },
		"the ledger does not verify: ": func(r *SoakReport) { r.LedgerFault = "a hole" },
	} {
		r := soak()
		if change(r); r.Judge() == nil || !strings.Contains(r.Judge().Error(), want) {
			t.Errorf("want %q: %v", want, r.Judge())
		}
	}
}

// What is said of the bound is what the interval says.
func TestShown(t *testing.T) {
	for want, r := range map[string]SoakReport{
		"yes,":             {Minutes: 30, OwnWithin: &[2]float64{-3, 0.9}},
		"no,":              {Minutes: 30, OwnWithin: &[2]float64{1.1, 3}},
		"not shown either": {Minutes: 30, OwnWithin: &[2]float64{0.9, 1.1}},
		"not judged":       {Minutes: 19, OwnWithin: &[2]float64{-3, 0.9}},
	} {
		if got := r.shown(); !strings.HasPrefix(got, want) {
			t.Errorf("%v: %q, want %q", r.OwnWithin, got, want)
		}
	}
}

// What an upstream's failure becomes is right of the kinds that it fails, and nothing else is.
func TestVerify(t *testing.T) {
	upstream := newAnswers()
	_, plain, _ := strings.Cut(string(upstream.plain), "\r\n\r\n")
	fault := func(code string) string {
		return `{"error":{"message":"the provider failed","type":"t","param":null,"code":"` + code + `"}}`
	}
	events := ""
	for i := range streamChunks {
		text := fmt.Sprint(chunkMark, i)
		if i == streamChunks-1 {
			text = answerMark
		}
		events += "data: " + text + "\n\n"
	}
	begun := events[:len(events)/2]
	for _, c := range []struct {
		kind          string
		status, asked int
		body          string
		want          fate // fates: it is wrong
		own           bool
	}{
		{"buffered", 200, 1, plain, whole, false},
		{"buffered", 200, 1, "{}", fates, false},
		{"buffered", 502, 1, fault("provider_error"), fates, true},
		{"an error", 200, 2, plain, whole, false},
		{"an error", 502, 3, fault("provider_error"), failed, false},
		{"an error", 502, 0, fault("provider_error"), fates, true},
		{"an error", 500, 1, fault("internal_error"), fates, true},
		{"an error", 503, 0, fault("no_candidate"), refused, false},
		{"an error", 503, 1, fault("no_candidate"), fates, true},
		{"an error", 503, 1, fault("provider_overloaded"), refused, false},
		{"an error", 503, 1, fault("storage_unavailable"), fates, true},
		{"an error", 429, 1, fault("provider_rate_limited"), fates, false},
		{"rate limit", 429, 2, fault("provider_rate_limited"), failed, false},
		{"rate limit", 502, 2, fault("provider_error"), fates, true},
		{"an answer that is cut", 502, 1, fault("provider_error"), failed, false},
		{"an answer that is cut", 200, 1, plain[:len(plain)/2], fates, false},
		{"a stream that is cut", 200, 1, events + "data: [DONE]\n\n", whole, false},
		{"a stream that is cut", 200, 1, begun + "data: " + fault("provider_stream_error"), failed, false},
		{"a stream that is cut", 200, 1, begun, fates, false},
		{"a stream that is cut", 200, 1, begun + "data: " + fault("provider_stream_error") + "\n\ndata: [DONE]\n\n", fates, false},
		{"a stream that is cut", 200, 1, "data: " + fault("provider_stream_error"), fates, false},
		{"is down", 502, 1, fault("provider_unreachable"), failed, false},
		{"is down", 200, 1, plain, fates, false},
		{"images made", 200, 1, `{"data":[{"b64_json":"x"}]}`, whole, false},
		{"images made", 500, 1, fault("internal_error"), fates, true},
	} {
		k := &kinds[slices.IndexFunc(kinds, func(k kind) bool { return strings.Contains(k.name, c.kind) })]
		got, own, err := k.verify(c.status, c.asked, []byte(c.body))
		if err != nil {
			got = fates
		}
		if got != c.want || own != c.own {
			t.Errorf("%s, %d after %d attempts, %.60s: fate %d, own %v, %v", k.name, c.status, c.asked, c.body, got, own, err)
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
			seen = append(seen, Watch{float64(i), 1000, Holdings{OwnMiB: at}})
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
	flaky := 0
	for _, k := range kinds {
		if k.model == flakyModel {
			flaky += k.percent
		}
	}
	a, b := flaky, parseWish([]byte(wishMark+failEvery+"]")).every
	for b > 0 {
		a, b = b, a%b
	}
	if a != 1 {
		t.Errorf("%s of %d percent: always requests of the same kind fail", failEvery, flaky)
	}
}
