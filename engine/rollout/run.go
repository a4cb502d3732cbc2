package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// seenBits is how many bits remember which sessions have given their sample. Two sessions may share a bit, and the second then
// gives none, which has nothing to do with how it went.
const seenBits = 1 << 19

// About says what is rolled out, and since when.
type About struct {
	Policy  string    `json:"policy"`
	Decider string    `json:"decider"` // what the candidate is called where policies are loaded; it has an @, which no request can ask for
	Version int       `json:"version"`
	Digest  string    `json:"sha256"`
	Started time.Time `json:"started"`
	By      string    `json:"by"`
	Salt    uint64    `json:"salt"` // makes each rollout take other sessions
}

// Run is a rollout under way. It is safe for concurrent use.
type Run struct {
	About
	threshold uint64
	decided   func(*Run, Verdict)
	stopped   atomic.Bool // nothing is decided by the candidate any more

	mu     sync.Mutex // guards what follows
	over   bool       // nothing is observed any more
	passed bool
	trial  *Trial
	seen   []byte
}

// NewRun begins a rollout by a plan that was checked. decided is called once, in a goroutine of its own, when the candidate is
// to be rolled back or promoted; from then on nothing is observed, and what is broken decides nothing more. With a plan that
// leaves promoting to the operator, passing is only noted, and the guards go on.
func NewRun(about About, p Plan, decided func(*Run, Verdict)) *Run {
	return &Run{About: about, threshold: threshold(p.Share), decided: decided, trial: NewTrial(p), seen: make([]byte, seenBits/8)}
}

// written is a run as JSON.
type written struct {
	About
	Passed bool   `json:"passed"`
	Trial  *Trial `json:"trial"`
	Seen   []byte `json:"seen"`
}

// MarshalJSON writes the run with its evidence.
func (r *Run) MarshalJSON() ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return json.Marshal(written{r.About, r.passed, r.trial, r.seen})
}

// ReadRun goes on with a run that was written. Errors: ErrPlan.
func ReadRun(data []byte, decided func(*Run, Verdict)) (*Run, error) {
	var w written
	if err := json.Unmarshal(data, &w); err != nil {
		return nil, fmt.Errorf("%w: reading one: %w", ErrPlan, err)
	}
	if w.Trial == nil || len(w.Trial.Watches) != len(w.Trial.Plan.Guards) || len(w.Seen) != seenBits/8 {
		return nil, fmt.Errorf("%w: what was written of one is not complete", ErrPlan)
	}
	if err := w.Trial.Plan.Check(); err != nil {
		return nil, err
	}
	return &Run{About: w.About, threshold: threshold(w.Trial.Plan.Share), decided: decided, passed: w.Passed, trial: w.Trial, seen: w.Seen}, nil
}

func threshold(share float64) uint64 { return uint64(share * (1 << 64)) }

// Candidate tells whether the candidate decides for a session; of a request without one, its id takes its place. It is the same
// for all requests of a session.
func (r *Run) Candidate(unit uint64) bool {
	return mix(unit^r.Salt) < r.threshold && !r.stopped.Load()
}

// Observe takes into account what became of a request. session tells that unit is a session.
func (r *Run) Observe(unit uint64, session bool, s Sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	s.First = !session || r.first(unit)
	if r.trial.Observe(&s); !s.Candidate {
		return // only more of the candidate ends it
	}
	v := r.trial.Verdict()
	switch {
	case v == Running, v == Passed && r.passed:
		return
	case v == Passed && r.trial.Plan.Promote == PromoteManual:
		r.passed = true
		return
	}
	r.passed, r.over = v == Passed, true
	r.stopped.Store(v == Broken)
	go r.decided(r, v)
}

// first notes a session and tells whether it is new. The mutex is held.
func (r *Run) first(unit uint64) bool {
	bit := mix(unit+r.Salt) % seenBits
	was := r.seen[bit/8]
	r.seen[bit/8] |= 1 << (bit % 8)
	return was == was&^(1<<(bit%8))
}

// Stop ends the run: the control decides everything, and nothing more is observed. It tells whether the run was still observed.
func (r *Run) Stop() bool {
	r.stopped.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	was := !r.over
	r.over = true
	return was
}

// Resume has the guards go on with a candidate that passed and could not be promoted.
func (r *Run) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = r.stopped.Load()
}

// Standing is where a run stands.
type Standing struct {
	Plan    Plan
	Arms    [2]Arm // control, candidate
	Figures []Figure
	Passed  bool
	Why     string // the verdict, or what there is so far
}

// Standing tells where the run stands.
func (r *Run) Standing() Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Standing{r.trial.Plan, r.trial.Arms, r.trial.Figures(), r.passed, r.trial.Why()}
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// Set is the rollouts under way, by policy. The zero value is ready; it is safe for concurrent use, and reading takes no lock.
type Set struct {
	mu   sync.Mutex // of who changes it
	runs atomic.Pointer[map[string]*Run]
}

// Of is the rollout of a policy, nil if there is none. A nil set has none.
func (s *Set) Of(policy string) *Run {
	if s == nil {
		return nil
	}
	if runs := s.runs.Load(); runs != nil {
		return (*runs)[policy]
	}
	return nil
}

// All are the rollouts by policy; the map is the caller's.
func (s *Set) All() map[string]*Run {
	if runs := s.runs.Load(); runs != nil {
		return maps.Clone(*runs)
	}
	return map[string]*Run{}
}

// Put makes a run that of its policy.
func (s *Set) Put(r *Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := s.All()
	runs[r.Policy] = r
	s.runs.Store(&runs)
}

// Remove takes a run away, if it still is that of its policy, and tells whether it was.
func (s *Set) Remove(r *Run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	runs := s.All()
	if runs[r.Policy] != r {
		return false
	}
	delete(runs, r.Policy)
	s.runs.Store(&runs)
	return true
}
