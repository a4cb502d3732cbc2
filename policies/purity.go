package policies

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// private are the grants of what users wrote and who they are.
const private = abi.GrantText | abi.GrantMetadata | abi.GrantSideCalls

// check repeats a decision on a fresh instance in the background and counts whether it came out the same. Release has
// reserved the instance. A policy that was granted what is private and remembers is not given another chance: from then on each of its
// decisions has an instance of its own, so that it cannot tell one user what another wrote.
func (m *module) check(f *policy.Facts, plan *policy.Plan) {
	want := policy.AppendPlan(nil, plan)
	again := copyFacts(f)
	go func() {
		same, err := m.decidesAgain(again, want)
		m.mu.Lock()
		m.checks = false
		m.stats.Checked++
		var used []*instance
		consequence := ""
		if !same {
			m.stats.Impure++
			if m.needs&private != 0 {
				m.alone, consequence = true, "; from now on each decision has an instance of its own"
				used, m.idle = m.idle, nil
			}
		}
		m.stats.Instances -= 1 + len(used)
		last := m.retired && m.stats.Instances == 0
		m.freed.Broadcast()
		m.mu.Unlock()
		for _, inst := range used {
			inst.close()
		}
		if !same {
			m.host.config.Log(m.name, 3, fmt.Sprintf("the policy is not pure: a fresh instance decided a request of generation %d, seed %d differently: %v%s",
				again.Request.Generation, again.Request.Seed, err, consequence))
		}
		if last {
			m.free()
		}
	}()
}

func (m *module) decidesAgain(f *policy.Facts, want []byte) (same bool, err error) {
	inst, err := m.start()
	if err != nil {
		return false, err
	}
	defer inst.close()
	var plan policy.Plan
	if _, err := inst.decide(f, &plan); err != nil {
		return false, err
	}
	return bytes.Equal(policy.AppendPlan(nil, &plan), want), nil
}

// copyFacts copies what the caller of a decision uses again.
func copyFacts(f *policy.Facts) *policy.Facts {
	request := *f.Request
	request.Options = slices.Clone(request.Options)
	request.Text, request.Metadata = slices.Clone(request.Text), slices.Clone(request.Metadata)
	history := slices.Clone(f.History)
	for i := range history {
		history[i].Text = slices.Clone(history[i].Text)
	}
	return &policy.Facts{Snapshot: f.Snapshot, State: f.State, Request: &request, History: history}
}
