package badgerdb

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
)

// randomUsage is a request of one of a few accounts and models that ended at that time.
func randomUsage(r *rand.Rand, at time.Time, n int) storage.Usage {
	u := usageAt(at, n, fmt.Sprint("account-", r.IntN(4)))
	u.ClientID = ""
	u.Key = fmt.Sprintf("key_%016d", r.IntN(6))
	u.Team = []string{"", "red"}[r.IntN(2)]
	u.Model = []string{"small", "large", "huge"}[r.IntN(3)]
	u.Provider = []string{"openai", "groq"}[r.IntN(2)]
	u.PowerLevel = []string{"eco", "balanced"}[r.IntN(2)]
	u.Policy = u.PowerLevel
	u.Outcome = []storage.Outcome{storage.OutcomeOK, storage.OutcomeOK, storage.OutcomeClientAbort, storage.OutcomeRejected}[r.IntN(4)]
	u.Stream = r.IntN(2) == 0
	u.InputTokens, u.OutputTokens = r.Int64N(1000), r.Int64N(500)
	u.Credits, u.CostUSD, u.SavedUSD = storage.Credits(r.Int64N(1e6)), storage.NanoUSD(r.Int64N(1e6)), storage.NanoUSD(r.Int64N(1e6)-5e5)
	u.TTFT, u.Latency = time.Duration(r.Int64N(1e9)), time.Duration(1e9+r.Int64N(1e10))
	return u
}

// counted is a request with the minute in which its page was written.
type counted struct {
	at time.Time
	u  storage.Usage
}

// recountOf is what a summary must say: everything counted once, one by one.
func recountOf(all []counted, q storage.SummaryQuery) map[string]*storage.Sums {
	want := map[string]*storage.Sums{}
	for i := range all {
		c := &all[i]
		values := c.u.Values()
		skip := c.at.Before(q.From) || !c.at.Before(q.To)
		for d, allowed := range q.Where {
			skip = skip || !slices.Contains(allowed, values[d])
		}
		if skip {
			continue
		}
		var row storage.SummaryRow
		if q.Step > 0 {
			row.Time = c.at.Truncate(q.Step.Length())
		}
		for _, d := range q.Group {
			row.Values = append(row.Values, values[d])
		}
		name := rowName(row)
		if want[name] == nil {
			want[name] = new(storage.Sums)
		}
		want[name].Count(&c.u)
	}
	return want
}

func rowName(row storage.SummaryRow) string { return fmt.Sprintf("%d %q", row.Time.Unix(), row.Values) }

func checkSummary(t *testing.T, l *Log, all []counted, q storage.SummaryQuery) {
	t.Helper()
	got, err := l.Summary(q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	if !got.From.Equal(q.From) || !got.To.Equal(q.To) {
		t.Fatalf("%s to %s was summed up from %s to %s", q.From, q.To, got.From, got.To)
	}
	want := recountOf(all, q)
	for _, row := range got.Rows {
		name := rowName(row)
		if want[name] == nil || !equalSums(want[name], &row.Sums) {
			t.Fatalf("%+v: group %s is\n%+v, a recount gives\n%+v", q, name, row.Sums.Of, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Fatalf("%+v: groups %v are missing", q, slices.Collect(maps.Keys(want)))
	}
}

func equalSums(a, b *storage.Sums) bool {
	same := func(x, y *storage.Histogram) bool {
		return reflect.DeepEqual(maps.Collect(x.Buckets), maps.Collect(y.Buckets))
	}
	return a.Of == b.Of && same(&a.Latency, &b.Latency) && same(&a.TTFT, &b.TTFT)
}

// P17: whatever is asked, a summary equals a recount of the requests one by one, with gaps of seconds to days between them, over
// restarts at any point, and however much of it is still in memory.
func TestSummaryEqualsRecount(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			begin := time.Date(2026, 3, 30, 21, 17, 0, 0, time.UTC)
			dir, clock := t.TempDir(), startClock(begin)
			config := clock.config(dir)
			config.Retain = 20 * 365 * 24 * time.Hour // the database itself goes by the real clock
			config.KeepSums = [3]time.Duration{1000 * time.Hour, 1000 * time.Hour, 1000 * time.Hour}
			l := openLog(t, config)
			var all []counted
			for n := 0; n < 1500; {
				for range 1 + r.IntN(20) {
					u := randomUsage(r, clock.now(), n)
					n++
					all = append(all, counted{clock.now(), u})
					l.Append(storage.LogRecord{Usage: u})
				}
				l.Flush()
				clock.set(clock.now().Add([]time.Duration{time.Second, 20 * time.Second, 3 * time.Minute, 50 * time.Minute, 9 * time.Hour}[r.IntN(5)]))
				if r.IntN(10) == 0 {
					l.Close()
					l = openLog(t, config)
				}
				if r.IntN(5) == 0 {
					checkSummary(t, l, all, randomQuery(r, begin, clock.now()))
				}
			}
			for range 100 {
				checkSummary(t, l, all, randomQuery(r, begin, clock.now()))
			}
			l.Close()
			if differ, err := Recount(config, true, t.Logf); err != nil || differ > 0 {
				t.Fatalf("%d sums differ from a recount, %v", differ, err)
			}
		})
	}
}

func randomQuery(r *rand.Rand, begin, end time.Time) storage.SummaryQuery {
	at := func() time.Time {
		t := begin.Add(time.Duration(r.Int64N(int64(end.Sub(begin) + 1))))
		return t.Truncate([]time.Duration{time.Minute, time.Hour, 24 * time.Hour}[r.IntN(3)])
	}
	q := storage.SummaryQuery{From: at(), To: at(), Step: storage.Step(r.IntN(4)), Where: map[storage.Dimension][]string{}}
	if q.To.Before(q.From) {
		q.From, q.To = q.To, q.From
	}
	if r.IntN(3) == 0 {
		q.To = end.Truncate(time.Minute).Add(time.Minute)
	}
	for d := range storage.Dimensions {
		if r.IntN(3) == 0 {
			q.Group = append(q.Group, d)
		}
	}
	if r.IntN(2) == 0 {
		q.Where[storage.ByAccount] = []string{"account-1", "account-9"}
	}
	if r.IntN(3) == 0 {
		q.Where[storage.ByModel] = []string{"large", "huge"}
	}
	return q
}

// TestSummaryLimits: accounts beyond the limit are summed up as others, whose rest is told apart still; what cannot be answered is
// refused.
func TestSummaryLimits(t *testing.T) {
	tallied := newTally()
	tallied.most = 10
	u := usageAt(time.Now(), 1, "")
	for i := range 100 {
		u.Account, u.Model = fmt.Sprint("account-", i), []string{"small", "large"}[i%2]
		tallied.of(u.Values()).Count(&u)
	}
	models := map[string]int64{}
	for values, sums := range tallied.groups {
		models[values[storage.ByModel]] += sums.Of[storage.SumRequests]
	}
	if len(tallied.groups) != 12 || models["small"] != 50 || models["large"] != 50 {
		t.Errorf("%d groups, models %v", len(tallied.groups), models)
	}

	now := time.Date(2026, 5, 1, 12, 30, 0, 0, time.UTC)
	clock := startClock(now.Add(-60 * 24 * time.Hour))
	l := openLog(t, clock.config(t.TempDir()))
	l.Append(storage.LogRecord{Usage: u})
	l.Flush()
	clock.set(now)
	l.Append(storage.LogRecord{Usage: u})
	at := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	for name, c := range map[string]struct {
		q        storage.SummaryQuery
		requests int64
		from     time.Time
		err      error
	}{
		"all":                     {storage.SummaryQuery{From: at(60), To: now.Add(time.Minute)}, 2, at(60).Truncate(time.Hour), nil},
		"today":                   {storage.SummaryQuery{From: at(1), To: now.Add(time.Minute)}, 1, at(1), nil},
		"before anything":         {storage.SummaryQuery{From: at(200), To: at(190)}, 0, at(200).Truncate(24 * time.Hour), nil},
		"nothing":                 {storage.SummaryQuery{From: now, To: now}, 0, now, nil},
		"old minutes":             {storage.SummaryQuery{From: at(3), To: now, Step: storage.StepMinute}, 0, now, storage.ErrInvalid},
		"old hours":               {storage.SummaryQuery{From: at(91), To: now, Step: storage.StepHour}, 0, now, storage.ErrInvalid},
		"a step that is none":     {storage.SummaryQuery{From: at(1), To: now, Step: 4}, 0, now, storage.ErrInvalid},
		"a group that is none":    {storage.SummaryQuery{From: at(1), To: now, Group: []storage.Dimension{storage.Dimensions}}, 0, now, storage.ErrInvalid},
		"an account without any":  {storage.SummaryQuery{From: at(60), To: now.Add(time.Minute), Where: map[storage.Dimension][]string{storage.ByAccount: {"x"}}}, 0, at(60).Truncate(time.Hour), nil},
		"an account of the other": {storage.SummaryQuery{From: at(60), To: now.Add(time.Minute), Where: map[storage.Dimension][]string{storage.ByAccount: {"account-99"}}}, 2, at(60).Truncate(time.Hour), nil},
	} {
		got, err := l.Summary(c.q)
		if c.err != nil {
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		requests := int64(0)
		for _, row := range got.Rows {
			requests += row.Sums.Of[storage.SumRequests]
		}
		if err != nil || requests != c.requests || !got.From.Equal(c.from) {
			t.Errorf("%s: %d requests since %s, %v", name, requests, got.From, err)
		}
	}
}

// A recount agrees with sums of which the finer ones are gone, and drops nothing of a log whose settings it does not know.
func TestRecountOfAnOldLog(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	dir, clock := t.TempDir(), startClock(time.Now().Add(-150*24*time.Hour))
	config := clock.config(dir)
	config.Retain = 365 * 24 * time.Hour
	config.KeepSums = [3]time.Duration{3 * 24 * time.Hour, 60 * 24 * time.Hour, 3 * 365 * 24 * time.Hour}
	l := openLog(t, config)
	for n := range 120 {
		l.Append(storage.LogRecord{Usage: randomUsage(r, clock.now(), n)})
		l.Flush()
		clock.set(clock.now().Add(30 * time.Hour))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = openLog(t, config) // which tidies up
	l.Flush()
	periods, shelves := l.known(), l.knownShelves()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"its own settings": config,
		"others":           {Dir: dir, Clock: clock.now, Retain: 24 * time.Hour, KeepSums: [3]time.Duration{1000 * time.Hour, 100 * 24 * time.Hour, 3 * 365 * 24 * time.Hour}},
	} {
		for _, check := range []bool{true, false} {
			if differ, err := Recount(c, check, t.Logf); err != nil || differ > 0 {
				t.Errorf("%s: %d differ, %v", name, differ, err)
			}
		}
	}
	config.DropNothing = true
	l = openLog(t, config)
	if l.Flush(); !slices.Equal(l.known(), periods) || !slices.Equal(l.knownShelves(), shelves) {
		t.Errorf("periods %v, before %v; shelves %x, before %x", l.known(), periods, l.knownShelves(), shelves)
	}
}
