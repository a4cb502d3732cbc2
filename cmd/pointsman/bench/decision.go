package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Decision is what one decision costs, from the request's facts to the plan, on one goroutine and in this process.
type Decision struct {
	Candidates int            `json:"candidates"`
	Decisions  int            `json:"decisions"`  // of each policy
	Generation int            `json:"generation"` // a new snapshot is made, encoded and handed over every so many decisions
	Policies   []DecisionCost `json:"policies"`
}

// DecisionCost is the cost of one policy's decisions, metering included, without that of reading the clock.
type DecisionCost struct {
	Policy    string  `json:"policy"`
	PerSecond float64 `json:"per_second"`
	P50NS     int64   `json:"p50_ns"`
	BestNS    int64   `json:"best_p50_ns"` // the median of the round in which it was least
	P99NS     int64   `json:"p99_ns"`
	NewNS     int64   `json:"new_snapshot_p50_ns"` // of the decisions that came with a new snapshot
	Fuel      int64   `json:"fuel"`                // of a decision, median
}

const (
	decisions     = 50_000
	decisionTurns = 10    // of each policy, one policy after the other: the machine's speed changes
	firstOnes     = 1_000 // of a turn, not counted: the instance is made, the code gets warm
	perGeneration = 64    // more often than a busy gateway's 20 a second, so that the 99th percentile has it
)

// measureDecisions asks every built-in policy for plans in the way the engine does: the same host with its pool and its
// fuel, the same catalog, the same snapshots of live traffic.
func measureDecisions(ctx context.Context) (d Decision, err error) {
	entries, err := catalog.Builtin()
	if err != nil {
		return d, err
	}
	models, err := catalog.Build(entries)
	if err != nil {
		return d, err
	}
	host, err := policies.New(ctx, policies.Config{})
	if err != nil {
		return d, err
	}
	defer host.Close() //nolint:errcheck // it frees memory; without a cache directory it cannot fail
	d = Decision{Candidates: len(models.Deployments), Decisions: decisions, Generation: perGeneration}
	modules := builtin.Modules()
	var all []*decider
	for _, name := range []string{"eco", "balanced", "precision", "custom"} {
		if _, err := host.Load(name, modules[name], policies.Settings{}); err != nil {
			return d, err
		}
		all = append(all, &decider{name: name, host: host, traffic: newTraffic(models)})
	}
	for range decisionTurns {
		for _, one := range all {
			if err := one.turn(ctx); err != nil {
				return d, fmt.Errorf("measuring the decisions of policy %s: %w", one.name, err)
			}
		}
	}
	for _, one := range all {
		d.Policies = append(d.Policies, one.cost())
	}
	return d, nil
}

// decider is a policy that is measured.
type decider struct {
	name    string
	host    *policies.Host
	traffic *traffic
	took    []time.Duration // of each decision
	withNew []time.Duration // of those that came with a new snapshot
	fuel    []int64
	best    time.Duration // the least median of a turn, 0 before the first
}

// turn makes the policy decide a tenth of what it is to.
func (d *decider) turn(ctx context.Context) error {
	var plan policy.Plan
	var facts policy.Facts
	begin, clock := len(d.took), clockTime()
	for i := range firstOnes + decisions/decisionTurns {
		if i%perGeneration == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			d.traffic.report()
		}
		req := d.traffic.next(d.name)
		began := time.Now()
		snap := d.traffic.live.Current(d.traffic.clock)
		req.Generation = snap.Generation
		facts.Snapshot, facts.Request = snap, req
		_, err := d.host.Route(d.name, &facts, &plan)
		elapsed := time.Since(began) - clock
		if err != nil {
			return err
		}
		if plan.Kind != abi.KindAnswer || len(plan.Steps) == 0 {
			return fmt.Errorf("decision %d is a plan of kind %d with %d steps", i, plan.Kind, len(plan.Steps))
		}
		if i < firstOnes {
			continue
		}
		info, _ := d.host.Info(d.name)
		d.took, d.fuel = append(d.took, elapsed), append(d.fuel, info.LastFuel)
		if i%perGeneration == 0 {
			d.withNew = append(d.withNew, elapsed)
		}
	}
	turn := slices.Sorted(slices.Values(d.took[begin:]))
	if median := percentile(turn, 50); d.best == 0 || median < d.best {
		d.best = median
	}
	return nil
}

// clockTime is what reading the clock twice adds to what lies in between.
func clockTime() time.Duration {
	took := make([]time.Duration, 1_000)
	for i := range took {
		began := time.Now()
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return percentile(took, 50)
}

func (d *decider) cost() DecisionCost {
	var total time.Duration
	for _, t := range d.took {
		total += t
	}
	slices.Sort(d.took)
	slices.Sort(d.withNew)
	slices.Sort(d.fuel)
	return DecisionCost{
		Policy: d.name, PerSecond: float64(len(d.took)) / total.Seconds(), BestNS: d.best.Nanoseconds(), P50NS: percentile(d.took, 50).Nanoseconds(),
		P99NS: percentile(d.took, 99).Nanoseconds(), NewNS: percentile(d.withNew, 50).Nanoseconds(), Fuel: d.fuel[len(d.fuel)/2],
	}
}

// traffic is made-up traffic: outcomes that move the snapshot, and requests of all kinds. It is the same in every run.
type traffic struct {
	models *catalog.Catalog
	live   *snapshot.Live
	random *rand.Rand
	clock  time.Time
	chat   []int // deployments that can chat
	req    policy.Request
}

func newTraffic(models *catalog.Catalog) *traffic {
	t := &traffic{models: models, random: rand.New(rand.NewPCG(1, 2)), clock: time.UnixMilli(1_700_000_000_000)}
	t.live = snapshot.New(models.Candidates(), func() time.Time { return t.clock }, nil)
	for i, d := range models.Deployments {
		if d.Model.Mode == abi.ModeChat {
			t.chat = append(t.chat, i)
		}
	}
	for range 20 {
		t.report()
	}
	return t
}

// report ends an attempt at every deployment, so that the next decision finds a new generation due.
func (t *traffic) report() {
	for i := range t.models.Deployments {
		t.live.Start(i)
		t.live.Done(i, snapshot.Outcome{
			Verdict: snapshot.Success, OutputTokens: 200, TTFT: time.Duration(100+t.random.IntN(900)) * time.Millisecond,
			Duration: time.Duration(2000+t.random.IntN(4000)) * time.Millisecond,
		})
	}
	t.clock = t.clock.Add(snapshot.Interval)
}

// next is the next request, with the options as the engine states them: what cannot chat is out. It holds until the next
// call.
func (t *traffic) next(policyName string) *policy.Request {
	r, pick := &t.req, func(of ...uint32) uint32 { return of[t.random.IntN(len(of))] }
	*r = policy.Request{
		Seed: t.random.Uint64(), Task: uint8(t.random.IntN(abi.TaskReasoning + 1)), AccountTier: 2, Model: abi.NoModel,
		InputTokens: pick(12, 300, 2_000, 8_000), MaxOutput: pick(0, 100, 1_000), Messages: 1 + t.random.Uint32N(20),
		Credits: 1_000_000_000, Session: t.random.Uint64(), Options: r.Options[:0],
	}
	r.Level = map[string]uint8{"eco": abi.LevelEco, "balanced": abi.LevelBalanced, "precision": abi.LevelPrecision, "custom": abi.LevelCustom}[policyName]
	if r.Level == abi.LevelCustom {
		r.Model = t.models.Deployments[t.chat[t.random.IntN(len(t.chat))]].Model.Number
	}
	for _, d := range t.models.Deployments {
		o := policy.Option{Inflight: uint16(t.random.IntN(4))}
		if d.Model.Mode != abi.ModeChat {
			o.Excluded = abi.ReasonMode
		}
		r.Options = append(r.Options, o)
	}
	return r
}
