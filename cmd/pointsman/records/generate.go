package records

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
	"github.com/pointsman/pointsman/storage"
)

// Generated is made-up traffic that real policies decide about: an ordinary day of a gateway with 47 candidates. The same seed gives the
// same records.
type Generated struct {
	Seed          uint64
	Requests      int
	PerGeneration int               // requests that see the same snapshot; 0: 64
	Start         time.Time         // of the first request; zero: 2026-01-01
	Every         time.Duration     // from one request to the next; 0: 1 s
	Accounts      int               // 0: 20, each with two keys
	Policies      map[string][]byte // modules by name, which decide in turn
	Params        map[string]string // of all of them
}

// generator makes the records.
type generator struct {
	Generated
	host    *policies.Host
	names   []string
	random  *policytest.Random
	chance  *rand.Rand
	pool    []*policy.Request
	current policy.Snapshot
	made    int
	config  string
}

// Generate returns a source of made-up requests that policies in host decide. Errors: those of loading the policies.
func Generate(g Generated, host *policies.Host) (Source, error) {
	if g.PerGeneration == 0 {
		g.PerGeneration = 64
	}
	if g.Start.IsZero() {
		g.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if g.Every == 0 {
		g.Every = time.Second
	}
	if g.Accounts == 0 {
		g.Accounts = 20
	}
	made := &generator{Generated: g, host: host, random: policytest.NewRandom(g.Seed), chance: rand.New(rand.NewPCG(g.Seed, 2))} //nolint:gosec // repeatable
	for _, name := range []string{"eco", "balanced", "precision", "custom", "mine"} {
		wasm := g.Policies[name]
		if wasm == nil {
			continue
		}
		info, err := host.Load(name, wasm, policies.Settings{Params: g.Params, Grants: abi.GrantText | abi.GrantMetadata})
		if err != nil {
			return nil, err
		}
		made.config = info.Config
		made.names = append(made.names, name)
	}
	snapshot, pool := policytest.Ordinary(1000)
	made.current, made.pool = snapshot.Snapshot, pool
	made.current.Generation = 0
	return made, nil
}

// Next implements Source.
func (g *generator) Next() (*Batch, error) {
	if g.made == g.Requests {
		return nil, io.EOF
	}
	g.current = record.CloneSnapshot(&g.current)
	g.current.Generation++
	g.current.WallMillis = g.Start.Add(time.Duration(g.made) * g.Every).UnixMilli()
	for range 3 {
		c := &g.current.Candidates[g.chance.IntN(len(g.current.Candidates))]
		c.Health, c.Samples = []uint8{abi.HealthHealthy, abi.HealthHealthy, abi.HealthDegraded}[g.chance.IntN(3)], c.Samples+1
		c.TTFT, c.TokensPerSec, c.ErrorRate = 100+g.chance.Float32()*900, 20+g.chance.Float32()*200, g.chance.Float32()*g.chance.Float32()*0.1
	}
	b := &Batch{Snapshot: policy.Publish(record.CloneSnapshot(&g.current))}
	for range min(g.PerGeneration, g.Requests-g.made) {
		r, err := g.request(b.Snapshot)
		if err != nil {
			return nil, err
		}
		b.Records = append(b.Records, r)
	}
	return b, nil
}

// request makes one, has it decided, and makes up what came of it.
func (g *generator) request(snap *policy.Published) (Record, error) {
	at := g.Start.Add(time.Duration(g.made) * g.Every)
	req := *g.pool[g.chance.IntN(len(g.pool))]
	req.Generation, req.Seed = snap.Generation, g.chance.Uint64()
	name := g.names[g.made%len(g.names)]
	if level, ok := policy.ParseLevel(name); ok {
		req.Level = level
	}
	account := g.chance.IntN(g.Accounts)
	u := storage.Usage{
		Account: fmt.Sprintf("account-%d", account), Key: fmt.Sprintf("key_%016x", 2*account+g.chance.IntN(2)), PowerLevel: name, Policy: name,
		Endpoint: "chat", Stream: g.chance.IntN(2) == 0, Status: 200, Outcome: storage.OutcomeOK,
	}
	binary.BigEndian.PutUint64(u.Request[:8], uint64(at.UnixMilli())<<16|uint64(g.chance.IntN(1<<16)))
	binary.BigEndian.PutUint64(u.Request[8:], req.Seed)
	var d record.Decision
	d.Policy, d.Request, d.Plan = name, &req, new(policy.Plan)
	facts := policy.Facts{Snapshot: snap, Request: &req}
	var err error
	if d.Ran, err = g.host.Route(name, &facts, d.Plan); err != nil {
		return Record{}, err
	}
	d.Outcomes = g.random.Outcomes(&facts, d.Plan)
	u.Attempts = len(d.Outcomes)
	u.Outcome, u.Status, u.ErrorCode = storage.OutcomeUpstreamError, 502, "upstream_error"
	if n := len(d.Outcomes); n > 0 && d.Outcomes[n-1].Flags&abi.OutcomeOK != 0 {
		g.answer(&u, &d.Outcomes[n-1], snap)
	}
	g.made++
	return Record{u, record.AppendDecision(nil, &d)}, nil
}

// answer fills in what an answer took.
func (g *generator) answer(u *storage.Usage, o *policy.Outcome, snap *policy.Published) {
	c := &snap.Candidates[o.Candidate]
	o.Flags &^= abi.OutcomeSimulated | abi.OutcomeOwnKey
	u.Outcome, u.Status, u.ErrorCode = storage.OutcomeOK, 200, ""
	u.Model, u.Provider = c.ModelName, c.ProviderName
	u.InputTokens, u.OutputTokens = int64(o.Input), int64(o.Output)
	u.CostUSD = storage.NanoUSD(float64(c.PriceIn)*float64(o.Input)/1000) + storage.NanoUSD(float64(c.PriceOut)*float64(o.Output)/1000)
	u.ListedUSD = u.CostUSD
	model := catalog.Model{Rate: storage.Credits(c.CreditsPer1K)}
	u.Credits = model.Charge(u.InputTokens + u.OutputTokens)
	o.Credits = int64(u.Credits)
	u.TTFT, u.Latency = time.Duration(o.TTFT*float32(time.Millisecond)), time.Duration(o.Latency*float32(time.Millisecond))
	u.Overhead = 60 * time.Microsecond
}

// Module implements Source.
func (g *generator) Module(digest string) ([]byte, error) {
	for _, wasm := range g.Policies {
		if signing.Digest(wasm) == digest {
			return wasm, nil
		}
	}
	return nil, fmt.Errorf("module %.12s: %w", digest, ErrUnknown)
}

// Config implements Source.
func (g *generator) Config(digest string) (string, error) {
	if signing.Digest([]byte(g.config)) == digest {
		return g.config, nil
	}
	return "", fmt.Errorf("configuration %.12s: %w", digest, ErrUnknown)
}

// State implements Source.
func (g *generator) State(name string, number uint64) ([]byte, error) {
	return nil, fmt.Errorf("state %d of policy %s: %w", number, name, ErrUnknown)
}

// Passed implements Source.
func (g *generator) Passed() Passed { return Passed{} }
