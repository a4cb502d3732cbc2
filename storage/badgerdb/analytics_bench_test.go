package badgerdb

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// analyticsRows is how many requests BenchmarkAnalytics spreads over its 30 days.
var analyticsRows = flag.Int("rows", 5_000_000, "requests that BenchmarkAnalytics generates")

// BenchmarkAnalytics asks summaries over 30 days of 5,000,000 requests, of 200 accounts with 500 keys, each of which uses nine of 47
// models, the first ones most. The requests are
// written through the log, a page a minute, by a clock that runs through the 30 days. It reports the 95th percentile of each query
// and the disk space of a request, indexes and sums included.
func BenchmarkAnalytics(b *testing.B) {
	end := time.Now().UTC().Truncate(24 * time.Hour).Add(9*time.Hour + 17*time.Minute)
	begin := end.AddDate(0, 0, -30)
	clock := startClock(begin)
	config := clock.config(b.TempDir())
	config.Retain, config.MaxLogMB = 60*24*time.Hour, 1<<20
	l := openLog(b, config)
	began := time.Now()
	generate(l, clock, begin, end, *analyticsRows)
	b.Logf("%d requests generated in %s, %d dropped, %d MiB", *analyticsRows, time.Since(began).Round(time.Second), l.Dropped(), l.Size()>>20)
	if l.Dropped() > 0 {
		b.Fatal("requests were dropped")
	}
	month := storage.SummaryQuery{From: begin, To: end}
	for _, c := range []struct {
		name string
		ask  func(q *storage.SummaryQuery)
	}{
		{"total", func(*storage.SummaryQuery) {}},
		{"model", func(q *storage.SummaryQuery) { q.Group = []storage.Dimension{storage.ByModel} }},
		{"model,day", func(q *storage.SummaryQuery) { q.Group, q.Step = []storage.Dimension{storage.ByModel}, storage.StepDay }},
		{"account", func(q *storage.SummaryQuery) { q.Group = []storage.Dimension{storage.ByAccount} }},
		{"key,model", func(q *storage.SummaryQuery) { q.Group = []storage.Dimension{storage.ByKey, storage.ByModel} }},
		{"account,day", func(q *storage.SummaryQuery) {
			q.Group, q.Step = []storage.Dimension{storage.ByAccount}, storage.StepDay
		}},
		{"everything", func(q *storage.SummaryQuery) {
			q.Group = []storage.Dimension{storage.ByAccount, storage.ByKey, storage.ByModel, storage.ByProvider, storage.ByPowerLevel, storage.ByPolicy}
		}},
		{"model,hour", func(q *storage.SummaryQuery) {
			q.Group, q.Step = []storage.Dimension{storage.ByModel}, storage.StepHour
		}},
		{"provider,hour of an account", func(q *storage.SummaryQuery) {
			q.Group, q.Step = []storage.Dimension{storage.ByProvider}, storage.StepHour
			q.Where = map[storage.Dimension][]string{storage.ByAccount: {"account-0007"}}
		}},
		{"provider,minute of a day", func(q *storage.SummaryQuery) {
			q.Group, q.Step, q.From = []storage.Dimension{storage.ByProvider}, storage.StepMinute, end.AddDate(0, 0, -1)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := month
			c.ask(&q)
			var took []time.Duration
			cpu := cpuTime()
			groups := 0
			for b.Loop() {
				began := time.Now()
				s, err := l.Summary(q)
				if err != nil {
					b.Fatal(err)
				}
				took, groups = append(took, time.Since(began)), len(s.Rows)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/1000/float64(len(took)), "cpu-ms")
			b.ReportMetric(float64(groups), "groups")
		})
	}
	l.Close()
	b.ReportMetric(float64(l.Size())/float64(*analyticsRows), "disk-B/request")
	b.ReportMetric(0, "ns/op")
}

// generate writes n requests, spread over the minutes between begin and end with a day's rise and fall. Few accounts and models have
// most of them.
func generate(l *Log, clock *logClock, begin, end time.Time, n int) {
	r := rand.New(rand.NewPCG(3, 4))
	const accounts, keys, models = 200, 500, 47
	account, model := rand.NewZipf(r, 1.2, 4, accounts-1), rand.NewZipf(r, 1.5, 1, 8)
	names := make([]string, accounts)
	for i := range names {
		names[i] = fmt.Sprintf("account-%04d", i)
	}
	keyNames := make([]string, keys)
	for i := range keyNames {
		keyNames[i] = fmt.Sprintf("key_%016x", i)
	}
	decision := make([]byte, 0, 200)
	perMinute := float64(n) / end.Sub(begin).Minutes()
	written := 0
	for at := begin; at.Before(end); at = at.Add(time.Minute) {
		clock.set(at)
		busy := 0.5 + float64((at.Hour()+6)%24)/23.0
		for range min(int(perMinute*busy+r.Float64()), n-written) {
			a := int(account.Uint64())
			key := (a + accounts*r.IntN(3)) % keys
			m := (int(model.Uint64()) + 7*key) % models
			level := []string{"eco", "balanced", "precision", "custom"}[(a+m)%4]
			u := usageAt(at, written, names[a])
			u.ClientID, u.Key, u.Team = "", keyNames[key], ""
			u.Model, u.Provider, u.PowerLevel, u.Policy = fmt.Sprint("model-", m), fmt.Sprint("provider-", m%9), level, level
			if r.IntN(40) == 0 {
				u.Outcome = storage.OutcomeUpstreamError
			}
			u.InputTokens, u.OutputTokens = r.Int64N(4000), r.Int64N(900)
			u.Credits, u.CostUSD, u.SavedUSD = storage.Credits(r.Int64N(90_000)), storage.NanoUSD(r.Int64N(9e6)), storage.NanoUSD(r.Int64N(9e6))
			u.TTFT = time.Duration(100+r.Int64N(900)) * time.Millisecond
			u.Latency = u.TTFT + time.Duration(r.Int64N(9000))*time.Millisecond
			decision = binary.BigEndian.AppendUint64(decision[:0], r.Uint64())
			decision = append(decision, "a decision's fixed part a decision's fixed part a decision's fixed part"...)
			l.Append(storage.LogRecord{Usage: u, Decision: slices.Clone(decision)})
			if written++; written%256 == 0 {
				l.Flush()
			}
		}
		l.Flush()
	}
}
