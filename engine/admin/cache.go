package admin

import (
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/storage"
)

// cache tells the figures of the response cache.
func (a *api) cache(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, a.Engine.CacheStats())
}

// clearCache removes the answers made for ?account=ID, or all.
func (a *api) clearCache(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]int{"removed": a.Engine.ClearCache(string(ctx.QueryArgs().Peek("account")))})
}

// setCaching lets an account or a virtual key into the response cache, or keeps it out: PUT …/accounts/ID or …/keys/ID with
// {"enabled": false}.
func (a *api) setCaching(ctx *fasthttp.RequestCtx) {
	var body struct {
		Enabled *bool `json:"enabled"`
	}
	if f := engine.ReadJSON(ctx, &body); f != nil {
		f.Write(ctx)
		return
	}
	if body.Enabled == nil {
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "enabled", "enabled must be true or false")
		return
	}
	kind, id, _ := strings.Cut(engine.Part(ctx), "/")
	err := error(nil)
	switch kind {
	case "accounts":
		if err = a.Directory.SetAccountCaching(id, *body.Enabled); err == nil && !*body.Enabled {
			a.Engine.ClearCache(id)
		}
	case "keys":
		err = a.Directory.SetKeyCaching(id, *body.Enabled)
	default:
		err = storage.ErrNotFound
	}
	if err != nil {
		a.refuse(ctx, err, "id")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]bool{"enabled": *body.Enabled})
}
