package outcomes

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// World is what a policy is told about the prompts of a set: one snapshot a fold, one request a prompt.
type World struct {
	Set       *Set
	Folds     []int // of each prompt
	Snapshots []*policy.Published
	requests  []*policy.Request // of each prompt, for its fold's snapshot
}

// NewWorld makes the snapshots and requests of a set in folds, at an abi.Level*.
func NewWorld(s *Set, folds []int, known *catalog.Catalog, level uint8, seed uint64) (*World, error) {
	w := &World{Set: s, Folds: folds}
	for fold := range slices.Max(folds) + 1 {
		training := s.Only(func(i int) bool { return folds[i] != fold })
		w.Snapshots = append(w.Snapshots, policy.Publish(policy.Snapshot{
			Generation: uint64(fold + 1), WallMillis: 1_700_000_000_000, Candidates: training.Candidates(known),
		}))
	}
	for i := range s.Prompts {
		r, err := request(&s.Prompts[i], len(s.Models))
		if err != nil {
			return nil, err
		}
		r.Generation, r.Level, r.Seed = w.Snapshots[folds[i]].Generation, level, mix(seed, s.Prompts[i].ID)
		w.requests = append(w.requests, r)
	}
	return w, nil
}

// request is what the gateway would make of a prompt, for an account that may use everything and has credits for it.
func request(p *Prompt, candidates int) (*policy.Request, error) {
	body, err := json.Marshal(map[string]any{"messages": []any{map[string]string{"role": "user", "content": p.Text}}})
	if err != nil {
		return nil, fmt.Errorf("%w: prompt of id %q: %w", ErrOutcomes, p.ID, err)
	}
	e, refused := envelope.Parse(body, envelope.DefaultLimits())
	if refused != nil {
		return nil, fmt.Errorf("%w: prompt of id %q: %s", ErrOutcomes, p.ID, refused.Message)
	}
	const credits = 1_000_000_000_000 // micro-credits
	return &policy.Request{
		Model: abi.NoModel, Task: e.Task, Needs: e.Needs, InputTokens: e.InputTokens, Messages: uint32(e.Messages), AccountTier: 3, Credits: credits,
		Text: e.AppendPrompt(nil, body, abi.MaxText), Options: make([]policy.Option, candidates),
	}, nil
}

// Candidates are the models of a set, in its order, as a policy is told of them: what the outcomes say of quality and price, what the
// catalog says of the rest where it knows the name.
func (s *Set) Candidates(known *catalog.Catalog) []policy.Candidate {
	facts := known.Candidates()
	var providers []string
	out := make([]policy.Candidate, len(s.Models))
	for m, name := range s.Models {
		c := policy.Candidate{
			ModelName: name, ProviderName: "recorded", Mode: abi.ModeChat, Capabilities: ^uint32(0),
		}
		if r, ok := known.Resolve(name); ok {
			c = facts[r.Model.Deployments[0].Index]
			c.ModelName = name
		}
		if !slices.Contains(providers, c.ProviderName) {
			providers = append(providers, c.ProviderName)
		}
		c.Provider = uint16(slices.Index(providers, c.ProviderName))
		c.Key, c.Model, c.Health = mix(0, name), uint16(m), abi.HealthHealthy
		out[m] = c
		s.figures(m, &out[m])
	}
	s.tiers(known, out)
	return out
}

// figures fills in what the outcomes say of a model. A credit is a dollar here, and a token costs the same in either
// direction, since outcomes tell the cost of a call and not its parts.
func (s *Set) figures(m int, c *policy.Candidate) {
	score, cost, tokens := 0.0, 0.0, int64(0)
	for i := range s.Prompts {
		a := &s.Prompts[i].Answers[m]
		score += a.Score
		cost += a.Cost
		tokens += a.Input + a.Output
	}
	c.Quality = float32(score / float64(len(s.Prompts)))
	price := cost / float64(max(tokens, 1)) // USD a token
	c.PriceIn = int64(price*1e12 + 0.5)
	c.PriceOut, c.PriceCacheRead = c.PriceIn, c.PriceIn
	c.CreditsPer1K = int64(price*1000*1e6 + 0.5)
}

// tiers gives tiers 1, 2 and 3 to the models that the catalog does not know: by thirds of all models, from the cheapest.
func (s *Set) tiers(known *catalog.Catalog, all []policy.Candidate) {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(all[a].CreditsPer1K - all[b].CreditsPer1K) })
	for rank, i := range order {
		if _, ok := known.Resolve(all[i].ModelName); !ok {
			all[i].Tier = uint8(1 + rank*3/len(all))
		}
	}
}
