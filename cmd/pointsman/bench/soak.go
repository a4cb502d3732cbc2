package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// SoakConfig says how long a gateway is loaded and how hard.
type SoakConfig struct {
	Duration    time.Duration // at least 10 s
	LoadPercent int           // of the processors' time that all processes together use while it warms up, 1 to 95; the rate stays the same from then on
}

// SoakReport is what became of a gateway under long load.
type SoakReport struct {
	Minutes   float64          `json:"minutes"`
	Capacity  float64          `json:"capacity_per_second"` // of the mixture
	Rate      float64          `json:"rate_per_second"`     // on average
	Load      float64          `json:"load_percent"`        // of the processors' time that was used, of all processes
	Requests  map[string]int   `json:"requests"`            // by kind
	Failing   map[string]Tally `json:"failing"`             // by kind, of those whose upstream may fail
	Behind    int              `json:"behind"`              // requests that were due and did not begin in time
	P50MS     float64          `json:"p50_ms"`              // of buffered answers, from the moment each was due
	P99MS     float64          `json:"p99_ms"`
	OwnErrors int              `json:"own_5xx"` // answers of status 500 and above but those that a failure of the upstream must become
	Wrong     int              `json:"wrong"`   // other answers than expected
	First     string           `json:"first_wrong,omitempty"`
	Reloads   int              `json:"reloads"`
	Refused   int              `json:"reloads_refused"`
	// What the gateway's processes had at rest before and after, when unused connections are closed, and the most of its samples under load.
	Before, After, Most Holdings
	RSSSlope            float64     `json:"rss_mib_per_hour"`                      // of resident memory after the warm-up
	OwnSlope            float64     `json:"own_rss_mib_per_hour"`                  // of that which is no file: pages of databases go when memory is wanted
	OwnWithin           *[2]float64 `json:"own_rss_mib_per_hour_within,omitempty"` // has the true one in 95 of 100 soaks; nil: it was too short
	GoalSlope           float64     `json:"heap_goal_mib_per_hour"`                // what lives grows by two thirds of it
	PartSlopes          Parts       `json:"parts_mib_per_hour"`                    // of what the memory that is no file consists of
	Seconds             []Watch     `json:"samples"`                               // one in ten seconds
	Stopped             bool        `json:"stopped_cleanly"`                       // within the time for the requests under way
	Ledger              string      `json:"ledger"`                                // what its verification said
	LedgerFault         string      `json:"ledger_fault,omitempty"`                // why it does not verify
}

// Watch is one look at a gateway under load.
type Watch struct {
	Second float64 `json:"second"`
	Rate   float64 `json:"rate_per_second"` // that is sent at the moment: a faster machine has more under way
	Holdings
}

const (
	soakWorkers = 512
	reloadEvery = 5 * time.Second
	watchEvery  = time.Second
	soakTest    = 5 * time.Second  // of the measurement of what the gateway can do
	soakRest    = 32 * time.Second // until a connection to an upstream is too old to be used again, which is after 30 s, and fasthttp's idle workers are gone, after 20
	restLooks   = 3
)

// Soak loads a gateway with a mixture of everything: buffered answers, streams, clients that leave, failures of the upstream, images,
// policies that change while they serve. An error means that it could not be done; what was wrong with the gateway is for Judge.
func Soak(ctx context.Context, cfg Config, s SoakConfig) (*SoakReport, error) {
	if s.Duration < 10*time.Second || s.Duration > 24*time.Hour || s.LoadPercent < 1 || s.LoadPercent > 95 {
		return nil, errors.New("a soak takes 10 s to 24 h at 1 to 95 percent")
	}
	r, cleanup, err := begin(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	site := &site{dir: r.newSite(), upstream: r.upstream.address, soak: true}
	if err := site.writePolicy(0); err != nil {
		return nil, err
	}
	p, _, err := startGateway(ctx, &cfg, site, "")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	m, report := newMixture(p), &SoakReport{Minutes: s.Duration.Minutes()}

	r.say("what the gateway can do: %s at full load", soakTest)
	if report.Capacity, err = m.capacity(ctx, soakTest); err != nil {
		return nil, err
	}
	if report.Before, err = m.atRest(ctx, p, site); err != nil {
		return nil, err
	}
	r.say("%d %% load for %s", s.LoadPercent, s.Duration)
	if err := r.underLoad(ctx, m, site, p, s, report); err != nil {
		return nil, err
	}
	if report.After, err = m.atRest(ctx, p, site); err != nil {
		return nil, err
	}
	m.fill(report)
	for _, n := range report.Requests {
		report.Rate += float64(n) / s.Duration.Seconds()
	}
	report.Refused = bytes.Count([]byte(p.output.String()), []byte("not everything was reloaded"))
	report.Stopped = p.end(40 * time.Second)
	var said bytes.Buffer
	if err := badgerdb.Verify(site.dataDir(), &said); err != nil {
		report.LedgerFault = err.Error()
	}
	report.Ledger = string(bytes.TrimSpace(said.Bytes()))
	return report, nil
}

// underLoad sends the mixture, changes a policy again and again, and watches. It finds the rate that keeps the processors as busy as they shall be while it warms up. From then on
// the rate stays, whatever the machine's speed: what is under way, and with it the memory, goes with the rate.
func (r *runner) underLoad(ctx context.Context, m *mixture, site *site, p *process, s SoakConfig, report *SoakReport) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wanted := float64(s.LoadPercent) / 100
	pace := newPacer(report.Capacity * wanted / 2)
	loaded := make(chan error, 1)
	began := time.Now()
	first, err := proc.processors()
	if err != nil {
		return err
	}
	last := first
	go func() {
		behind, err := m.send(ctx, pace, s.Duration)
		report.Behind = behind
		loaded <- err
	}()
	watches, reloads := time.NewTicker(watchEvery), time.NewTicker(reloadEvery)
	defer watches.Stop()
	defer reloads.Stop()
	var seen []Watch
	warm := min(s.Duration/5, 5*time.Minute)
	rates, warming := 0.0, 0
	for {
		select {
		case err := <-loaded:
			report.Load = 100 * last.since(first)
			seen = slices.DeleteFunc(seen, func(w Watch) bool { return w.Second < warm.Seconds() })
			report.RSSSlope = slope(seen, func(h Holdings) float64 { return h.RSSMiB })
			report.OwnSlope = slope(seen, func(h Holdings) float64 { return h.OwnMiB })
			report.OwnWithin = slopeInterval(seen, func(h Holdings) float64 { return h.OwnMiB })
			report.GoalSlope = slope(seen, func(h Holdings) float64 { return h.GoalMiB })
			for i := range report.PartSlopes {
				report.PartSlopes[i] = slope(seen, func(h Holdings) float64 { return h.Parts[i] })
			}
			return err
		case <-watches.C:
			h, err := holdings(p, site)
			if err != nil {
				return fmt.Errorf("watching the gateway: %w%s", err, p.output.excerpt())
			}
			now, err := proc.processors()
			if err != nil {
				return err
			}
			took := time.Since(began)
			switch {
			case took < warm:
				pace.adapt(now.since(last), wanted)
				if took > warm/2 { // it has found about the rate
					rates, warming = rates+pace.rate(), warming+1
				}
			case warming > 0:
				pace.set(rates / float64(warming))
				warming = 0
			}
			last = now
			seen = append(seen, Watch{took.Seconds(), pace.rate(), h})
			if n := len(seen); n%10 == 1 {
				report.Seconds = append(report.Seconds, seen[n-1])
			}
			report.Most = report.Most.each(h, math.Max)
		case <-reloads.C:
			report.Reloads++
			if err := errors.Join(site.writePolicy(report.Reloads), p.cmd.Process.Signal(syscall.SIGHUP)); err != nil {
				return err
			}
		}
	}
}

// writePolicy puts a policy in place that decides as the built-in one and is another module: its custom section differs.
func (s *site) writePolicy(n int) error {
	module := append(slices.Clone(builtin.Modules()["balanced"]), 0, 6, 4, 's', 'o', 'a', 'k', byte('0'+n%2))
	path := filepath.Join(s.dir, "balanced.wasm")
	if err := errors.Join(os.MkdirAll(s.dir, 0o700), os.WriteFile(path+".new", module, 0o600)); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// end asks the process to end and tells whether it did so by itself, without an error.
func (p *process) end(within time.Duration) bool {
	if p.cmd.Process.Signal(syscall.SIGTERM) != nil {
		return false
	}
	select {
	case <-p.ended:
		return p.cmd.ProcessState.Success()
	case <-time.After(within):
		return false
	}
}

// slope is how much a value grows in an hour: the median of the slopes between all looks, which single ones do not move.
func slope(seen []Watch, value func(Holdings) float64) float64 {
	every := len(seen)/2000 + 1
	var points []point
	for i := 0; i < len(seen); i += every {
		points = append(points, point{seen[i].Second, value(seen[i].Holdings)})
	}
	return median(slopes(points))
}

// slopeInterval is what has the true slope in it in 95 of 100 soaks, nil if there are too few looks, by the ranks of the slopes between the medians of minutes (P. K. Sen, Estimates of
// the Regression Coefficient Based on Kendall's Tau, 1968): looks of one minute depend on each other.
func slopeInterval(seen []Watch, value func(Holdings) float64) *[2]float64 {
	minutes := map[int][]float64{}
	for _, w := range seen {
		minutes[int(w.Second/60)] = append(minutes[int(w.Second/60)], value(w.Holdings))
	}
	var points []point
	for minute, values := range minutes {
		points = append(points, point{60 * float64(minute), median(values)})
	}
	all := slices.Sorted(slices.Values(slopes(points)))
	n := float64(len(points))
	width := 1.96 * math.Sqrt(n*(n-1)*(2*n+5)/18)
	first, last := int((float64(len(all))-width)/2), int((float64(len(all))+width)/2)
	if first < 0 || last >= len(all) {
		return nil
	}
	return &[2]float64{all[first], all[last]}
}

// point is a value at a second.
type point struct{ second, value float64 }

// slopes are those between all pairs of points, for an hour.
func slopes(points []point) (all []float64) {
	for i, p := range points {
		for _, q := range points[:i] {
			all = append(all, 3600*(p.value-q.value)/(p.second-q.second))
		}
	}
	return all
}

// Bounds of a soak's judgement. Database files are not bounded: there are more of them the more is written.
const (
	maxSlope     = 1.0 // MiB in an hour
	slopeMinutes = 20  // that a soak must last for its slope to say anything
	moreAtRest   = 2   // goroutines, sockets or other descriptors: what a probe of the upstream that is down takes while it lasts
	maxRefused   = 20  // a request in so many whose upstream fails now and then may meet an open circuit, or the failures have not reached the gateway
)

// Judge says what was wrong with the gateway, nil if nothing was.
func (r *SoakReport) Judge() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(r.OwnErrors > 0, "%d answers of status 500 and above of its own, the first: %s", r.OwnErrors, r.First)
	fault(r.Wrong > 0, "%d other wrong answers, the first: %s", r.Wrong, r.First)
	fault(r.Refused > 0, "%d of %d reloads were refused", r.Refused, r.Reloads)
	for _, k := range kinds {
		t, sent := r.Failing[k.name], r.Requests[k.name]
		switch {
		case k.code == "":
		case t.failures() == 0:
			fault(true, "%s: the upstream failed none of %d requests", k.name, sent)
		case k.model == downModel:
			fault(t.Refused == 0, "%s: no circuit was open for any of %d requests", k.name, sent)
		default:
			fault(t.Refused*maxRefused > sent, "%s: %d of %d requests met an open circuit", k.name, t.Refused, sent)
		}
	}
	fault(r.After.Goroutines > r.Before.Goroutines+moreAtRest, "%d goroutines at rest, %d before", r.After.Goroutines, r.Before.Goroutines)
	fault(r.After.Sockets > r.Before.Sockets+moreAtRest, "%d sockets at rest, %d before", r.After.Sockets, r.Before.Sockets)
	fault(r.After.Others > r.Before.Others+moreAtRest, "%d other descriptors at rest, %d before", r.After.Others, r.Before.Others)
	fault(r.Minutes >= slopeMinutes && r.OwnSlope > maxSlope, "memory of its own grows by %.2f MiB an hour%s", r.OwnSlope, r.certainty())
	fault(!r.Stopped, "it did not stop cleanly")
	fault(r.LedgerFault != "", "the ledger does not verify: %s", r.LedgerFault)
	return errors.Join(faults...)
}

// certainty is what to say behind the slope of the memory that is no file.
func (r *SoakReport) certainty() string {
	if r.OwnWithin == nil {
		return ""
	}
	return fmt.Sprintf(" (between %+.2f and %+.2f in 95 of 100 soaks)", r.OwnWithin[0], r.OwnWithin[1])
}

// shown is what the interval says of the bound, which the slope alone is held to.
func (r *SoakReport) shown() string {
	switch {
	case r.Minutes < slopeMinutes || r.OwnWithin == nil:
		return fmt.Sprintf("not judged, for it takes %d minutes", slopeMinutes)
	case r.OwnWithin[1] < maxSlope:
		return "yes, all of the interval is below"
	case r.OwnWithin[0] > maxSlope:
		return "no, all of the interval is above"
	}
	return "not shown either way, the bound is within the interval"
}

// WriteText writes the report for a terminal.
func (r *SoakReport) WriteText(w io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%.1f minutes at %.0f requests a second on average, which took %.0f %% of the processors' time; %.0f a second were the most before\n", r.Minutes, r.Rate, r.Load, r.Capacity)
	for _, kind := range kinds {
		fmt.Fprintf(&text, "  %-38s %d", kind.name, r.Requests[kind.name])
		if t, ok := r.Failing[kind.name]; ok {
			fmt.Fprintf(&text, ": %d answered, %d got its error, %d refused by an open circuit; the upstream was asked %d times and failed %d", t.Whole, t.Failed, t.Refused, t.Asked, t.failures())
		}
		text.WriteByte('\n')
	}
	if r.Behind > 0 {
		fmt.Fprintf(&text, "  not begun in time, for the machine has become slower: %d\n", r.Behind)
	}
	fmt.Fprintf(&text, "buffered answers: p50 %.2f ms, p99 %.2f ms; own 5xx: %d; other wrong answers: %d\n", r.P50MS, r.P99MS, r.OwnErrors, r.Wrong)
	fmt.Fprintf(&text, "policies changed by SIGHUP: %d times, %d refused\n", r.Reloads, r.Refused)
	fmt.Fprintf(&text, "memory: %+.2f MiB an hour, of which no files %+.2f%s; what the heap may grow to before it is collected %+.2f\n", r.RSSSlope, r.OwnSlope, r.certainty(), r.GoalSlope)
	for i, name := range partNames {
		fmt.Fprintf(&text, "  %-38s %+.2f, from %.1f to %.1f at rest\n", name, r.PartSlopes[i], r.Before.Parts[i], r.After.Parts[i])
	}
	fmt.Fprintf(&text, "memory that is no file grows by less than %.0f MiB an hour: %s\n\n", maxSlope, r.shown())
	g := grid{columns: []string{"", "RSS MiB", "no files MiB", "heap goal MiB", "goroutines", "sockets", "database files", "others"}, words: []string{""}}
	for _, row := range []struct {
		name string
		Holdings
	}{{"at rest before", r.Before}, {"most under load", r.Most}, {"at rest after", r.After}} {
		g.rows = append(g.rows, []string{
			row.name, fmt.Sprintf("%.1f", row.RSSMiB), fmt.Sprintf("%.1f", row.OwnMiB), fmt.Sprintf("%.1f", row.GoalMiB), fmt.Sprint(row.Goroutines), fmt.Sprint(row.Sockets), fmt.Sprint(row.Files), fmt.Sprint(row.Others),
		})
	}
	g.writeText(&text)
	fmt.Fprintf(&text, "\nstopped cleanly: %t\n%s%s\n", r.Stopped, r.Ledger, r.LedgerFault)
	_, err := w.Write(text.Bytes())
	return err
}
