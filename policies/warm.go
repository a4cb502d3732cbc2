package policies

import (
	"fmt"

	"github.com/pointsman/pointsman/sdk/policy"
)

// warm makes a module ready to take over from old, nil for none: as many instances as that one has at the moment, each with
// the newest snapshot it was given, so that no request after the change waits for a start. It fails if the module does not
// accept that snapshot. The module serves nobody yet.
func (m *module) warm(old *module) error {
	if old == nil {
		return nil
	}
	old.mu.Lock()
	want := min(old.stats.Instances, m.host.config.Instances)
	var newest *policy.Published
	for _, inst := range old.idle { // those that are not idle are their callers'
		if inst.known != nil && (newest == nil || inst.known.Generation > newest.Generation) {
			newest = inst.known
		}
	}
	old.mu.Unlock()
	for len(m.idle) < want {
		inst, err := m.start()
		if err != nil {
			return fmt.Errorf("starting another instance: %w", err)
		}
		m.idle = append(m.idle, inst)
		m.stats.Instances++
	}
	if newest == nil {
		return nil
	}
	for _, inst := range m.idle {
		inst.refuel(inst.budget(len(newest.Candidates)))
		if err := inst.learn(newest); err != nil {
			return fmt.Errorf("%w: the snapshot in use: %w", ErrRefused, err)
		}
	}
	return nil
}
