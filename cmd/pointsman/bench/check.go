package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Baseline is what the ratio of the gateway's CPU time to the bare proxy's is allowed to be compared with.
type Baseline struct {
	Ratios  map[string]float64 `json:"ratios"`          // by workload: CPU time for each request or chunk
	Percent float64            `json:"margin_percent"`  // above which a ratio is a regression
	Since   string             `json:"reference_since"` // the day of the last recording, so that each changes the file: CI compares with the build of the commit that did so last
}

// CheckConfig says what a gateway is compared with.
type CheckConfig struct {
	Baseline string // file with the workloads, their recorded ratios to the bare proxy, and the margin
	Against  string // another pointsman executable, whose gateway may take as much; "": the bare proxy, of which it may take the recorded ratio
	Update   bool   // write the ratios to the bare proxy into the file instead, and the day
}

// Check measures how much CPU time a gateway takes for the workloads of a baseline file, as a ratio to that of a bare proxy or of another build's gateway.
// It fails if a ratio to the bare proxy is above the recorded one by more than the margin, or one to another build by more than
// four fifths of it: a build that takes as much then seldom fails, and most that take more by the margin do. All rounds count, and their number is fixed.
func Check(ctx context.Context, cfg Config, c CheckConfig) error {
	text, err := os.ReadFile(c.Baseline)
	if err != nil {
		return err
	}
	var base Baseline
	if err := json.Unmarshal(text, &base); err != nil {
		return fmt.Errorf("reading %s: %w", c.Baseline, err)
	}
	if base.Percent <= 0 || len(base.Ratios) == 0 {
		return fmt.Errorf("%s has no ratios or no margin_percent", c.Baseline)
	}
	other, margin := "the bare proxy", base.Percent
	if c.Against != "" {
		if c.Update {
			return errors.New("what is recorded is the ratio to the bare proxy")
		}
		other, margin = "the other build", base.Percent*4/5
		for name := range base.Ratios {
			base.Ratios[name] = 1
		}
	}
	r, cleanup, err := begin(ctx, &cfg)
	if err != nil {
		return err
	}
	defer cleanup()
	ratios, err := r.checkRounds(ctx, slices.Sorted(maps.Keys(base.Ratios)), c.Against)
	if err != nil {
		return err
	}
	measured := map[string]estimate{}
	for _, name := range slices.Sorted(maps.Keys(ratios)) {
		got := estimated(ratios[name])
		measured[name] = got
		r.say("%s: %s times the CPU time of %s, %+.1f %% to what is compared with", name, got, other, 100*(got.ratio/base.Ratios[name]-1))
		if (got.most-got.least)/got.ratio > base.Percent/100 {
			r.say("%s: the interval is wider than %.0f %%: the machine is too busy to tell", name, base.Percent)
		}
	}
	if !c.Update {
		return base.judge(measured, other, margin)
	}
	base.Since = time.Now().UTC().Format(time.DateOnly)
	for name, got := range measured {
		base.Ratios[name] = math.Round(got.ratio*1000) / 1000
	}
	text, err = json.MarshalIndent(base, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(c.Baseline, append(text, '\n'))
}

// judge names the workloads whose measured ratio is above what is compared with by more than so many percent, or which were not measured.
func (b *Baseline) judge(measured map[string]estimate, other string, margin float64) error {
	var faults error
	for _, name := range slices.Sorted(maps.Keys(b.Ratios)) {
		got, ok := measured[name]
		most := b.Ratios[name] * (1 + margin/100)
		switch {
		case !ok:
			faults = errors.Join(faults, fmt.Errorf("workload %q of the baseline is unknown", name))
		case got.ratio > most:
			faults = errors.Join(faults, fmt.Errorf("%s takes %s times the CPU time of %s, which is above %.2f: %.2f and %.0f %%", name, got, other, most, b.Ratios[name], margin))
		}
	}
	return faults
}

// checkRounds measures the gateway and what it is compared with in rounds, with new processes in each, for some have less luck with their memory than others
// as long as they live. The ratios are one of each round.
func (r *runner) checkRounds(ctx context.Context, names []string, against string) (map[string][]float64, error) {
	ratios := map[string][]float64{}
	for round := range r.Rounds {
		r.say("processes %d of %d", round+1, r.Rounds)
		if err := r.checkRound(ctx, names, against, round%2 == 1, ratios); err != nil {
			return nil, err
		}
	}
	return ratios, nil
}

// checkRound adds the ratios of CPU times that are the sums of two turns of both, the second in the other order.
func (r *runner) checkRound(ctx context.Context, names []string, against string, otherFirst bool, ratios map[string][]float64) error {
	other := bareProxy(r.Config)
	if against != "" {
		cfg := *r.Config
		cfg.Binary = against
		other = &Target{Name: "other build", start: gatewayStart(&cfg, nil)}
	}
	both := []*Target{{Name: TargetGateway, start: gatewayStart(r.Config, nil)}, other}
	if otherFirst {
		slices.Reverse(both)
	}
	var group []*standing
	for _, t := range both {
		p, err := t.start(ctx, r.newSite(), r.upstream.address)
		if err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
		defer p.stop()
		group = append(group, &standing{t, p})
	}
	for _, w := range workloads {
		if !slices.Contains(names, w.name) {
			continue
		}
		samples, err := r.inTurns(ctx, w.title, 2, group, func(t *standing) (sample, error) {
			return closedLoop(r.Config, w, t.process).measure(ctx, r.Config, t.process, r.upstream)
		})
		if err != nil {
			return err
		}
		ratios[w.name] = append(ratios[w.name], ratio(costOf(samples[TargetGateway]), costOf(samples[other.Name])))
	}
	return nil
}

// costOf is the CPU time of a request in all samples together.
func costOf(samples []sample) float64 {
	var sum sample
	for _, s := range samples {
		sum.cpu += s.cpu
		sum.requests += s.requests
	}
	return perUnit(sum.cpu, sum.requests)
}

// replaceFile writes a file beside the old one and renames it, so that an interrupted run leaves the old text.
func replaceFile(path string, text []byte) error {
	beside, err := os.CreateTemp(filepath.Dir(path), ".bench-")
	if err != nil {
		return err
	}
	defer os.Remove(beside.Name()) //nolint:errcheck // it is gone when all went well
	_, err = beside.Write(text)
	if err = errors.Join(err, beside.Chmod(0o644), beside.Close()); err != nil {
		return fmt.Errorf("updating %s: %w", path, err)
	}
	return os.Rename(beside.Name(), path)
}
