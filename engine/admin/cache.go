package admin

import (
	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
)

// cache tells the figures of the response cache.
func (a *api) cache(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, a.engine().CacheStats())
}

// clearCache removes the answers made for ?account=ID, or all.
func (a *api) clearCache(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]int{"removed": a.engine().ClearCache(string(ctx.QueryArgs().Peek("account")))})
}
