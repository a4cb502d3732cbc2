package replay

import (
	"sync"

	"github.com/pointsman/pointsman/sdk/policy"
)

// names numbers models and deployments, which have other places in other snapshots. It is safe for concurrent use.
type names struct {
	mu          sync.Mutex
	models      []string
	deployments []deploymentName
	modelOf     map[string]uint32
	of          map[deploymentName]uint32
}

// deploymentName is a model at a provider.
type deploymentName struct{ Model, Provider string }

func (n deploymentName) String() string { return n.Model + " at " + n.Provider }

func newNames() *names { return &names{modelOf: map[string]uint32{}, of: map[deploymentName]uint32{}} }

// none is the number of no model and no deployment: nobody answered.
const none = ^uint32(0)

// place is the numbers of a candidate.
type place struct{ deployment, model uint32 }

// places appends those of a snapshot's candidates.
func (n *names) places(dst []place, s *policy.Snapshot) []place {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range s.Candidates {
		c := &s.Candidates[i]
		name := deploymentName{c.ModelName, c.ProviderName}
		d, ok := n.of[name]
		if !ok {
			d = uint32(len(n.deployments))
			n.deployments = append(n.deployments, name)
			n.of[name] = d
		}
		m, ok := n.modelOf[c.ModelName]
		if !ok {
			m = uint32(len(n.models))
			n.models = append(n.models, c.ModelName)
			n.modelOf[c.ModelName] = m
		}
		dst = append(dst, place{d, m})
	}
	return dst
}

// deployment is the name of a deployment, of nobody's an empty one.
func (n *names) deployment(d uint32) deploymentName {
	if d == none {
		return deploymentName{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deployments[d]
}

func (n *names) model(m uint32) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.models[m]
}
