package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/snapshot"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// ownKeyEntry shows a stored provider key without the key.
type ownKeyEntry struct {
	Provider string `json:"provider"`
	ID       string `json:"id"`
	Key      string `json:"key"` // masked
	Version  uint32 `json:"version"`
	Created  string `json:"created"`
	Status   string `json:"status"`             // healthy, degraded, down, undecryptable, or unknown until something is to be told
	Reason   string `json:"reason,omitempty"`   // of one that is not used at the moment
	Retry    string `json:"retry_at,omitempty"` // when it is used again
}

// showOwn shows a key masked, with what providers said of it.
func (e *Engine) showOwn(k *storage.ProviderKey) ownKeyEntry {
	entry := ownKeyEntry{
		Provider: k.Provider, ID: k.ID, Key: "…" + k.Hint, Version: k.Version, Created: k.Created.UTC().Format(time.RFC3339), Status: policy.HealthName(abi.HealthUnknown),
	}
	if e.Directory.Undecryptable(k) {
		entry.Status, entry.Reason = "undecryptable", "it cannot be opened any more: store it again"
		return entry
	}
	s := e.keys.find(k.ID)
	if s == nil {
		return entry
	}
	now := e.Now()
	entry.Status = policy.HealthName(abi.HealthHealthy)
	if _, until, cause, open := s.circuit.Open(); open {
		entry.Status, entry.Reason = policy.HealthName(abi.HealthDown), "the provider refuses it: "+policy.FailureName(cause)
		if until.After(now) {
			entry.Retry = until.UTC().Format(time.RFC3339)
		}
		return entry
	}
	s.limits.Range(func(_, l any) bool {
		if at := l.(*snapshot.Limits).Ready(0, now); !at.IsZero() {
			entry.Status, entry.Reason, entry.Retry = policy.HealthName(abi.HealthDegraded), "its rate limit is used up for some models", at.UTC().Format(time.RFC3339)
		}
		return true
	})
	return entry
}

// listOwnKeys lists the caller's own provider keys, masked.
func (e *Engine) listOwnKeys(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointOwnKeys)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	list := []ownKeyEntry{}
	for _, k := range e.Directory.OwnKeys(caller.Account.ID) {
		list = append(list, e.showOwn(&k))
	}
	WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": list})
}

// ownKeyRequest authenticates and finds the provider in the path. A key that is stored can be looked at and deleted when its provider is gone.
func (e *Engine) ownKeyRequest(ctx *fasthttp.RequestCtx) (caller *directory.Caller, provider string, fault *Fault) {
	if caller, fault = e.permit(ctx, endpointOwnKeys); fault != nil {
		return nil, "", fault
	}
	if provider = Part(ctx); caller.OwnKey(provider) == nil {
		fault = e.takesKeys(provider)
	}
	return caller, provider, fault
}

// takesKeys tells whether accounts can have keys of their own for a provider.
func (e *Engine) takesKeys(provider string) *Fault {
	if e.providers[provider] == nil || provider == simulatorName {
		return notFound("provider_not_found", "provider", fmt.Sprintf("provider %.64q does not exist", provider))
	}
	return nil
}

// putOwnKey stores the caller's own key for a provider: {"key":"…"}.
func (e *Engine) putOwnKey(ctx *fasthttp.RequestCtx) {
	caller, name, fault := e.ownKeyRequest(ctx)
	if fault == nil {
		fault = e.takesKeys(name)
	}
	if fault != nil {
		fault.Write(ctx)
		return
	}
	var body struct {
		Key string `json:"key"`
	}
	if fault := ReadJSON(ctx, &body); fault != nil {
		fault.Write(ctx)
		return
	}
	before := caller.OwnKey(name)
	k, err := e.Directory.SetOwnKey(caller.Account.ID, name, body.Key)
	switch {
	case errors.Is(err, directory.ErrProviderKey):
		badRequest("invalid_provider_key", "key", err.Error()).Write(ctx)
	case err != nil:
		e.Logger.Error("storing a provider key", "account", caller.Account.ID, "provider", name, "error", err)
		storageUnavailable().Write(ctx)
	default:
		if before != nil {
			e.keys.forget(before.ID)
		}
		e.Logger.Info("an account stored a provider key", "account", caller.Account.ID, "by", caller.KeyID, "provider", name, "key", k.ID, "version", k.Version)
		WriteJSON(ctx, fasthttp.StatusOK, e.showOwn(&k))
	}
}

// testInterval is the least time between two tests of a key.
const testInterval = 5 * time.Second

// ownKeyTest is what a test of an own key found.
type ownKeyTest struct {
	Provider string  `json:"provider"`
	ID       string  `json:"id"`
	Result   string  `json:"result"` // works, rejected, unreachable (which says nothing of the key) or untested
	Message  string  `json:"message"`
	Millis   float64 `json:"latency_ms"`
}

// testOwnKey asks the provider, for free, whether it takes the caller's key: POST …/PROVIDER/test.
func (e *Engine) testOwnKey(ctx *fasthttp.RequestCtx) {
	name, ok := strings.CutSuffix(Part(ctx), "/test")
	if !ok {
		notFound("not_found", "", "no such path; a key is tested at /api/v1/llm/byok/PROVIDER/test").Write(ctx)
		return
	}
	caller, fault := e.permit(ctx, endpointOwnKeys)
	if fault == nil {
		fault = e.takesKeys(name)
	}
	if fault != nil {
		fault.Write(ctx)
		return
	}
	k := caller.OwnKey(name)
	if k == nil {
		noOwnKey(name).Write(ctx)
		return
	}
	state, now := e.keys.open(k.ID), e.Now()
	last := state.tested.Load()
	if wait := time.Unix(0, last).Add(testInterval).Sub(now); last != 0 && wait > 0 && wait <= testInterval || !state.tested.CompareAndSwap(last, now.UnixNano()) {
		(&Fault{
			Status: fasthttp.StatusTooManyRequests, Type: typeRate, Code: "test_rate_limited", RetryAfter: max(wait, time.Second),
			Message: "this key was tested a moment ago; a test every 5 seconds is enough",
		}).Write(ctx)
		return
	}
	_, key, err := e.Directory.OpenOwnKey(caller.Account.ID, name)
	if err != nil {
		(&failure{class: adapter.ClassAuth, own: true, unsent: true, err: err, provider: name}).ownKeyFault().Write(ctx)
		return
	}
	limit, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	found, f := e.probe(limit, e.providers[name], key)
	test := ownKeyTest{Provider: name, ID: k.ID, Millis: found.Millis}
	switch {
	case f == nil && found.Checked == "key":
		state.circuit.Succeed()
		test.Result, test.Message = "works", "the provider accepts the key"
	case f == nil:
		test.Result, test.Message = "untested", "the provider can be reached, but has no free way to test a key: the next request with it will tell"
	case f.class == adapter.ClassAuth || f.class == adapter.ClassQuota:
		state.circuit.Fail(e.Now(), policy.ParseFailure(string(f.class)), true)
		f.own, f.provider = true, name
		test.Result, test.Message = "rejected", f.ownKeyFault().Message
	default:
		test.Result, test.Message = "unreachable", "the provider did not answer the test ("+f.label()+"), which says nothing of the key; try again later"
	}
	e.Logger.Info("an account tested a provider key", "account", caller.Account.ID, "by", caller.KeyID, "provider", name, "key", k.ID, "result", test.Result)
	WriteJSON(ctx, fasthttp.StatusOK, test)
}

func noOwnKey(provider string) *Fault {
	return notFound("provider_key_not_found", "provider", fmt.Sprintf("no key of yours is stored for provider %q", provider))
}

// showOwnKey shows the caller's own key for a provider, masked.
func (e *Engine) showOwnKey(ctx *fasthttp.RequestCtx) {
	caller, name, fault := e.ownKeyRequest(ctx)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	k := caller.OwnKey(name)
	if k == nil {
		noOwnKey(name).Write(ctx)
		return
	}
	WriteJSON(ctx, fasthttp.StatusOK, e.showOwn(k))
}

// deleteOwnKey removes the caller's own key for a provider for good.
func (e *Engine) deleteOwnKey(ctx *fasthttp.RequestCtx) {
	caller, name, fault := e.ownKeyRequest(ctx)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	switch id, err := e.Directory.DeleteOwnKey(caller.Account.ID, name); {
	case errors.Is(err, storage.ErrNotFound):
		noOwnKey(name).Write(ctx)
	case err != nil:
		e.Logger.Error("deleting a provider key", "account", caller.Account.ID, "provider", name, "error", err)
		storageUnavailable().Write(ctx)
	default:
		e.keys.forget(id)
		e.Logger.Info("an account deleted a provider key", "account", caller.Account.ID, "by", caller.KeyID, "provider", name, "key", id)
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
}
