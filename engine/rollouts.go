package engine

import (
	"errors"
	"strings"

	"github.com/pointsman/pointsman/engine/rollout"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// offered tells whether a request may ask for a policy: shadows and candidates of rollouts serve nobody who asks for them.
func (e *Engine) offered(name string) bool {
	return e.shadows.byName[name] == nil && !strings.Contains(name, "@")
}

// OfferedPolicies are the names of the policies that a request may ask for, sorted.
func (e *Engine) OfferedPolicies() []string {
	offered := []string{}
	for _, name := range e.Policies.Names() {
		if e.offered(name) {
			offered = append(offered, name)
		}
	}
	return offered
}

// chooseDecider says which module decides: the policy's, or in a rollout's share of the sessions its candidate. Without a session a
// request is on its own.
func (e *Engine) chooseDecider(c *call) {
	c.decider = c.policy
	if c.rollout = e.Rollouts.Of(c.policy); c.rollout == nil {
		return
	}
	if c.unit = c.session; c.unit == 0 {
		c.unit = seedOf(c.id)
	}
	if _, loaded := e.Policies.Needs(c.rollout.Decider); loaded && c.rollout.Candidate(c.unit) {
		c.decider = c.rollout.Decider
	}
}

// loadedAs is the name by which to ask for what decided once: a candidate that was promoted goes by the policy's name.
func (e *Engine) loadedAs(decider string) string {
	if _, loaded := e.Policies.Needs(decider); !loaded {
		decider, _, _ = strings.Cut(decider, "@")
	}
	return decider
}

// withdrawn tells that the candidate which was to decide is gone, and lets the policy's own module decide.
func (e *Engine) withdrawn(c *call) bool {
	if _, loaded := e.Policies.Needs(c.decider); loaded || c.decider == c.policy {
		return false
	}
	c.decider, c.rollout, c.state = c.policy, nil, nil
	c.needs, _ = e.Policies.Needs(c.policy)
	c.req.State, c.req.Text, c.req.Metadata = 0, nil, nil
	e.grant(c)
	c.facts.State = c.state
	return true
}

// tellRollout tells the rollout of the request's policy, if there is one, what became of the request.
func (c *call) tellRollout() {
	u := &c.usage
	if c.rollout == nil || c.snap == nil || u.Outcome == storage.OutcomeInterrupted {
		return
	}
	c.rollout.Observe(c.unit, c.session != 0, rollout.Sample{
		Candidate: c.decider != c.policy, Undecided: c.failed != nil && !errors.Is(c.failed, errRoundsTime), // which is not the policy's fault
		CostUSD: float64(u.CostUSD) / 1e9, Credits: float64(u.Credits) / float64(storage.CreditsPerCredit),
		Failed:   u.Outcome != storage.OutcomeOK && u.Outcome != storage.OutcomeClientAbort,
		FellBack: c.failed != nil || fellBack(c.outcomes), TTFT: u.TTFT.Seconds(),
	})
}

// fellBack tells that an attempt failed. One that was cut did not: the client left, or another copy was faster.
func fellBack(outcomes []policy.Outcome) bool {
	for i := range outcomes {
		if f := outcomes[i].Failure; f != 0 && f != abi.FailureCancelled {
			return true
		}
	}
	return false
}
