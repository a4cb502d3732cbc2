// Command classifier is a routing policy in rounds: a small model reads the request and says whether a weak model is enough
// for it or a strong one is needed. Short requests are weak without asking; when the classifier fails, the strong model
// answers.
//
// Needs the grant side_calls. Parameters: classifier, weak, strong, names of models, required; short, below how many input
// tokens nothing is asked (default 40); strong_words, what the classifier says for the strong one (default "strong,hard").
package main

import (
	"bytes"
	"errors"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const instruction = "You sort requests to language models. Answer with one word: STRONG if the request needs careful " +
	"reasoning, mathematics, a longer program or expert knowledge, otherwise WEAK. Do not answer the request itself."

// classifier holds the parameters.
type classifier struct {
	judge, weak, strong string
	short               uint32
	words               [][]byte
}

func (c *classifier) configure(cfg policy.Config) error {
	c.judge, c.weak, c.strong = cfg.Text("classifier", ""), cfg.Text("weak", ""), cfg.Text("strong", "")
	if c.judge == "" || c.weak == "" || c.strong == "" {
		return errors.New("classifier, weak and strong must name models")
	}
	short, err := cfg.Number("short", 40)
	c.short = uint32(short)
	c.words = [][]byte{[]byte("strong"), []byte("hard")}
	if list := cfg.List("strong_words"); list != nil {
		c.words = nil
		for _, word := range list {
			c.words = append(c.words, bytes.ToLower([]byte(word)))
		}
	}
	return err
}

// prefer ranks the first model before the second and leaves the others out.
func prefer(s *policy.Snapshot, r *policy.Request, p *policy.Plan, because uint16, first, second string) {
	p.Rank(s, r, 4, because, func(i int) (float32, uint16) {
		switch s.Candidates[i].ModelName {
		case first:
			return 1, abi.ReasonNone
		case second:
			return 0, abi.ReasonNone
		}
		return 0, abi.ReasonNotRequested
	})
}

func (c *classifier) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	if r.InputTokens < c.short {
		prefer(s, r, p, abi.BecauseBand, c.weak, c.strong)
		return
	}
	prefer(s, r, p, abi.BecauseTask, c.judge, c.judge)
	if p.Kind == abi.KindReject { // nobody to ask
		prefer(s, r, p, abi.BecauseTask, c.strong, c.weak)
		return
	}
	p.AskFirst(instruction, abi.AskPrompt, 8)
}

func (c *classifier) next(_ policy.Config, s *policy.Snapshot, r *policy.Request, outcomes []policy.Outcome, p *policy.Plan) {
	said := policy.Last(outcomes, abi.KindAsk)
	if said.Flags&abi.OutcomeOK != 0 && !c.saysStrong(said.Text) {
		prefer(s, r, p, abi.BecauseBand, c.weak, c.strong)
		p.Explanation = append(p.Explanation, "classified as weak"...)
		return
	}
	prefer(s, r, p, abi.BecauseTask, c.strong, c.weak)
	p.Explanation = append(p.Explanation, "classified as strong, or not at all"...)
}

func (c *classifier) saysStrong(text []byte) bool {
	lower := bytes.ToLower(text)
	for _, word := range c.words {
		if bytes.Contains(lower, word) {
			return true
		}
	}
	return false
}

func newPolicy() policy.Policy {
	c := new(classifier)
	return policy.Policy{
		Description: "a small model decides whether a strong one is needed (Go)", Needs: abi.GrantSideCalls,
		Configure: c.configure, Route: c.route, Next: c.next,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
