package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// A key has a circuit and limits of its own, because what a provider says of a key says nothing of the provider:
//
//   - The platform's key: while its circuit is open, or a limit is used up, its candidates are excluded from requests that
//     would use it (abi.ReasonDown). Accounts with a key of their own go on.
//   - An account's own key: its candidates stay in the plan, for without them the plan would go on to keys of the platform,
//     which the account did not ask for. The attempt fails at once instead, without a call to the provider.
//
// Snapshots know nothing of keys: they say how deployments are, for everybody.

// keyState is what is known of one key at one provider. It is safe for concurrent use.
type keyState struct {
	circuit snapshot.Circuit
	limits  sync.Map // key of a deployment -> *snapshot.Limits, of own keys; those of the platform's are in deployment.limits
	tested  atomic.Int64
}

// ownKeys are the states of the accounts' own keys, by key id, which is new at every replacement. Only keys that something
// was to be noted of have one.
type ownKeys struct{ states sync.Map }

// find returns the state of a key, nil if nothing was ever noted of it.
func (o *ownKeys) find(id string) *keyState {
	if s, ok := o.states.Load(id); ok {
		return s.(*keyState)
	}
	return nil
}

// open returns the state of a key, making it first if needed.
func (o *ownKeys) open(id string) *keyState {
	if s := o.find(id); s != nil {
		return s
	}
	s, _ := o.states.LoadOrStore(id, new(keyState))
	return s.(*keyState)
}

func (o *ownKeys) forget(id string) { o.states.Delete(id) }

// ready is when a request with so much input may go to deployment d with the platform's key; zero if now. limited tells
// that a limit is used up, rather than that the key was refused.
func (d *deployment) ready(tokens uint32, now time.Time) (at time.Time, limited bool) {
	if !d.key.circuit.Allows(now) {
		_, until, _, _ := d.key.circuit.Open()
		return until, false
	}
	if l := d.limits.Load(); l != nil {
		at = l.Ready(int64(tokens), now)
		return at, !at.IsZero()
	}
	return time.Time{}, false
}

// heldBack is the failure of an attempt that is not made, because the account's own key is not to be used at the moment.
func (e *Engine) heldBack(c *call, d *deployment, key *storage.ProviderKey) *failure {
	s := e.keys.find(key.ID)
	if s == nil {
		return nil
	}
	now := e.Now()
	if !s.circuit.Allows(now) {
		_, until, cause, _ := s.circuit.Open()
		class := adapter.ClassAuth
		if cause == abi.FailureQuota {
			class = adapter.ClassQuota
		}
		return &failure{class: class, retryAfter: max(until.Sub(now), time.Second), unsent: true}
	}
	if l, ok := s.limits.Load(d.Key); ok {
		if at := l.(*snapshot.Limits).Ready(int64(c.env.InputTokens), now); !at.IsZero() {
			return &failure{class: adapter.ClassRateLimited, retryAfter: at.Sub(now), unsent: true}
		}
	}
	return nil
}

// noteLimits keeps what an answer's header says of the limits of the key it was got with.
func (e *Engine) noteLimits(a *answer, rules []adapter.RateLimit, header func(string) string) {
	if len(rules) == 0 || a.simulated {
		return
	}
	var left []snapshot.Left
	for _, r := range rules {
		remaining := header(r.Remaining)
		if remaining == "" { // as of most providers
			continue
		}
		if one, ok := snapshot.ParseLeft(r.Unit == "tokens", header(r.Limit), remaining, header(r.Reset), a.began); ok {
			left = append(left, one)
		}
	}
	if left != nil {
		e.keepLimits(a, &snapshot.Limits{At: a.began, Left: left})
	}
}

func (e *Engine) keepLimits(a *answer, l *snapshot.Limits) {
	if !a.own {
		a.deployment.limits.Store(l)
		return
	}
	e.keys.open(a.keyID).limits.Store(a.deployment.Key, l)
}

// tryKey notes that an attempt uses a key; false if it must not, for another one is trying whether the key works again.
func (a *answer) tryKey(k *keyState) (ok bool) {
	a.keyTrial, ok = k.circuit.Start()
	return ok
}

// judgeKey draws from an attempt's end what it says of its key. A success is what closes a circuit.
func (e *Engine) judgeKey(a *answer, f *failure) {
	if a.simulated || f != nil && f.unsent {
		return
	}
	state := a.deployment.endpoint.key
	if a.own {
		if state = e.keys.find(a.keyID); state == nil {
			if f == nil || f.class != adapter.ClassAuth && f.class != adapter.ClassQuota && f.class != adapter.ClassRateLimited {
				return
			}
			state = e.keys.open(a.keyID)
		}
	}
	if a.keyTrial {
		defer state.circuit.End()
	}
	if f == nil {
		if state.circuit.Succeed() {
			e.Logger.Info("a provider key works again", "provider", a.deployment.Provider, "own", a.own, "key", a.keyID)
		}
		return
	}
	now := e.Now()
	switch f.class {
	case adapter.ClassAuth, adapter.ClassQuota:
		if state.circuit.Fail(now, policy.ParseFailure(string(f.class)), true) {
			e.Logger.Warn("a provider refuses a key", "provider", a.deployment.Provider, "own", a.own, "key", a.keyID, "class", f.class)
		}
	case adapter.ClassRateLimited:
		e.noteWait(a, f.retryAfter, now)
	}
}

// noteWait keeps how long the provider asked to be left alone, beside what its headers said of the limits.
func (e *Engine) noteWait(a *answer, wait time.Duration, now time.Time) {
	if wait <= 0 {
		return
	}
	l := &snapshot.Limits{At: now, Until: now.Add(wait)}
	if before := e.limitsOf(a); before != nil && !before.At.Before(a.began) {
		l.Left = before.Left // of the same answer
	}
	e.keepLimits(a, l)
}

func (e *Engine) limitsOf(a *answer) *snapshot.Limits {
	if !a.own {
		return a.deployment.limits.Load()
	}
	if s := e.keys.find(a.keyID); s != nil {
		if l, ok := s.limits.Load(a.deployment.Key); ok {
			return l.(*snapshot.Limits)
		}
	}
	return nil
}

// keyReason says for people why the platform's key is not used, or "".
func (k *keyState) keyReason(now time.Time) (health uint8, reason string, since, retry time.Time) {
	since, retry, cause, open := k.circuit.Open()
	switch {
	case !open:
		return abi.HealthHealthy, "", time.Time{}, time.Time{}
	case retry.After(now):
		return abi.HealthDown, fmt.Sprintf("the provider refuses the platform's key: %s", policy.FailureName(cause)), since, retry
	default:
		return abi.HealthDegraded, fmt.Sprintf("the provider refused the platform's key (%s); the next request tries it", policy.FailureName(cause)), since, time.Time{}
	}
}
