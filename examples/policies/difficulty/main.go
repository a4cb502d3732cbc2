// Command difficulty is a routing policy that reads the request: a logistic model over hashed words says how hard it is and
// how likely each model is to answer it well, and the cheapest of those that come near the likeliest is taken. The model
// comes from `pointsman policy train difficulty`, out of recorded answers; the one built in knows a handful of words, and of
// the models their quality.
//
// Needs the grant text. Parameters: weights, scale and models as trained; tolerance, how much probability may be given up
// for a lower price (default 0.05); steps (default 4).
package main

import (
	"math"
	"strconv"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/difficulty"
)

// router holds the parameters, and what follows from the snapshot.
type router struct {
	model  difficulty.Model
	steps  int
	reader *difficulty.Reader
	heads  []difficulty.Head // one a candidate
	prices []float32         // micro-credits per 1,000 tokens
	odds   []float64         // of each to answer well, for the request being decided
}

func (d *router) configure(cfg policy.Config) error {
	steps, err := cfg.Number("steps", 4)
	if err != nil {
		return err
	}
	d.steps = int(steps)
	return d.model.Parse(cfg)
}

func (d *router) learn(s *policy.Snapshot) {
	d.heads, d.prices = d.heads[:0], d.prices[:0]
	for i := range s.Candidates {
		c := &s.Candidates[i]
		d.heads = append(d.heads, d.model.Head(c.ModelName, float64(c.Quality)))
		d.prices = append(d.prices, float32(c.CreditsPer1K))
	}
	d.odds = make([]float64, len(d.heads))
}

func (d *router) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	z := d.model.Rate(r.Text, r.Task, d.reader)
	bar := d.model.Bar(d.best(s, r, z))
	p.Rank(s, r, d.steps, abi.BecauseTask, func(i int) (float32, uint16) {
		if d.odds[i] >= bar {
			return -d.prices[i], abi.ReasonNone
		}
		return -1e9 + float32(d.odds[i])*1e6, abi.ReasonNone // better than no answer
	})
	p.Explanation = strconv.AppendInt(append(p.Explanation, "difficulty in hundredths: "...), int64(z*100), 10)
}

// best are the highest log-odds among the candidates that may be taken; those of all are noted.
func (d *router) best(s *policy.Snapshot, r *policy.Request, z float64) float64 {
	best := math.Inf(-1)
	for i := range d.odds {
		d.odds[i] = d.heads[i].LogOdds(z)
		if d.odds[i] > best && r.Options[i].Excluded == 0 && (r.Privacy != abi.PrivacyLocal || s.Candidates[i].Flags&abi.CandidateLocal != 0) {
			best = d.odds[i]
		}
	}
	return best
}

func newPolicy() policy.Policy {
	d := &router{reader: difficulty.NewReader()}
	return policy.Policy{
		Description: "the difficulty of the text decides which models are good enough (Go)", Needs: abi.GrantText,
		Configure: d.configure, Learn: d.learn, Route: d.route,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
