// Command split is a routing policy for an A/B test: it divides conversations between named models by weight. A session
// always gets the same model; a request without one is divided by its seed. The other models of the split stand behind, so
// that a failure costs nobody an answer.
//
// Parameters: models, "name:weight,name:weight,…" with whole weights, required.
package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

type arm struct {
	model  string
	weight uint64
}

// split holds the arms of the test.
type split struct {
	arms  []arm
	total uint64
}

func (x *split) configure(cfg policy.Config) error {
	x.arms, x.total = nil, 0
	for _, part := range cfg.List("models") {
		model, text, _ := strings.Cut(part, ":")
		weight, err := strconv.ParseUint(text, 10, 32)
		if err != nil || model == "" {
			return errors.New("models: " + strconv.Quote(part) + " is not name:weight")
		}
		x.arms = append(x.arms, arm{model, weight})
		x.total += weight
	}
	if x.total == 0 {
		return errors.New("models is required, with at least one weight above 0")
	}
	return nil
}

// mix spreads a number evenly: the finalizer of SplitMix64.
func mix(n uint64) uint64 {
	n += 0x9E3779B97F4A7C15
	n = (n ^ n>>30) * 0xBF58476D1CE4E5B9
	n = (n ^ n>>27) * 0x94D049BB133111EB
	return n ^ n>>31
}

// drawn is the number of the arm that the request belongs to.
func (x *split) drawn(r *policy.Request) int {
	key := r.Session
	if key == 0 {
		key = r.Seed
	}
	n := mix(key) % x.total
	for i, a := range x.arms {
		if n < a.weight {
			return i
		}
		n -= a.weight
	}
	return 0
}

func (x *split) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	first := x.drawn(r)
	p.Rank(s, r, abi.MaxSteps, abi.BecauseBand, func(i int) (float32, uint16) {
		for n, a := range x.arms {
			if s.Candidates[i].ModelName != a.model {
				continue
			}
			if n == first {
				return 1, abi.ReasonNone
			}
			return -float32(n), abi.ReasonNone
		}
		return 0, abi.ReasonNotRequested
	})
	p.Explanation = append(append(p.Explanation, "arm "...), x.arms[first].model...)
}

func newPolicy() policy.Policy {
	x := new(split)
	return policy.Policy{Description: "weighted A/B split between models (Go)", Configure: x.configure, Route: x.route}
}

func init() { policy.Register(newPolicy()) }

func main() {}
