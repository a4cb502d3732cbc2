package admin

import (
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// keyBody is what a virtual key is made from, and changed to.
type keyBody struct {
	Name     optional[string]     `json:"name"`
	Expires  optional[time.Time]  `json:"expires"`
	Disabled optional[string]     `json:"disabled"`
	Scopes   optional[scopesBody] `json:"scopes"`
	Limits   optional[limitsBody] `json:"limits"`
	NoCache  optional[bool]       `json:"no_cache"`
}

func (b *keyBody) check(e *engine.Engine) *engine.Fault {
	if f := tooLong("name", b.Name, maxName); f != nil {
		return f
	}
	if f := tooLong("disabled", b.Disabled, maxReason); f != nil {
		return f
	}
	if b.Expires.value != nil && b.Expires.value.Unix() <= 0 {
		return invalid("expires", "must be a time after 1970, or null for never")
	}
	if b.Scopes.value != nil {
		if f := b.Scopes.value.check(e); f != nil {
			return f
		}
	}
	if b.Limits.value != nil {
		return b.Limits.value.check()
	}
	return nil
}

func (b *keyBody) apply(to *storage.VirtualKey) {
	b.Name.set(&to.Name)
	b.Expires.set(&to.Expires)
	to.Expires = to.Expires.UTC()
	b.Disabled.set(&to.Disabled)
	b.NoCache.set(&to.NoCache)
	changeScopes(&b.Scopes, &to.Scopes)
	changeLimits(&b.Limits, &to.Limits)
}

// keyEntry is a virtual key as the API shows it.
type keyEntry struct {
	ID        string      `json:"id"`
	Account   string      `json:"account"`
	Name      string      `json:"name,omitempty"`
	Hint      string      `json:"hint"`
	Key       string      `json:"key,omitempty"` // at creation only
	Created   string      `json:"created"`
	Revoked   string      `json:"revoked,omitempty"`
	Expires   *time.Time  `json:"expires"`
	Disabled  *string     `json:"disabled"`
	Replaces  string      `json:"replaces,omitempty"`
	SpendsAs  string      `json:"spends_as"`
	Scopes    scopesEntry `json:"scopes"`
	Limits    limitsEntry `json:"limits"`
	NoCache   bool        `json:"no_cache"`
	Standings []standing  `json:"budget_standings,omitempty"`
}

// scopesEntry are scopes as the API shows them: as they are written.
type scopesEntry struct {
	Models    []string `json:"models"`
	Tiers     []int    `json:"tiers"`
	Policies  []string `json:"policies"`
	Endpoints []string `json:"endpoints"`
}

func (a *api) showKey(k storage.VirtualKey, text string) keyEntry {
	entry := keyEntry{
		ID: k.ID, Account: k.Account, Name: k.Name, Hint: k.Hint, Key: text, Created: k.Created.UTC().Format(time.RFC3339),
		Disabled: orNull(k.Disabled), Replaces: k.Replaces, SpendsAs: k.SpendsAs(),
		Scopes: scopesEntry{Models: k.Scopes.Models, Policies: k.Scopes.Policies, Endpoints: k.Scopes.Endpoints},
		Limits: showLimits(k.Limits), NoCache: k.NoCache, Standings: a.standings(storage.SpenderKey, k.SpendsAs(), k.Limits.Budgets),
	}
	if k.Scopes.Tiers != nil {
		entry.Scopes.Tiers = []int{}
	}
	for _, tier := range k.Scopes.Tiers {
		entry.Scopes.Tiers = append(entry.Scopes.Tiers, int(tier))
	}
	if !k.Revoked.IsZero() {
		entry.Revoked = k.Revoked.UTC().Format(time.RFC3339)
	}
	if !k.Expires.IsZero() {
		entry.Expires = &k.Expires
	}
	return entry
}

func (a *api) answerKey(ctx *fasthttp.RequestCtx, status int, k storage.VirtualKey, text string, err error) {
	if err != nil {
		param := "id"
		if status == fasthttp.StatusCreated && engine.Part(ctx) == "" {
			param = "account"
		}
		a.refuse(ctx, err, param)
		return
	}
	engine.WriteJSON(ctx, status, a.showKey(k, text))
}

func (a *api) createKey(ctx *fasthttp.RequestCtx) {
	var body struct {
		Account string `json:"account"`
		keyBody
	}
	if f := read(ctx, &body, func() *engine.Fault { return body.check(a.engine()) }); f != nil {
		f.Write(ctx)
		return
	}
	k := storage.VirtualKey{Account: body.Account}
	body.apply(&k)
	k, text, err := a.Directory.CreateKey(k)
	a.answerKey(ctx, fasthttp.StatusCreated, k, text, err)
}

func (a *api) updateKey(ctx *fasthttp.RequestCtx) {
	var body keyBody
	if f := read(ctx, &body, func() *engine.Fault { return body.check(a.engine()) }); f != nil {
		f.Write(ctx)
		return
	}
	k, err := a.Directory.UpdateKey(engine.Part(ctx), body.apply)
	a.answerKey(ctx, fasthttp.StatusOK, k, "", err)
}

// maxOverlap is the longest time for which a key and the one that replaces it may both be good.
const maxOverlap = 366 * 24 * time.Hour

// rotateKey makes a key in the place of another: POST …/keys/ID/rotate.
func (a *api) rotateKey(ctx *fasthttp.RequestCtx) {
	id, ok := strings.CutSuffix(engine.Part(ctx), "/rotate")
	if !ok {
		fault(ctx, fasthttp.StatusNotFound, "not_found", "", "no such path; a key is rotated at /api/v1/admin/keys/ID/rotate")
		return
	}
	var body struct {
		Overlap string `json:"overlap"`
	}
	if f := engine.ReadJSON(ctx, &body); f != nil {
		f.Write(ctx)
		return
	}
	overlap := time.Duration(0)
	if body.Overlap != "" {
		var err error
		if overlap, err = time.ParseDuration(body.Overlap); err != nil || overlap < 0 || overlap > maxOverlap {
			invalid("overlap", `must be a duration from "0s" to "8784h", such as "24h"`).Write(ctx)
			return
		}
	}
	k, text, err := a.Directory.RotateKey(id, overlap)
	a.answerKey(ctx, fasthttp.StatusCreated, k, text, err)
}

func (a *api) showOneKey(ctx *fasthttp.RequestCtx) {
	k, err := a.Directory.Key(engine.Part(ctx))
	a.answerKey(ctx, fasthttp.StatusOK, k, "", err)
}

func (a *api) listKeys(ctx *fasthttp.RequestCtx) {
	list := []keyEntry{}
	for _, k := range a.Directory.Keys(string(ctx.QueryArgs().Peek("account"))) {
		list = append(list, a.showKey(k, ""))
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": list})
}

func (a *api) revokeKey(ctx *fasthttp.RequestCtx) {
	if err := a.Directory.RevokeKey(engine.Part(ctx)); err != nil {
		a.refuse(ctx, err, "id")
		return
	}
	ctx.SetStatusCode(fasthttp.StatusNoContent)
}
