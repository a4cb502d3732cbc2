package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/storage"
)

// ownKeyEntry shows a stored provider key without the key.
type ownKeyEntry struct {
	Provider string `json:"provider"`
	ID       string `json:"id"`
	Key      string `json:"key"` // masked
	Version  uint32 `json:"version"`
	Created  string `json:"created"`
}

func showMasked(k *storage.ProviderKey) ownKeyEntry {
	return ownKeyEntry{k.Provider, k.ID, "…" + k.Hint, k.Version, k.Created.UTC().Format(time.RFC3339)}
}

// listOwnKeys lists the caller's own provider keys, masked.
func (e *Engine) listOwnKeys(ctx *fasthttp.RequestCtx) {
	caller, fault := e.authenticate(ctx)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	list := []ownKeyEntry{}
	for _, k := range e.Directory.OwnKeys(caller.Account.ID) {
		list = append(list, showMasked(&k))
	}
	WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": list})
}

// ownKeyRequest authenticates and finds the provider in the path.
func (e *Engine) ownKeyRequest(ctx *fasthttp.RequestCtx) (*directory.Caller, string, *Fault) {
	caller, fault := e.authenticate(ctx)
	if fault != nil {
		return nil, "", fault
	}
	name := Part(ctx)
	if p := e.providers[name]; p == nil || name == simulatorName {
		return nil, "", notFound("provider_not_found", "provider", fmt.Sprintf("provider %.64q does not exist", name))
	}
	return caller, name, nil
}

// putOwnKey stores the caller's own key for a provider: {"key":"…"}.
func (e *Engine) putOwnKey(ctx *fasthttp.RequestCtx) {
	caller, name, fault := e.ownKeyRequest(ctx)
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
	k, err := e.Directory.SetOwnKey(caller.Account.ID, name, body.Key)
	switch {
	case errors.Is(err, directory.ErrProviderKey):
		badRequest("invalid_provider_key", "key", err.Error()).Write(ctx)
	case err != nil:
		e.Logger.Error("storing a provider key", "account", caller.Account.ID, "provider", name, "error", err)
		storageUnavailable().Write(ctx)
	default:
		WriteJSON(ctx, fasthttp.StatusOK, showMasked(&k))
	}
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
		notFound("provider_key_not_found", "provider", fmt.Sprintf("no key of yours is stored for provider %q", name)).Write(ctx)
		return
	}
	WriteJSON(ctx, fasthttp.StatusOK, showMasked(k))
}

// deleteOwnKey removes the caller's own key for a provider for good.
func (e *Engine) deleteOwnKey(ctx *fasthttp.RequestCtx) {
	caller, name, fault := e.ownKeyRequest(ctx)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	switch err := e.Directory.DeleteOwnKey(caller.Account.ID, name); {
	case errors.Is(err, storage.ErrNotFound):
		notFound("provider_key_not_found", "provider", fmt.Sprintf("no key of yours is stored for provider %q", name)).Write(ctx)
	case err != nil:
		e.Logger.Error("deleting a provider key", "account", caller.Account.ID, "provider", name, "error", err)
		storageUnavailable().Write(ctx)
	default:
		ctx.SetStatusCode(fasthttp.StatusNoContent)
	}
}

// ReadJSON decodes a small JSON body into v, refusing unknown fields and trailing data. Its faults do not quote the body,
// which may hold a secret.
func ReadJSON(ctx *fasthttp.RequestCtx, v any) *Fault {
	if fault := checkMedia(ctx); fault != nil {
		return fault
	}
	d := json.NewDecoder(bytes.NewReader(ctx.PostBody()))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		return badRequest("invalid_json", "", "the body holds more than one JSON value")
	}
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return badRequest("invalid_value", wrongType.Field, fmt.Sprintf("%s must be a %s", wrongType.Field, wrongType.Type))
	case bytes.HasPrefix([]byte(err.Error()), []byte("json: unknown field")):
		return badRequest("unknown_parameter", "", clip(err.Error()[len("json: "):], 80))
	default:
		return badRequest("invalid_json", "", "the body is not valid JSON")
	}
}
