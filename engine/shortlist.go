package engine

import (
	"sync"
	"sync/atomic"

	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// What a decision costs grows with its candidates. So a policy may be asked about a shortlist of a large catalog ([Config].Shortlists): a request's
// candidates are then those on the list of its level and the model it names, and everything that is told of candidates by number, in
// plans, outcomes and records, counts them. Where the list has too few that could serve the request, they are all of the catalog.

// fewest is how many candidates of a shortlist must be able to serve a request that names none of them.
const fewest = 8

// lists are the shortlists of a configuration.
type lists struct {
	*record.Shortlists
	newest atomic.Pointer[parts]
}

// parts are the parts of a snapshot that were asked for.
type parts struct {
	whole *policy.Published
	made  sync.Map // *uint16, the first of a list's numbers -> *part
}

// part is a shortlist of a snapshot.
type part struct {
	snap  *policy.Published
	among []*deployment
}

// candidates says what the request's candidates are: a part of the current snapshot, and their deployments.
func (e *Engine) candidates(c *call) {
	c.snap, c.among = e.live.Current(c.began), e.deployments
	n := e.Shortlists[c.policy]
	if n == 0 || n >= len(e.deployments) || c.wish != nil || c.caller.HasOwnKeys() {
		return
	}
	model := uint16(abi.NoModel)
	if c.model != nil {
		model = c.model.Number
	}
	if numbers := e.lists.Numbers(c.level, model, n); numbers != nil {
		p := e.part(c.snap, numbers)
		c.snap, c.among = p.snap, p.among
	}
}

// part is the shortlist of a snapshot, made when it is first asked for.
func (e *Engine) part(whole *policy.Published, numbers []uint16) *part {
	of := e.lists.newest.Load()
	if of == nil || of.whole != whole {
		of = &parts{whole: whole}
		e.lists.newest.Store(of) // whoever was faster makes some twice
	}
	if p, ok := of.made.Load(&numbers[0]); ok {
		return p.(*part)
	}
	p := &part{snap: record.Select(whole, numbers), among: make([]*deployment, len(numbers))}
	for n, i := range numbers {
		p.among[n] = e.deployments[i]
	}
	kept, _ := of.made.LoadOrStore(&numbers[0], p)
	return kept.(*part)
}

// tooFew tells whether the request's candidates are a shortlist that may lack those which it needs.
func (e *Engine) tooFew(c *call) bool {
	if len(c.among) == len(e.deployments) {
		return false
	}
	fit := 0
	for i := range c.req.Options {
		if c.req.Options[i].Excluded != 0 {
			continue
		}
		if fit++; fit >= fewest || c.model != nil && c.among[i].Model == c.model {
			return false
		}
	}
	return true
}
