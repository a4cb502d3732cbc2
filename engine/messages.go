package engine

import (
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/dialect"
	"github.com/pointsman/pointsman/engine/envelope"
	"github.com/pointsman/pointsman/engine/tokens"
)

// countTokens answers Anthropic's POST /v1/messages/count_tokens by our own count for the model, which asks nobody.
func (e *Engine) countTokens(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, dialect.Messages.String())
	if fault != nil {
		fault.Write(ctx)
		return
	}
	if fault := checkMedia(ctx); fault != nil {
		fault.Write(ctx)
		return
	}
	var env envelope.Envelope
	if err := env.Parse(envelope.FormTokenCount, ctx.PostBody(), envelope.DefaultLimits()); err != nil {
		fromEnvelope(err).Write(ctx)
		return
	}
	family, ratio := tokens.FamilyOf(env.Model), new(tokens.Ratio)
	if found, ok := e.Catalog.Resolve(env.Model); ok && len(found.Model.Deployments) > 0 {
		if fault := permitModel(caller, found.Model, "model"); fault != nil {
			fault.Write(ctx)
			return
		}
		d := e.deployments[found.Model.Deployments[0].Index]
		family, ratio = d.family, &d.ratio
	}
	ctx.Response.Header.Set("X-Pointsman-Estimated", "true")
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"input_tokens":` + strconv.FormatInt(e.countPrompt(&env, ctx.PostBody(), family, ratio), 10) + `}`)
}

// noResponse answers for the stored responses of OpenAI's API, of which there are none.
func (e *Engine) noResponse(ctx *fasthttp.RequestCtx) {
	if _, fault := e.permit(ctx, dialect.Responses.String()); fault != nil {
		fault.Write(ctx)
		return
	}
	notFound("response_not_found", "", "this gateway stores no responses: send the whole input with each request").Write(ctx)
}
