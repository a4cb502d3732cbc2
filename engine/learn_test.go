package engine

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// memory keeps states as the log does, without a disk.
type memory struct {
	mu     sync.Mutex
	states map[uint64][]byte
	newest uint64
}

func (m *memory) AppendState(_ string, number uint64, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[number], m.newest = data, number
}

func (m *memory) State(_ string, number uint64) (uint64, []byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if number == 0 {
		number = m.newest
	}
	data, ok := m.states[number]
	if !ok {
		return 0, nil, storage.ErrNotFound
	}
	return number, data, nil
}

// counting is a policy whose state is how many outcomes it has seen.
func counting(_ string, state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error) {
	seen := uint64(0)
	if state != nil && len(state.Bytes) == 8 {
		seen = binary.LittleEndian.Uint64(state.Bytes)
	}
	if len(outcomes) > abi.MaxOutcomes {
		return nil, errors.New("too many at once")
	}
	return binary.LittleEndian.AppendUint64(dst, seen+uint64(len(outcomes))), nil
}

func newLearners(keep States, failed func(string)) *learners {
	return &learners{observe: counting, keep: keep, log: slog.New(slog.DiscardHandler), now: time.Now, failed: failed, byName: map[string]*learner{}}
}

// TestLearnersSeeEveryOutcomeOnce: whatever comes at once from many requests is observed once, in states whose numbers
// grow and each of which was kept.
func TestLearnersSeeEveryOutcomeOnce(t *testing.T) {
	keep := &memory{states: map[uint64][]byte{}}
	l := newLearners(keep, func(string) { t.Error("an observation failed") })
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				l.add("p", make([]policy.Outcome, 3))
				if s := l.state("p"); s != nil {
					if _, data, err := keep.State("p", s.Number); err != nil || string(data) != string(s.Bytes) {
						t.Errorf("state %d is in use and not kept: %v", s.Number, err)
					}
				}
			}
		})
	}
	wg.Wait()
	l.close()
	if s := l.state("p"); s == nil || binary.LittleEndian.Uint64(s.Bytes) != 2400 {
		t.Fatalf("%+v", s)
	}
	l.add("p", make([]policy.Outcome, 1)) // after the end: dropped
	again := newLearners(keep, nil)
	if s := again.state("p"); s == nil || binary.LittleEndian.Uint64(s.Bytes) != 2400 {
		t.Fatalf("after a restart %+v", s)
	}
}

// TestLearnersAreBounded: outcomes that nobody takes, because the policy is slow, are dropped, the oldest first.
func TestLearnersAreBounded(t *testing.T) {
	l := newLearners(&memory{states: map[uint64][]byte{}}, func(string) {})
	busy, done := make(chan struct{}, 2*maxPending), make(chan struct{})
	l.observe = func(name string, state *policy.State, outcomes []policy.Outcome, dst []byte) ([]byte, error) {
		busy <- struct{}{}
		<-done
		return counting(name, state, outcomes, dst)
	}
	l.add("p", make([]policy.Outcome, 1))
	<-busy
	for n := range 2 * maxPending {
		l.add("p", []policy.Outcome{{Key: uint64(n)}})
	}
	l.mu.Lock()
	pending := l.byName["p"].pending
	if len(pending) != maxPending || pending[len(pending)-1].Key != 2*maxPending-1 {
		t.Errorf("%d pending, the newest is %d", len(pending), pending[len(pending)-1].Key)
	}
	l.mu.Unlock()
	close(done)
	l.close()
}

// TestFailedObservation: a policy that fails to observe keeps its state, and a state that it refuses is dropped for none.
func TestFailedObservation(t *testing.T) {
	keep := &memory{states: map[uint64][]byte{}}
	failures := 0
	l := newLearners(keep, func(string) { failures++ })
	l.add("p", make([]policy.Outcome, 5))
	l.mu.Lock()
	learner := l.byName["p"]
	l.mu.Unlock()
	for learner.current.Load() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	before := learner.current.Load()
	l.observe = func(string, *policy.State, []policy.Outcome, []byte) ([]byte, error) { return nil, errors.New("trap") }
	l.add("p", make([]policy.Outcome, 5))
	l.close()
	if failures != 1 || learner.current.Load() != before {
		t.Errorf("%d failures, state %+v", failures, learner.current.Load())
	}
	l.drop("p")
	if s := l.state("p"); s.Number <= before.Number || len(s.Bytes) != 0 {
		t.Errorf("dropped: %+v", s)
	}
}

func TestSessions(t *testing.T) {
	s, now := new(sessions), time.Unix(1_800_000_000, 0)
	if s.warm(0, now) != 0 || s.warm(7, now) != 0 {
		t.Error("a session that nothing is known of is warm")
	}
	s.note(0, 3, now) // no session
	s.note(7, 3, now)
	if s.warm(7, now.Add(warmFor)) != 3 || s.warm(7, now.Add(warmFor+time.Second)) != 0 || s.warm(0, now) != 0 {
		t.Error("a session is warm for five minutes")
	}
	s.note(7+sessionSlots, 1, now) // displaces it
	if s.warm(7, now) != 0 || s.warm(7+sessionSlots, now) != 1 {
		t.Error("a displaced session must be cold, never another's")
	}
}
