package bench

import (
	"context"
	"fmt"
	"slices"
	"syscall"
)

// Growth is what a request costs when there is more of something.
type Growth struct {
	Of        string  `json:"of"`
	Amount    int     `json:"amount"`
	CPUMicros float64 `json:"cpu_micros"`
	Ratio     float64 `json:"ratio_to_bare_proxy"`
	Percent   float64 `json:"percent"` // above the amount that the others of its kind are compared with
	Base      bool    `json:"base"`    // this is that amount
}

// Growing is what there can be more of, in the order in which it is measured.
func Growing() []string { return []string{"connections", "models", "accounts", "log"} }

// measureGrowth lets one thing after the other grow.
func (r *runner) measureGrowth(ctx context.Context) error {
	measures := map[string]func(context.Context) error{"connections": r.growConnections, "models": r.growModels, "accounts": r.growAccounts, "log": r.growLog}
	for _, name := range Growing() {
		if !slices.Contains(r.Grow, name) {
			continue
		}
		if err := measures[name](ctx); err != nil {
			return fmt.Errorf("measuring how the cost grows: %w", err)
		}
	}
	return nil
}

// growConnections keeps as many requests under way, over more and more open connections, each of which is used in turn.
func (r *runner) growConnections(ctx context.Context) error {
	t := &Target{Name: TargetGateway}
	s := &site{dir: r.newSite(), upstream: r.upstream.address}
	p, _, err := startGateway(ctx, r.Config, s, "")
	if err != nil {
		return err
	}
	defer p.stop()
	amounts := []int{r.Connections, 1, 1000, min(10_000, descriptors()-500)}
	rows := make([][]sample, len(amounts))
	var bare []sample
	for i, n := range amounts {
		_, err := r.inTurns(ctx, fmt.Sprintf("%d connections", n), r.Rounds, []*standing{r.bare, {t, p}}, func(t *standing) (sample, error) {
			l := closedLoop(r.Config, chat, t.process)
			l.workers = min(n, r.Connections)
			l.wires = max(n/l.workers, 1)
			s, err := l.measure(ctx, r.Config, t.process, r.upstream)
			if t.Name == TargetProxy {
				bare = append(bare, s)
			} else {
				rows[i] = append(rows[i], s)
			}
			return s, err
		})
		if err != nil {
			return err
		}
	}
	for i, n := range amounts {
		g := grown("open connections", n, rows[i], bare[i*r.Rounds:(i+1)*r.Rounds])
		// A single connection leaves both proxies asleep between requests: only the ratio compares.
		g.Percent = 100 * (g.Ratio/grown("", 0, rows[0], bare[:r.Rounds]).Ratio - 1)
		g.Base = i == 0
		r.report.Growth = append(r.report.Growth, g)
	}
	return nil
}

func (r *runner) growModels(ctx context.Context) error {
	return r.grow(ctx, "models", []int{builtinModels, 500, 5000}, func(s *site, n int) error {
		s.models = n
		return nil
	})
}

func (r *runner) growAccounts(ctx context.Context) error {
	return r.grow(ctx, "accounts with a key each", amountsUpTo(r.Accounts, 1, 10_000, 1_000_000), func(s *site, n int) error {
		r.say("making %d accounts", n)
		return s.populate(ctx, n)
	})
}

func (r *runner) growLog(ctx context.Context) error {
	return r.grow(ctx, "rows in the log", amountsUpTo(r.LogRows, 0, 1_000_000), func(s *site, n int) error {
		r.say("writing %d rows into a log", n)
		return s.fillLog(ctx, n)
	})
}

// amountsUpTo are those of the amounts that are below the most, and the most.
func amountsUpTo(most int, amounts ...int) (below []int) {
	for _, n := range amounts {
		if n < most {
			below = append(below, n)
		}
	}
	return append(below, most)
}

// grow prepares a gateway for each amount, the first being what the others are compared with, and loads them in turns once each has done what a start leaves for later.
func (r *runner) grow(ctx context.Context, of string, amounts []int, prepare func(s *site, n int) error) error {
	group := []*standing{r.bare}
	sites := map[string]*site{}
	for _, n := range amounts {
		s := &site{dir: r.newSite(), upstream: r.upstream.address}
		if err := prepare(s, n); err != nil {
			return err
		}
		p, _, err := startGateway(ctx, r.Config, s, "")
		if err != nil {
			return err
		}
		defer p.stop()
		if err := p.proven(ctx, s.master); err != nil {
			return err
		}
		name := fmt.Sprintf("%d %s", n, of)
		sites[name] = s
		group = append(group, &standing{&Target{Name: name}, p})
	}
	short := *r.Config // a few per cent are told apart by many short rounds, not by a few long ones
	short.WarmUp, short.Duration = r.WarmUp/2, r.Duration/2
	measure := func(t *standing) (sample, error) {
		l := closedLoop(&short, chat, t.process)
		if s := sites[t.Name]; s != nil && len(s.keys) > 0 {
			l.requests = nil
			for _, key := range s.keys {
				l.requests = append(l.requests, chat.requestWith(t.process, key))
			}
		}
		return l.measure(ctx, &short, t.process, r.upstream)
	}
	samples, err := r.inTurns(ctx, of, 4*r.Rounds, group, measure)
	if err != nil {
		return err
	}
	for i, n := range amounts {
		g := grown(of, n, samples[group[i+1].Name], samples[TargetProxy])
		g.Percent = 100 * (grown("", 0, samples[group[i+1].Name], samples[group[1].Name]).Ratio - 1) // of neighbouring rounds
		g.Base = i == 0
		r.report.Growth = append(r.report.Growth, g)
	}
	return nil
}

func grown(of string, n int, samples, base []sample) Growth {
	row := summarize(chat, TargetGateway, samples, base)
	return Growth{Of: of, Amount: n, CPUMicros: row.CPUMicros, Ratio: row.Ratio}
}

// descriptors is how many files this process and those it starts may have open each.
func descriptors() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<20))
}
