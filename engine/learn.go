package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

const (
	// observeEvery is how long outcomes are gathered before a policy learns from them.
	observeEvery = 250 * time.Millisecond
	// maxPending is how many outcomes wait for a policy; beyond that the oldest are dropped.
	maxPending = 8 * abi.MaxOutcomes
)

// States keeps the states of learning policies. AppendState never blocks a request.
type States interface {
	AppendState(policy string, number uint64, data []byte)
	// State returns a state by its number, 0 for the newest. Errors: storage.ErrNotFound.
	State(policy string, number uint64) (found uint64, data []byte, err error)
}

// learners gathers what became of the plans of learning policies and lets the policies draw their next state from it, off
// the way of any request: nothing runs while nothing happens. It is safe for concurrent use.
type learners struct {
	observe func(name string, state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error)
	keep    States
	log     *slog.Logger
	now     func() time.Time
	failed  func(policy string)

	mu     sync.Mutex
	byName map[string]*learner
	closed bool
	busy   sync.WaitGroup
}

// learner is one policy. Everything but current is guarded by learners.mu.
type learner struct {
	current atomic.Pointer[policy.State] // nil: none yet
	pending []policy.Outcome
	due     bool // an observation is on its way
}

// of returns the learner of a policy, with the state it had when the gateway last ran.
func (l *learners) of(name string) *learner {
	if found := l.byName[name]; found != nil {
		return found
	}
	found := &learner{}
	number, data, err := l.keep.State(name, 0)
	switch {
	case err == nil:
		found.current.Store(&policy.State{Number: number, Bytes: data})
	case !errors.Is(err, storage.ErrNotFound):
		l.log.Error("reading the state of a policy, which starts from none", "policy", name, "error", err)
	}
	l.byName[name] = found
	return found
}

// state is what a policy knows now, nil if nothing.
func (l *learners) state(name string) *policy.State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(name).current.Load()
}

// add hands on what became of a request's attempts. Texts are not kept.
func (l *learners) add(name string, outcomes []policy.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	learner := l.of(name)
	for _, o := range outcomes {
		o.Text = nil
		learner.pending = append(learner.pending, o)
	}
	if over := len(learner.pending) - maxPending; over > 0 {
		learner.pending = slices.Delete(learner.pending, 0, over)
	}
	if !learner.due {
		learner.due = true
		l.busy.Add(1)
		time.AfterFunc(observeEvery, func() {
			defer l.busy.Done()
			l.learn(name, learner)
		})
	}
}

// learn makes and publishes the states that follow from the pending outcomes. There is one at a time for each policy.
func (l *learners) learn(name string, learner *learner) {
	for {
		l.mu.Lock()
		batch := learner.pending[:min(len(learner.pending), abi.MaxOutcomes)]
		learner.pending = learner.pending[len(batch):]
		if len(batch) == 0 {
			learner.pending, learner.due = nil, false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		if err := l.advance(name, learner, batch); err != nil {
			l.failed(name)
			l.log.Warn("policy did not learn from what became of its plans", "policy", name, "outcomes", len(batch), "error", err)
		}
	}
}

// advance makes the next state. It is kept before any decision can rest on it.
func (l *learners) advance(name string, learner *learner, batch []policy.Outcome) error {
	current := learner.current.Load()
	data, err := l.observe(name, current, batch, nil)
	if err != nil {
		return fmt.Errorf("observing: %w", err)
	}
	number := uint64(l.now().UnixMicro())
	if current != nil {
		number = max(number, current.Number+1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byName[name] == learner { // else its state was forgotten meanwhile
		l.keep.AppendState(name, number, data)
		learner.current.Store(&policy.State{Number: number, Bytes: data})
	}
	return nil
}

// drop makes a policy start from no state: it does not accept the one it has.
func (l *learners) drop(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	learner := l.of(name)
	if current := learner.current.Load(); current != nil && len(current.Bytes) > 0 {
		next := &policy.State{Number: current.Number + 1}
		l.keep.AppendState(name, next.Number, nil)
		learner.current.Store(next)
	}
}

// ForgetState makes a learning policy start from no state, and from nothing that is still to be observed.
func (e *Engine) ForgetState(name string) {
	l := e.learners
	l.drop(name)
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := &learner{}
	fresh.current.Store(l.of(name).current.Load())
	l.byName[name] = fresh // what is under way for the one before is not kept
}

// close waits for observations under way; those that are pending are made.
func (l *learners) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.busy.Wait()
}

// learnFrom hands the outcomes of a request to its policy, if that learns.
func (e *Engine) learnFrom(c *call) {
	if c.decider != c.policy && e.Rollouts.Of(c.policy) != c.rollout {
		return // its candidate is one no more, and another may go by the same name
	}
	if c.needs&abi.GrantState != 0 && len(c.outcomes) > 0 {
		e.learners.add(c.decider, c.outcomes)
	}
}
