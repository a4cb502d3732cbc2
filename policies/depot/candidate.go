package depot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pointsman/pointsman/policies"
)

// A candidate of a rollout is an uploaded version that is loaded beside what serves, under a name of its own. Which sessions it
// decides for is not known here.

// CandidateName is what the candidate of a policy is called on the host. No policy has such a name: an @ is in none.
func CandidateName(policy string) string { return policy + "@candidate" }

// Stand loads a version beside what serves, as the candidate of a rollout, and keeps it so until it is promoted or stood down. note
// goes to the audit file.
func (d *Depot) Stand(name, version, note, by string) (Report, error) {
	d.change.Lock()
	defer d.change.Unlock()
	d.mu.RLock()
	next := d.manifest.clone()
	now, serves := d.serving[name]
	d.mu.RUnlock()
	r := next.Policies[name]
	v, err := r.pick(name, version)
	entry, configured := d.entry(name)
	switch {
	case err != nil:
		return Report{}, err
	case configured && entry.File != "":
		return Report{}, fmt.Errorf("%w: %s names %s for policy %s", ErrPinned, entry.Place, entry.File, name)
	case !serves:
		return Report{}, fmt.Errorf("%w: policy %s does not serve, so that there is nothing to compare with: activate a version first", ErrUnknown, name)
	case r.Candidate > 0:
		return Report{}, r.busy(name)
	case now.Version == v.Number:
		return Report{}, fmt.Errorf("%w: version %d of policy %s serves already", ErrInvalid, v.Number, name)
	}
	r.Candidate = v.Number
	next.Policies[name] = r
	report, err := d.stand(name, v, true)
	if err != nil {
		return Report{}, fmt.Errorf("policy %s: %w", name, err)
	}
	if err := d.keep(next); err != nil {
		d.Host.Unload(CandidateName(name))
		return Report{}, err
	}
	d.tell(Event{Action: ActionRolloutStart, Policy: name, Source: source(v.Number), Version: v.Number, Digest: v.Digest, Previous: now.Digest, Signer: v.Signer, By: by, Note: note})
	return report, nil
}

// stand loads a version as the candidate; with prove it is tried first.
func (d *Depot) stand(name string, v Version, prove bool) (Report, error) {
	c, err := d.fromVersion(name, v)
	if err != nil {
		return Report{}, err
	}
	s, err := d.vouch(c)
	if err == nil && prove {
		_, err = d.prove(c, s.Fuel)
	}
	var info policies.Info
	if err == nil {
		info, err = d.Host.Load(CandidateName(name), c.wasm, policies.Settings{Params: c.params, Grants: c.grants, Fuel: s.Fuel})
	}
	if err != nil {
		d.refuse(c, ActionRolloutStart, "", err)
		return Report{}, err
	}
	if err := keepServed(d.Dir, c.wasm, info.Config, c.private, info.Loaded); err != nil { // it stands all the same
		d.Notice(Event{Time: d.Now().UTC(), Action: ActionRolloutStart, Policy: name, Source: c.source, Version: v.Number, Digest: s.Digest, Unkept: err.Error()})
	}
	return Report{Version: v, State: StateCandidate, Needs: info.Needs, Limit: s.Fuel}, nil
}

// Promote makes the candidate serve. Errors: ErrUnknown if there is none.
func (d *Depot) Promote(name, note, by string) (Report, error) {
	d.change.Lock()
	defer d.change.Unlock()
	next, r, err := d.withCandidate(name)
	if err != nil {
		return Report{}, err
	}
	r.activate(r.Candidate)
	r.Candidate = 0
	next.Policies[name] = r
	report, err := d.turn(name, next, ActionPromote, by, note)
	if err == nil {
		d.Host.Unload(CandidateName(name)) // who was about to ask it asks its successor, which is the same
	}
	return report, err
}

// StandDown takes the candidate away. What served serves alone again, also if that could not be written down. The action tells
// why: ActionRolloutBack or ActionRolloutAbort. Errors: ErrUnknown if there is none.
func (d *Depot) StandDown(name, action, note, by string) error {
	d.change.Lock()
	defer d.change.Unlock()
	next, r, err := d.withCandidate(name)
	if err != nil {
		return err
	}
	v := r.find(r.Candidate)
	r.Candidate = 0
	next.Policies[name] = r
	d.Host.Unload(CandidateName(name))
	if err = d.keep(next); err != nil { // it is none nevertheless, and what is written next says so
		d.hold(next)
		d.unkept.Store(true)
	}
	e := Event{Action: action, Policy: name, Source: source(v.Number), Version: v.Number, Digest: v.Digest, By: by, Note: note}
	e.Previous, _ = d.Host.Digest(name)
	if err != nil {
		e.Error = err.Error()
	}
	d.tell(e)
	return err
}

// KeepAgain writes down what StandDown could not.
func (d *Depot) KeepAgain() error {
	if !d.unkept.Load() {
		return nil
	}
	d.change.Lock()
	defer d.change.Unlock()
	return d.keep(d.draft())
}

func (d *Depot) withCandidate(name string) (manifest, record, error) {
	next := d.draft()
	r := next.Policies[name]
	if r.find(r.Candidate) == nil {
		return next, r, fmt.Errorf("%w: no version of policy %s is being rolled out", ErrUnknown, name)
	}
	return next, r, nil
}

// standAgain loads the candidates that were kept, at the start. One that does not load stays written down, and is not a candidate
// until somebody stands it down.
func (d *Depot) standAgain() {
	for name, v := range d.Candidates() {
		_, _ = d.stand(name, v, false) // why not was told as an event
	}
}

// Candidates are the versions that are being rolled out, by policy.
func (d *Depot) Candidates() map[string]Version {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := map[string]Version{}
	for name, r := range d.manifest.Policies {
		if v := r.find(r.Candidate); v != nil {
			all[name] = *v
		}
	}
	return all
}

// Pinned tells whether the configuration names a file for a policy.
func (d *Depot) Pinned(name string) bool {
	entry, ok := d.entry(name)
	return ok && entry.File != ""
}

// KeepNotes keeps what others have to remember about candidates, beside the versions; it replaces what was kept before. Errors:
// ErrDisk.
func (d *Depot) KeepNotes(data []byte) error { return replaceFile(d.notesPath(), data) }

// Notes is what was kept last, nil if nothing was. Errors: ErrDisk.
func (d *Depot) Notes() ([]byte, error) {
	data, err := os.ReadFile(d.notesPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return data, nil
}

func (d *Depot) notesPath() string { return filepath.Join(d.Dir, "rollouts.json") }
