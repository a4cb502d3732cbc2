package policytest

import (
	"fmt"
	"math/rand/v2"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Random generates situations: the same seed gives the same ones. It is not safe for concurrent use.
type Random struct {
	*rand.Rand
	generation uint64
}

// NewRandom returns a generator.
func NewRandom(seed uint64) *Random { return &Random{Rand: rand.New(rand.NewPCG(seed, seed))} }

// Intn is a number from 0 to n-1.
func (r *Random) Intn(n int) int { return r.IntN(n) }

// Snapshot is a new generation of n candidates over nine providers, in tiers and at rates like those of the catalog. Some
// models have several deployments, some were never measured, some are unwell.
func (r *Random) Snapshot(n int) *policy.Published {
	r.generation++
	s := policy.Snapshot{Generation: r.generation, WallMillis: 1_700_000_000_000 + int64(r.generation)}
	for i := range n {
		tier := uint8(r.IntN(6))
		provider := r.IntN(9)
		c := policy.Candidate{
			Key: r.Uint64(), Model: uint16(i - i%2*r.IntN(2)), Provider: uint16(provider), Tier: tier,
			Health: []uint8{0, 1, 1, 1, 1, 2, 2, 3}[r.IntN(8)], Capabilities: r.Uint32N(128), Strengths: r.Uint32N(512) & r.Uint32N(512),
			ContextWindow: r.pick(0, 8192, 131072, 1_000_000), MaxOutput: r.pick(0, 0, 4096, 65536),
			CreditsPer1K: r.rate(tier), PriceIn: r.Int64N(10_000_000), PriceOut: r.Int64N(50_000_000), PriceCacheRead: r.Int64N(1_000_000),
			Quality: []float32{0.6, 0.7, 0.82, 0.95, 0.98, 0.9}[tier], Samples: r.Uint32N(1000),
		}
		if r.IntN(4) == 0 {
			c.Quality = r.Float32()
		}
		if r.IntN(3) > 0 {
			c.TTFT, c.TokensPerSec, c.ErrorRate = 20+r.Float32()*6000, 5+r.Float32()*300, r.Float32()*r.Float32()
		}
		c.ProviderName = []string{"local", "groq", "huggingface", "together", "deepinfra", "openrouter", "fireworks", "openai", "anthropic"}[provider]
		if provider == 0 {
			c.Flags = abi.CandidateLocal
		}
		c.ModelName = fmt.Sprintf("model-%d-%s", c.Model, c.ProviderName)
		if r.IntN(50) == 0 {
			c.ModelName = fmt.Sprintf("%0*d", 150+r.IntN(20), 7) + "äöü"
		}
		s.Candidates = append(s.Candidates, c)
	}
	return policy.Publish(s)
}

func (r *Random) pick(of ...uint32) uint32 { return of[r.IntN(len(of))] }

// rate is a rate within the band of a tier, in micro-credits per 1,000 tokens.
func (r *Random) rate(tier uint8) int64 {
	band := [][2]int64{{0, 0}, {1_000, 3_000}, {10_000, 30_000}, {50_000, 150_000}, {500_000, 2_000_000}, {0, 200_000}}[tier]
	return band[0] + r.Int64N(band[1]-band[0]+1)
}

// Request is a request about a snapshot: often ordinary, sometimes private, urgent, poor, or after one model.
func (r *Random) Request(snap *policy.Published) *policy.Request {
	req := &policy.Request{
		Generation: snap.Generation, Seed: r.Uint64(), Level: uint8(r.IntN(5)), Task: uint8(r.IntN(9)), AccountTier: uint8(r.IntN(4)),
		Flags: uint8(r.IntN(2)), Model: abi.NoModel, InputTokens: r.pick(12, 300, 2_000, 9_000, 120_000), MaxOutput: r.pick(0, 0, 100, 4_000, 20_000),
		Messages: r.Uint32N(40), Credits: r.Int64N(1_000_000_000), Session: r.Uint64(), Latency: uint8(r.IntN(4)),
	}
	if r.IntN(8) == 0 {
		req.Privacy = abi.PrivacyLocal
	}
	if r.IntN(6) == 0 {
		req.Credits = r.Int64N(20_000) - 100
	}
	if r.IntN(8) == 0 {
		req.Flags |= abi.FlagNoFallback
	}
	if n := len(snap.Candidates); n > 0 && r.IntN(3) > 0 {
		req.Model = snap.Candidates[r.IntN(n)].Model
	}
	for range snap.Candidates {
		o := policy.Option{Inflight: uint16(r.IntN(12))}
		if r.IntN(5) == 0 {
			o.Excluded = uint8(1 + r.IntN(9))
		}
		if r.IntN(12) == 0 {
			o.Flags |= abi.OptionOwnKey
		}
		if r.IntN(10) == 0 {
			o.Flags |= abi.OptionWarm
		}
		req.Options = append(req.Options, o)
	}
	if r.IntN(2) == 0 {
		req.Flags |= abi.FlagJSON & uint8(r.IntN(256))
		req.Text = r.text(1 + r.IntN(400))
		req.Metadata = []byte("account=a" + fmt.Sprint(r.IntN(9)) + "\nkey=k1\nmetadata.team=blue\n")
	}
	return req
}

// text is a message of about n bytes, in several languages.
func (r *Random) text(n int) []byte {
	words := []string{"please", "write", "a", "function", "that", "sorts", "prove", "the", "theorem", "übersetze", "das", "短い", "summary", "{\"a\": 1}", "hello", "why"}
	var text []byte
	for len(text) < n {
		text = append(append(text, words[r.IntN(len(words))]...), ' ')
	}
	return text
}

// Outcomes is what may become of a plan's round: some of the first steps fail, and one of them answers or none does.
func (r *Random) Outcomes(f *policy.Facts, plan *policy.Plan) []policy.Outcome {
	round := uint8(0)
	if n := len(f.History); n > 0 {
		round = f.History[n-1].Round + 1
	}
	var all []policy.Outcome
	for _, s := range plan.Steps {
		o := policy.Outcome{
			Key: f.Snapshot.Candidates[s.Candidate].Key, Candidate: s.Candidate, Tag: plan.Tag, Round: round, Kind: plan.Kind,
			Level: f.Request.Level, Task: f.Request.Task, Latency: 1 + r.Float32()*4000,
		}
		if r.IntN(4) == 0 {
			o.Failure, o.HTTP = uint8(1+r.IntN(11)), uint16(r.pick(0, 400, 429, 500, 503))
			all = append(all, o)
			continue
		}
		o.HTTP, o.TTFT, o.Input, o.Output = 200, o.Latency*r.Float32(), f.Request.InputTokens, 1+r.Uint32N(2000)
		o.Credits, o.Finish, o.Flags = r.Int64N(1_000_000), uint8(r.IntN(5)), abi.OutcomeOK|r.Uint32N(128)&^abi.OutcomeOK
		if plan.Kind == abi.KindAsk {
			o.Text = []byte([]string{"weak", "strong", "STRONG.", "7", "good", "bad", "", "I would say: weak"}[r.IntN(8)])
		}
		return append(all, o)
	}
	return all
}
