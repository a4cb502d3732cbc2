package templates_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
	"github.com/pointsman/pointsman/sdk/templates"
)

// TestProbe proves that the library of each language reads every field of every record and writes all that a plan can say,
// also when records are longer than it knows: a policy that folds everything into one number does so as Go does. For Go
// itself the tests of sdk/policy say the same.
func TestProbe(t *testing.T) {
	for language, file := range map[string]string{"assemblyscript": "policy.ts", "c": "policy.c", "rust": "policy.rs", "zig": "policy.zig"} {
		t.Run(language, func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join("testdata/probe", file))
			if err != nil {
				t.Fatal(err)
			}
			module := buildProject(t, language, func(dir string, l templates.Language) {
				if err := os.WriteFile(filepath.Join(dir, l.Source), source, 0o644); err != nil {
					t.Fatal(err)
				}
			})
			for _, later := range []bool{false, true} {
				b := newBare(t, module)
				b.later = later
				random := policytest.NewRandom(3)
				for range 5 {
					probe(t, random, b)
				}
			}
		})
	}
}

// probe takes one instance of the module and the same in Go through everything that can happen.
func probe(t *testing.T, random *policytest.Random, b *bare) {
	t.Helper()
	r := policytest.Record{Subject: &folding{}}
	do := func(kind byte, input []byte) []byte {
		t.Helper()
		out, err := r.Do(kind, input)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	do(policytest.CallConfigure, []byte("a=1.25\nlist=x,y\nno number=1.2.3\nnone=\nsmall=0.000001\n"))
	var state []byte
	for n, size := range []int{0, 1, 9, 60} {
		snap := random.Snapshot(size)
		do(policytest.CallSnapshot, snap.Bytes)
		for range 6 {
			f := &policy.Facts{Snapshot: snap, Request: random.Request(snap)}
			f.Request.State, f.Request.Needs, f.Request.Privacy = uint64(n), random.Uint32N(128), uint8(random.Intn(2))
			var plan policy.Plan
			if err := policy.DecodePlan(do(policytest.CallRoute, policy.AppendRequest(nil, f.Request)), size, &plan); err != nil {
				t.Fatal(err)
			}
			if f.History = random.Outcomes(f, &plan); len(f.History) > 0 {
				do(policytest.CallNext, policy.AppendOutcomes(nil, f.History, f.Request))
				state = append(state, do(policytest.CallObserve, policy.AppendOutcomes(nil, f.History, nil))...)
				do(policytest.CallState, state)
			}
		}
	}
	do(policytest.CallState, []byte{1})
	if err := policytest.Replay(r.Calls, b); err != nil {
		t.Fatal(err)
	}
	if want := []string{"1 a", "1 list", "1 no number", "1 none", "1 small"}; !slices.Equal(b.logged, want) {
		t.Errorf("logged %q, want %q", b.logged, want)
	}
	b.logged = nil
}

// folding is the policy of testdata/probe, in Go.
type folding struct {
	settings, remembered fold
	snapshot             policy.Snapshot
	state                []byte
}

type fold uint64

func (h *fold) all(values ...uint64) {
	for _, v := range values {
		*h = (*h ^ fold(v)) * 1099511628211
	}
}

func (h *fold) text(text string) {
	h.all(uint64(len(text)))
	for i := range len(text) {
		h.all(uint64(text[i]))
	}
}

func bits(f float32) uint64 { return uint64(math.Float32bits(f)) }

func (p *folding) Start(config []byte) error {
	*p = folding{settings: 14695981039346656037}
	for line := range strings.Lines(string(config)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		p.settings.text(key)
		p.settings.text(value)
		cfg, err := policy.ParseConfig("n=" + value)
		if err != nil {
			return err
		}
		if n, err := cfg.Number("n", 0); err == nil {
			p.settings.all(uint64(n * 1e6))
		}
	}
	return nil
}

func (p *folding) Snapshot(b []byte) error { return policy.DecodeSnapshot(b, &p.snapshot) }

func (p *folding) State(b []byte) error {
	p.state, p.remembered = bytes.Clone(b), 1
	p.remembered.text(string(b))
	if len(b) == 1 {
		return policy.ErrMalformed
	}
	return nil
}

func (p *folding) facts(r *policy.Request) fold {
	h, s := p.settings, &p.snapshot
	h.all(uint64(p.remembered), s.Generation, uint64(s.WallMillis), uint64(len(s.Candidates)))
	for i, c := range s.Candidates {
		h.all(c.Key, uint64(c.Model), uint64(c.Provider), uint64(c.Tier), uint64(c.Health), uint64(c.Mode),
			uint64(c.Capabilities), uint64(c.Strengths), uint64(c.ContextWindow), uint64(c.MaxOutput),
			uint64(c.CreditsPer1K), uint64(c.PriceIn), uint64(c.PriceOut), uint64(c.PriceCacheRead),
			bits(c.Quality), bits(c.TTFT), bits(c.TokensPerSec), bits(c.ErrorRate), uint64(c.Samples), uint64(c.Flags))
		h.text(c.ModelName)
		h.text(c.ProviderName)
		o := r.Options[i]
		h.all(uint64(o.Excluded), uint64(o.Flags), uint64(o.Inflight))
	}
	h.all(r.Generation, r.Seed, uint64(r.Level), uint64(r.Task), uint64(r.Privacy), uint64(r.Latency), uint64(r.AccountTier),
		uint64(r.Flags), uint64(r.Model), uint64(r.Needs), uint64(r.InputTokens), uint64(r.MaxOutput), uint64(r.Messages),
		uint64(r.Credits), r.Session, r.State)
	h.text(string(r.Text))
	h.text(string(r.Metadata))
	return h
}

func (p *folding) Decide(b []byte, further bool) ([]byte, error) {
	var r policy.Request
	var plan policy.Plan
	if further {
		outcomes, err := policy.DecodeOutcomes(b, nil, &r)
		if err != nil {
			return nil, err
		}
		plan.Kind, plan.Status = abi.KindReject, 599
		plan.ExplainNumber(uint64(foldOutcomes(outcomes, p.facts(&r))))
		for range 9 {
			plan.Explain(string(r.Text))
		}
		for i := range p.snapshot.Candidates {
			plan.Verdicts = append(plan.Verdicts, policy.Verdict{Score: 0.25, Reason: uint16(2000 + i)})
		}
		return policy.AppendPlan(nil, &plan), nil
	}
	if err := policy.DecodeRequest(b, &r); err != nil {
		return nil, err
	}
	h := p.facts(&r)
	plan.Explain("facts ")
	plan.ExplainNumber(uint64(h))
	if len(p.snapshot.Candidates) == 0 {
		plan.Kind, plan.Status = abi.KindReject, 418
		return policy.AppendPlan(nil, &plan), nil
	}
	plan.Kind, plan.Reason, plan.MaxOutput, plan.Tag = abi.KindAsk, 1025, 4321, uint32(h)
	plan.AskInput, plan.AskOutput = abi.AskPrompt, 77
	ask := "account " + string(policy.Lookup(r.Metadata, "account"))
	for range 30 {
		room := min(abi.MaxAsk-len(ask), len(r.Text))
		for room > 0 && room < len(r.Text) && r.Text[room]&0xC0 == 0x80 {
			room--
		}
		ask += string(r.Text[:room])
	}
	plan.Ask = []byte(ask)
	for i := range min(len(p.snapshot.Candidates), abi.MaxSteps) {
		plan.Steps = append(plan.Steps, policy.Step{
			Candidate: uint16(i), Attempts: 2, TimeoutMillis: 1500, HedgeMillis: uint32(250 + i), Score: -0.5, Reason: 1026,
		})
	}
	return policy.AppendPlan(nil, &plan), nil
}

func foldOutcomes(outcomes []policy.Outcome, h fold) fold {
	for i := range outcomes {
		o := &outcomes[i]
		h.all(o.Key, uint64(o.Credits), uint64(o.Candidate), uint64(o.HTTP), uint64(o.Tag), uint64(o.Input), uint64(o.Output),
			bits(o.TTFT), bits(o.Latency), uint64(o.Flags), uint64(o.Round), uint64(o.Kind), uint64(o.Failure),
			uint64(o.Finish), uint64(o.Level), uint64(o.Task))
		h.text(string(o.Text))
	}
	return h
}

func (p *folding) Observe(b []byte) ([]byte, error) {
	outcomes, err := policy.DecodeOutcomes(b, nil, nil)
	if err != nil {
		return nil, err
	}
	h := fold(3)
	h.text(string(p.state))
	return binary.LittleEndian.AppendUint64(nil, uint64(foldOutcomes(outcomes, h))), nil
}
