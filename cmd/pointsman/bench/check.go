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
)

// Baseline is what the ratio of the gateway's CPU time to the bare proxy's is allowed to be compared with.
type Baseline struct {
	Ratios  map[string]float64 `json:"ratios"`         // by workload: CPU time for each request or chunk
	Percent float64            `json:"margin_percent"` // above which a ratio is a regression
}

// Check measures the ratio of the gateway's CPU time to the bare proxy's for the workloads of a baseline file and fails if
// one is above it by more than the margin, which is said in the error. A ratio that is too high is measured twice more first, with new processes, and
// the median of all rounds counts. With update the measured ratios are written to the file instead.
func Check(ctx context.Context, cfg Config, path string, update bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var base Baseline
	if err := json.Unmarshal(text, &base); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if base.Percent <= 0 || len(base.Ratios) == 0 {
		return fmt.Errorf("%s has no ratios or no margin_percent", path)
	}
	r, cleanup, err := begin(ctx, &cfg)
	if err != nil {
		return err
	}
	defer cleanup()
	measured := map[string]float64{}
	for _, w := range workloads {
		allowed, ok := base.Ratios[w.name]
		if !ok {
			continue
		}
		got, err := r.checkRatio(ctx, w, allowed*(1+base.Percent/100), update)
		if err != nil {
			return err
		}
		measured[w.name] = got
		r.say("%s: %.3f times the CPU time of the bare proxy, %+.1f %% to the baseline of %.3f", w.title, got, 100*(got/allowed-1), allowed)
	}
	if !update {
		return base.judge(measured)
	}
	for name, got := range measured {
		base.Ratios[name] = math.Round(got*1000) / 1000
	}
	text, err = json.MarshalIndent(base, "", "  ")
	if err != nil {
		return err
	}
	return replaceFile(path, append(text, '\n'))
}

// judge names the workloads whose measured ratio is a regression, or which were not measured.
func (b *Baseline) judge(measured map[string]float64) error {
	var faults error
	for _, name := range slices.Sorted(maps.Keys(b.Ratios)) {
		allowed := b.Ratios[name]
		got, ok := measured[name]
		change := 100 * (got/allowed - 1)
		switch {
		case !ok:
			faults = errors.Join(faults, fmt.Errorf("workload %q of the baseline is unknown", name))
		case change > b.Percent:
			faults = errors.Join(faults, fmt.Errorf("%s takes %.2f times the CPU time of the bare proxy, %.0f %% above the baseline of %.2f; %.0f %% are allowed",
				name, got, change, allowed, b.Percent))
		}
	}
	return faults
}

// checkRatio is the median of the ratios of neighbouring rounds. If it is above the limit, others follow with new processes, for some have less luck with
// their memory than others as long as they live, one time in the other order.
func (r *runner) checkRatio(ctx context.Context, w workload, limit float64, update bool) (got float64, err error) {
	var ours, bare []sample
	for turn := range 3 {
		samples, err := r.checkRounds(ctx, w, turn == 1)
		if err != nil {
			return 0, err
		}
		ours, bare = append(ours, samples[TargetGateway]...), append(bare, samples[TargetProxy]...)
		if got = summarize(w, TargetGateway, ours, bare).Ratio; got <= limit && !update {
			break
		}
	}
	return got, nil
}

// checkRounds measures a gateway and a bare proxy that nobody has used before.
func (r *runner) checkRounds(ctx context.Context, w workload, gatewayFirst bool) (map[string][]sample, error) {
	p, _, err := startGateway(ctx, r.Config, &site{dir: r.newSite(), upstream: r.upstream.address}, "")
	if err != nil {
		return nil, err
	}
	defer p.stop()
	bare, err := r.startBare(ctx)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	group := []*standing{bare, {&Target{Name: TargetGateway}, p}}
	if gatewayFirst {
		slices.Reverse(group)
	}
	return r.inTurns(ctx, w.title, r.Rounds, group, func(t *standing) (sample, error) {
		return closedLoop(r.Config, w, t.process).measure(ctx, r.Config, t.process, r.upstream)
	})
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
