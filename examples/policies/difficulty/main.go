// Command difficulty is a routing policy that reads the request: a logistic model over hashed words says how hard it is and
// how likely each model is to answer it well, and the model is taken of which that is worth most above its cost. The numbers
// come from `pointsman policy train difficulty`, out of recorded answers; those built in know a handful of words, and of the
// models their quality.
//
// Needs the grant text. Parameters: weights, scale and models as trained; worth, USD of a good answer (default 0.05); steps
// (default 4).
package main

import (
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
	offers []difficulty.Offer // one a candidate
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
	d.offers = d.offers[:0]
	for i := range s.Candidates {
		d.offers = append(d.offers, d.model.Offer(&s.Candidates[i]))
	}
}

func (d *router) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	z, tokens := d.model.Rate(r.Text, r.Task, d.reader), float64(r.InputTokens)
	p.Rank(s, r, d.steps, abi.BecauseTask, func(i int) (float32, uint16) {
		return float32(d.offers[i].Gain(d.reader, d.model.Worth, z, tokens)), abi.ReasonNone
	})
	p.Explanation = strconv.AppendInt(append(p.Explanation, "difficulty in hundredths: "...), int64(z*100), 10)
}

func newPolicy() policy.Policy {
	d := &router{reader: difficulty.NewReader()}
	return policy.Policy{
		Description: "the difficulty of the text decides which model is worth its price (Go)", Needs: abi.GrantText,
		Configure: d.configure, Learn: d.learn, Route: d.route,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
