package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/storage"
)

// Names of endpoints in the scopes of keys, beside those of conversations and operations.
const (
	endpointModels    = "models"
	endpointBalance   = "balance"
	endpointUsage     = "usage"
	endpointDecisions = "decisions"
	endpointOwnKeys   = "byok"
)

// Endpoints are the names that the scopes of a key may hold.
func Endpoints() []string {
	names := []string{"chat", "completions", "messages", "responses"}
	for op := opEmbeddings; int(op) < len(operations); op++ {
		names = append(names, op.name())
	}
	return append(names, endpointModels, endpointBalance, endpointUsage, endpointDecisions, endpointOwnKeys)
}

// permit is what every route passes that needs a key: it says who calls, and refuses who may not use the endpoint. What a key may
// not ask for at an endpoint is refused by permitModel and permitPolicy, once that is known.
func (e *Engine) permit(ctx *fasthttp.RequestCtx, endpoint string) (*directory.Caller, *Fault) {
	if e.refusing.Load() {
		ctx.SetConnectionClose() // the next request finds another gateway, or nobody
		return nil, shuttingDown()
	}
	caller, fault := e.authenticate(ctx)
	if fault != nil {
		return nil, fault
	}
	if scope := caller.Key.Scopes.Endpoints; scope != nil && !slices.Contains(scope, endpoint) {
		return nil, forbidden("endpoint_not_allowed", "", fmt.Sprintf("this key may not use the endpoint %q", endpoint))
	}
	return caller, nil
}

// barred refuses a caller whose key has expired, or is disabled, itself or with its account or team; nil if it may go on. A caller
// is told why, for it is the operator who wrote the reason.
func barred(c *directory.Caller, now func() time.Time) *Fault {
	switch {
	case !c.Key.Expires.IsZero() && !now().Before(c.Key.Expires):
		f := unauthorized("the API key expired at " + c.Key.Expires.UTC().Format(time.RFC3339))
		f.Code = "key_expired"
		return f
	case c.Key.Disabled != "":
		return forbidden("key_disabled", "", "the API key is disabled: "+c.Key.Disabled)
	case c.Account.Disabled != "":
		return forbidden("account_disabled", "", "the account is disabled: "+c.Account.Disabled)
	case c.Team != nil && c.Team.Disabled != "":
		return forbidden("team_disabled", "", "the account's team is disabled: "+c.Team.Disabled)
	}
	return nil
}

// inScope tells whether a key may use a model.
func inScope(s *storage.Scopes, m *catalog.Model) bool {
	return (s.Models == nil || slices.Contains(s.Models, m.Name)) && (s.Tiers == nil || slices.Contains(s.Tiers, m.Tier))
}

// permitModel refuses a model that the request names and the key may not use.
func permitModel(caller *directory.Caller, m *catalog.Model, param string) *Fault {
	if inScope(&caller.Key.Scopes, m) {
		return nil
	}
	return forbidden("model_not_allowed", param, fmt.Sprintf("this key may not use model %q; GET /v1/models lists what it may", m.Name))
}

// permitAny refuses a request that leaves the choice of the model to the gateway when the key may use none of this kind at all.
func (e *Engine) permitAny(c *call) *Fault {
	scopes := &c.caller.Key.Scopes
	if scopes.Models == nil && scopes.Tiers == nil ||
		slices.ContainsFunc(e.Catalog.Models, func(m *catalog.Model) bool { return m.Mode == c.op.mode() && inScope(scopes, m) }) {
		return nil
	}
	return forbidden("model_not_allowed", "model", "this key may not use any model that could answer")
}

// permitPolicy refuses a policy, or a power level that was asked for beside it, that the key may not use. 0 is no level.
func permitPolicy(caller *directory.Caller, policy string, level uint8) *Fault {
	scope := caller.Key.Scopes.Policies
	for _, name := range []string{policy, levelName(level)} {
		if scope != nil && name != "" && !slices.Contains(scope, name) {
			return forbidden("policy_not_allowed", "", fmt.Sprintf("this key may not use policy or power level %q", name))
		}
	}
	return nil
}

func forbidden(code, param, message string) *Fault {
	return &Fault{Status: fasthttp.StatusForbidden, Type: typePermission, Code: code, Param: param, Message: message}
}
