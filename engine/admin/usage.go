package admin

import (
	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
)

// usageRoutes adds what is told of everybody's usage beside its listing.
func (a *api) usageRoutes(table engine.Routes) {
	table["/api/v1/admin/analytics"] = engine.Methods{"GET": a.admin(func(ctx *fasthttp.RequestCtx) { a.engine().WriteAnalytics(ctx) })}
	table["/api/v1/admin/bodies/"] = engine.Methods{"GET": a.admin(func(ctx *fasthttp.RequestCtx) { a.engine().WriteBody(ctx, engine.Part(ctx)) })}
	table["/api/v1/admin/usage/export"] = engine.Methods{"GET": a.admin(func(ctx *fasthttp.RequestCtx) { a.engine().WriteExport(ctx) })}
}
