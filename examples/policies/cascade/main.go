// Command cascade is a routing policy in rounds: a cheap model answers, a judge grades the answer from 0 to 9, and below the
// bar a strong model answers instead. If the judge cannot be reached or says nothing usable, the answer passes.
//
// Needs the grant side_calls. Parameters: cheap, judge, strong, names of models, required; bar, the least grade that passes
// (default 6).
package main

import (
	"errors"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const instruction = "You grade answers of an assistant. You get a request and an answer. Say how good the answer is with one " +
	"digit from 0 (wrong, empty or off the point) to 9 (complete and correct). Say the digit only."

// Tags of the rounds.
const (
	tagCheap = iota + 1
	tagJudge
	tagStrong
)

// cascade holds the parameters.
type cascade struct {
	cheap, judge, strong string
	bar                  int
}

func (c *cascade) configure(cfg policy.Config) error {
	c.cheap, c.judge, c.strong = cfg.Text("cheap", ""), cfg.Text("judge", ""), cfg.Text("strong", "")
	if c.cheap == "" || c.judge == "" || c.strong == "" {
		return errors.New("cheap, judge and strong must name models")
	}
	bar, err := cfg.Number("bar", 6)
	c.bar = int(bar)
	return err
}

// only ranks the deployments of one model.
func only(s *policy.Snapshot, r *policy.Request, p *policy.Plan, because uint16, tag uint32, model string) bool {
	p.Reset()
	p.Tag = tag
	p.Rank(s, r, 3, because, func(i int) (float32, uint16) {
		if s.Candidates[i].ModelName != model {
			return 0, abi.ReasonNotRequested
		}
		return -s.Candidates[i].ErrorRate, abi.ReasonNone
	})
	return p.Kind == abi.KindAnswer
}

func (c *cascade) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	if only(s, r, p, abi.BecauseBand, tagCheap, c.cheap) {
		p.Review()
		return
	}
	only(s, r, p, abi.BecauseWidened, tagStrong, c.strong)
}

func (c *cascade) next(_ policy.Config, s *policy.Snapshot, r *policy.Request, outcomes []policy.Outcome, p *policy.Plan) {
	last := &outcomes[len(outcomes)-1]
	ok := last.Flags&abi.OutcomeOK != 0
	switch {
	case last.Tag == tagCheap && ok:
		if only(s, r, p, abi.BecauseTask, tagJudge, c.judge) {
			p.AskFirst(instruction, abi.AskBoth, 4)
			return
		}
		p.Accept(abi.BecauseHeld) // nobody to judge it
	case last.Tag == tagJudge && (!ok || grade(last.Text) < 0 || grade(last.Text) >= c.bar):
		p.Accept(abi.BecauseHeld)
		p.Explanation = append(append(p.Explanation, "the judge said: "...), last.Text[:min(len(last.Text), 60)]...)
	default:
		if only(s, r, p, abi.BecauseTask, tagStrong, c.strong) {
			p.Explanation = append(p.Explanation, "the cheap answer did not come or did not pass"...)
			return
		}
		if ok { // it was judged, and there is nothing better
			p.Accept(abi.BecauseHeld)
		}
	}
}

// grade is the first digit of a text, -1 if there is none.
func grade(text []byte) int {
	for _, c := range text {
		if c >= '0' && c <= '9' {
			return int(c - '0')
		}
	}
	return -1
}

func newPolicy() policy.Policy {
	c := new(cascade)
	return policy.Policy{
		Description: "a judge decides whether a cheap answer passes (Go)", Needs: abi.GrantSideCalls,
		Configure: c.configure, Route: c.route, Next: c.next,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
