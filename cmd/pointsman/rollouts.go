package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/engine/rollout"
	"github.com/pointsman/pointsman/policies/depot"
)

// rollouts joins what compares versions of policies with what loads them: the set that the engine asks, the depot, and what is
// kept of both. It is safe for concurrent use.
type rollouts struct {
	g   *gateway
	set rollout.Set

	mu      sync.Mutex               // one change at a time
	over    bool                     // the gateway stops: nothing is decided any more
	against map[string]uint64        // load of the policy that the candidate is compared with
	failed  map[string]string        // why a candidate that passed could not be promoted
	ended   map[string]admin.Rollout // the last that ended, by policy
	kept    []byte
	again   time.Time // when what could not be done is tried again
	wait    time.Duration
}

// rolloutNotes is what is kept beside the versions.
type rolloutNotes struct {
	Running map[string]json.RawMessage `json:"running"`
	Ended   map[string]admin.Rollout   `json:"ended"`
}

// notesEvery is how often evidence is written down. What came after is lost if the gateway is killed, for whatever reason, which
// makes no arm look better.
const notesEvery = 5 * time.Second

// It is tried again to promote a candidate, and to write down that one is none any more: after a minute, and after twice as long each time up to a day, for each
// time is in the history.
const againFirst, againMost = time.Minute, 24 * time.Hour

// byGuards is by whom a rollout ends that no operator ended.
const byGuards = "guards"

// open goes on with the rollouts that were under way. A candidate without evidence, or that does not load, is stood down.
func (r *rollouts) open(g *gateway) {
	r.g, r.against, r.failed, r.ended = g, map[string]uint64{}, map[string]string{}, map[string]admin.Rollout{}
	var notes rolloutNotes
	data, err := g.depot.Notes()
	if err == nil && data != nil {
		err = json.Unmarshal(data, &notes)
	}
	if err != nil {
		g.log.Error("what was kept of rollouts cannot be read; those under way end", "error", err)
	}
	maps.Copy(r.ended, notes.Ended)
	for name, v := range g.depot.Candidates() {
		run, why := (*rollout.Run)(nil), "no evidence was kept"
		if written := notes.Running[name]; written != nil {
			if run, err = rollout.ReadRun(written, r.decided); err != nil {
				why = err.Error()
			}
		}
		if run != nil && (run.Version != v.Number || run.Decider != depot.CandidateName(name)) {
			run, why = nil, "the evidence is about another version"
		}
		if _, loaded := g.policies.Needs(depot.CandidateName(name)); run != nil && !loaded {
			run, why = nil, "it cannot be loaded any more"
		}
		if run == nil {
			_ = g.depot.StandDown(name, depot.ActionRolloutAbort, why, "start") // an error was told as an event
			continue
		}
		r.hold(run)
	}
}

// hold makes a run the one that the engine asks.
func (r *rollouts) hold(run *rollout.Run) {
	r.against[run.Policy] = r.g.policies.Version(run.Policy)
	delete(r.failed, run.Policy)
	r.set.Put(run)
}

// watch writes the evidence down now and then, until the gateway stops.
func (r *rollouts) watch() {
	tick := time.NewTicker(notesEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.g.life.Done():
			return
		case <-tick.C:
			r.mu.Lock()
			if now := r.g.now(); !r.over && now.After(r.again) {
				if r.wait = min(max(2*r.wait, againFirst), againMost); r.tryAgain() {
					r.wait = 0
				}
				r.again = now.Add(max(r.wait, againFirst))
			}
			r.keep()
			r.mu.Unlock()
		}
	}
}

// tryAgain does what could not be done: candidates have passed that were to be promoted, or were stood down and are still written down as candidates. It tells
// whether all of it is done. The mutex is held.
func (r *rollouts) tryAgain() bool {
	err := r.g.depot.KeepAgain()
	for _, run := range r.set.All() {
		if s := run.Standing(); s.Passed && s.Plan.Promote != rollout.PromoteManual {
			err = errors.Join(err, r.promote(run, byGuards))
		}
	}
	if err != nil {
		r.g.log.Error("ending a rollout, which is tried again", "again_in", r.wait.String(), "error", err)
	}
	return err == nil
}

// close writes the evidence down for the next start. No request is under way any more.
func (r *rollouts) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over = true; r.g != nil {
		r.keep()
	}
}

// keep writes down what changed. The mutex is held.
func (r *rollouts) keep() {
	notes := struct {
		Running map[string]*rollout.Run  `json:"running"`
		Ended   map[string]admin.Rollout `json:"ended"`
	}{r.set.All(), r.ended}
	data, err := json.Marshal(notes)
	if err == nil && (bytes.Equal(data, r.kept) || r.kept == nil && len(notes.Running)+len(notes.Ended) == 0) {
		return
	}
	if err == nil {
		err = r.g.depot.KeepNotes(data)
	}
	if err != nil {
		r.g.log.Error("the evidence of rollouts cannot be written down", "error", err)
		return
	}
	r.kept = data
}

// decided ends a run by its evidence.
func (r *rollouts) decided(run *rollout.Run, v rollout.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.set.Of(run.Policy) != run {
		return
	}
	var err error
	if v == rollout.Broken {
		err = r.end(run, admin.RolloutRolledBack, depot.ActionRolloutBack, run.Standing().Why, byGuards)
	} else {
		if err = r.promote(run, byGuards); err != nil {
			run.Resume()
		}
	}
	if err != nil {
		r.g.log.Error("ending a rollout", "policy", run.Policy, "version", run.Version, "error", err)
	}
}

// end stands a candidate down. Its sessions go back at once, whatever the disk does. The mutex is held.
func (r *rollouts) end(run *rollout.Run, state, action, why, by string) error {
	run.Stop()
	r.set.Remove(run)
	r.ended[run.Policy] = r.epitaph(run, state, why, by)
	err := r.g.depot.StandDown(run.Policy, action, why, by)
	r.keep()
	return err
}

// promote makes a candidate serve. On an error it goes on with its share. The mutex is held.
func (r *rollouts) promote(run *rollout.Run, by string) error {
	why := run.Standing().Why
	if _, err := r.g.depot.Promote(run.Policy, why, by); err != nil {
		r.failed[run.Policy] = err.Error()
		return err
	}
	run.Stop()
	r.set.Remove(run)
	r.ended[run.Policy] = r.epitaph(run, admin.RolloutPromoted, why, by)
	r.keep()
	return nil
}

// epitaph is what is told of a run that has ended.
func (r *rollouts) epitaph(run *rollout.Run, state, why, by string) admin.Rollout {
	ended, now := rolloutEntry(run), r.g.now().UTC()
	ended.State, ended.Why, ended.Ended, ended.EndedBy = state, why, &now, by
	return ended
}

// check ends the rollouts of policies that the configuration has changed: what the candidate was compared with is no more.
func (r *rollouts) check(by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, run := range r.set.All() {
		if r.g.depot.Pinned(name) || r.g.policies.Version(name) != r.against[name] {
			if err := r.end(run, admin.RolloutAborted, depot.ActionRolloutAbort, "the configuration changed what the candidate is compared with", by); err != nil {
				r.g.log.Error("ending a rollout", "policy", name, "version", run.Version, "error", err)
			}
		}
	}
}

// rolloutEntry is a run as the admin API tells of it.
func rolloutEntry(run *rollout.Run) admin.Rollout {
	s := run.Standing()
	one := admin.Rollout{
		Policy: run.Policy, State: admin.RolloutRunning, Version: run.Version, Digest: run.Digest, Plan: s.Plan, Control: s.Arms[0], Candidate: s.Arms[1],
		Guards: s.Figures, Started: run.Started, By: run.By, Why: s.Why,
	}
	if s.Passed {
		one.State = admin.RolloutPassed
	}
	return one
}

// ListRollouts tells of the rollouts under way, and of the last of policies that have none.
func (r *rollouts) ListRollouts(only string) []admin.Rollout {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := maps.Clone(r.ended)
	for name, run := range r.set.All() {
		one := rolloutEntry(run)
		one.Error = r.failed[name]
		all[name] = one
	}
	list := slices.SortedFunc(maps.Values(all), func(a, b admin.Rollout) int { return cmp.Compare(a.Policy, b.Policy) })
	if list == nil {
		list = []admin.Rollout{}
	}
	if only != "" {
		list = slices.DeleteFunc(list, func(one admin.Rollout) bool { return one.Policy != only })
	}
	return list
}

// StartRollout stands a version beside what serves and gives it its share.
func (r *rollouts) StartRollout(name string, wanted admin.RolloutRequest, by string) (admin.Rollout, error) {
	plan := rollout.Plan{Share: wanted.Share, Min: wanted.Min, Max: wanted.Max, Promote: wanted.Promote}
	if wanted.Guards != nil {
		plan.Guards = []rollout.Guard{}
	}
	for _, text := range wanted.Guards {
		g, err := rollout.ParseGuard(text)
		if err != nil {
			return admin.Rollout{}, fmt.Errorf("%w: %w", admin.ErrPolicyInvalid, err)
		}
		plan.Guards = append(plan.Guards, g)
	}
	if err := plan.Check(); err != nil {
		return admin.Rollout{}, fmt.Errorf("%w: %w", admin.ErrPolicyInvalid, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	note := fmt.Sprintf("%g %% of the sessions, guards %v, %d to %d samples, promote %s", 100*plan.Share, plan.Guards, plan.Min, plan.Max, plan.Promote)
	report, err := r.g.depot.Stand(name, wanted.Version, note, by)
	if err != nil {
		return admin.Rollout{}, adminError(err)
	}
	about := rollout.About{
		Policy: name, Decider: depot.CandidateName(name), Version: report.Number, Digest: report.Digest, Started: r.g.now().UTC(), By: by, Salt: rand.Uint64(),
	}
	run := rollout.NewRun(about, plan, r.decided)
	r.g.engine.ForgetState(about.Decider) // which a candidate before may have left
	r.hold(run)
	r.keep()
	return rolloutEntry(run), nil
}

// errNoRollout: there is none under way.
func errNoRollout(name string) error {
	return fmt.Errorf("%w: no version of policy %.64s is being rolled out", admin.ErrRolloutUnknown, name)
}

// PromoteRollout makes the candidate serve, whatever the evidence says.
func (r *rollouts) PromoteRollout(name, by string) (admin.Rollout, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.set.Of(name)
	if run == nil {
		return admin.Rollout{}, errNoRollout(name)
	}
	if err := r.promote(run, by); err != nil {
		return admin.Rollout{}, adminError(err)
	}
	return r.ended[name], nil
}

// AbortRollout gives the candidate's sessions back.
func (r *rollouts) AbortRollout(name, by string) (admin.Rollout, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run := r.set.Of(name)
	if run == nil {
		return admin.Rollout{}, errNoRollout(name)
	}
	err := r.end(run, admin.RolloutAborted, depot.ActionRolloutAbort, "by the operator; "+run.Standing().Why, by)
	return r.ended[name], adminError(err)
}
