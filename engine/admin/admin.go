// Package admin is the operator's API: accounts, virtual keys, credits, usage of everybody, the state of policies and
// plugins, and metrics. It listens on its own address, loopback unless configured otherwise, and everything but
// /health, /metrics and /openapi.json needs the master key as a bearer token.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/engine/openapi"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// Ledger is what the operator's API needs of the credit ledger.
type Ledger interface {
	Grant(g storage.Grant) (storage.Balance, error)
	Balance(account string) (storage.Balance, error)
}

// Config is what the API is built from.
type Config struct {
	Engine    *engine.Engine
	Directory *directory.Directory
	Ledger    Ledger
	Books     Books
	Archive   Archive
	Life      context.Context // ends when the gateway stops: what is being written out is cut
	MasterKey provider.Secret
	Status    func() Status
	Policies  Policies // nil: they cannot be changed
	Rollouts  Rollouts // nil: there are none
	Reload    func(by string) (Reload, error)
	Vault     Vault           // nil: it cannot be seen
	Metrics   func(io.Writer) // written behind the engine's; nil: none
	Logger    *slog.Logger
}

// Status is the state of the whole gateway, for `pointsman doctor`.
type Status struct {
	Version   string                  `json:"version"`
	Started   time.Time               `json:"started"`
	Config    string                  `json:"config"` // path of the file, "" for the defaults
	DataDir   string                  `json:"data_dir"`
	Listen    string                  `json:"listen"`
	Models    int                     `json:"models"`
	Simulated int                     `json:"simulated_models"`
	Accounts  int                     `json:"accounts"`
	Policies  []PolicyStatus          `json:"policies"`
	Plugins   []PluginStatus          `json:"plugins"`
	Providers []engine.ProviderHealth `json:"providers"`
	Ledger    string                  `json:"ledger"` // "ok" or why it takes no work
	Vault     string                  `json:"vault"`  // "ok" or which stored provider keys do not open
	Reload    Reload                  `json:"reload"`
}

// PolicyStatus is one loaded policy.
type PolicyStatus struct {
	Name      string `json:"name"`
	Digest    string `json:"digest"`
	Source    string `json:"source"` // "built-in", "version N" or the file
	Decisions uint64 `json:"decisions"`
	Failures  uint64 `json:"failures"`
	Refused   string `json:"refused,omitempty"` // why what the configuration says does not serve
}

// PluginStatus is one plugin process.
type PluginStatus struct {
	Name     string    `json:"name"`
	State    string    `json:"state"`
	PID      int       `json:"pid,omitempty"`
	SHA256   string    `json:"sha256,omitempty"` // "" for the built-in process
	Adapters []string  `json:"adapters"`
	Versions []string  `json:"versions"` // of the adapters, in their order
	Restarts int       `json:"restarts"` // how often it was lost
	Upgrades int       `json:"upgrades"` // how often it was replaced by a newer one
	Since    time.Time `json:"since"`    // when it entered the state
	Error    string    `json:"error,omitempty"`
}

type api struct {
	Config
	key [32]byte // digest of the master key, for a comparison in constant time whatever the lengths
}

// Handler serves the operator's API.
func Handler(cfg Config) fasthttp.RequestHandler { return Routes(cfg).Handler(cfg.Logger) }

// Routes are all paths of the operator's API.
func Routes(cfg Config) engine.Routes {
	a := &api{cfg, sha256.Sum256([]byte(cfg.MasterKey.Reveal()))}
	table := engine.Routes{
		"/openapi.json":            {"GET": openapi.Handler(openapi.Admin)},
		"/health":                  a.public("/health"),
		"/health/live":             a.public("/health/live"),
		"/health/ready":            a.public("/health/ready"),
		"/metrics":                 {"GET": a.metrics},
		"/api/v1/admin/usage":      {"GET": a.admin(a.usage)},
		"/api/v1/admin/decisions/": {"GET": a.admin(a.decision)},
		"/api/v1/admin/prices/":    {"GET": a.admin(a.price)},
		"/api/v1/admin/reach":      {"POST": a.admin(a.reach)},
		"/api/v1/admin/status":     {"GET": a.admin(a.status)},
		"/api/v1/admin/reload":     {"POST": a.admin(a.reload)},
	}
	a.accountRoutes(table)
	a.policyRoutes(table)
	a.rolloutRoutes(table)
	a.vaultRoutes(table)
	table["/api/v1/admin/cache"] = engine.Methods{"GET": a.admin(a.cache), "DELETE": a.admin(a.clearCache)}
	a.usageRoutes(table)
	a.ledgerRoutes(table)
	return table
}

// engine is the one of the newest configuration.
func (a *api) engine() *engine.Engine { return a.Engine.Current() }

// public is a path that the API for clients has too.
func (a *api) public(path string) engine.Methods {
	return engine.Methods{"GET": func(ctx *fasthttp.RequestCtx) { a.engine().Routes()[path]["GET"](ctx) }}
}

// admin lets a request through that carries the master key, and no browser's request from another site.
func (a *api) admin(next fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		if site := string(ctx.Request.Header.Peek("Sec-Fetch-Site")); site != "" && site != "same-origin" && site != "none" {
			fault(ctx, fasthttp.StatusForbidden, "cross_origin", "", "requests from other sites are refused")
			return
		}
		given := sha256.Sum256(engine.Bearer(ctx))
		if subtle.ConstantTimeCompare(given[:], a.key[:]) != 1 {
			fault(ctx, fasthttp.StatusUnauthorized, "invalid_api_key", "", "this API needs the master key: Authorization: Bearer sk-pointsman-…")
			return
		}
		next(ctx)
	}
}

func (a *api) metrics(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("text/plain; version=0.0.4")
	a.engine().WriteMetrics(ctx)
	if a.Metrics != nil {
		a.Metrics(ctx)
	}
}

func (a *api) status(ctx *fasthttp.RequestCtx) { engine.WriteJSON(ctx, fasthttp.StatusOK, a.Status()) }

// reach connects to every configured provider, which is free, and says which took the connection.
func (a *api) reach(ctx *fasthttp.RequestCtx) {
	limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": a.engine().Reach(limit)})
}

func (a *api) usage(ctx *fasthttp.RequestCtx) {
	a.engine().WriteUsage(ctx, string(ctx.QueryArgs().Peek("account")))
}

func (a *api) decision(ctx *fasthttp.RequestCtx) {
	a.engine().WriteDecision(ctx, string(ctx.QueryArgs().Peek("account")), engine.Part(ctx))
}

// price tells the prices and the tariff of a version that usage records name.
func (a *api) price(ctx *fasthttp.RequestCtx) {
	version := engine.Part(ctx)
	document, err := a.engine().PriceOf(version)
	if err != nil {
		a.refuse(ctx, err, "version")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, struct {
		Version string          `json:"version"`
		Price   json.RawMessage `json:"price"`
	}{version, document})
}

// grant adds credits to an account, once per reference.
func (a *api) grant(ctx *fasthttp.RequestCtx) {
	id, ok := strings.CutSuffix(engine.Part(ctx), "/credits")
	if !ok {
		fault(ctx, fasthttp.StatusNotFound, "not_found", "", "no such path; credits are granted at /api/v1/admin/accounts/ID/credits")
		return
	}
	var body struct {
		Amount    string `json:"amount"`
		Reference string `json:"reference"`
		Kind      string `json:"kind"`
	}
	if f := engine.ReadJSON(ctx, &body); f != nil {
		f.Write(ctx)
		return
	}
	amount, err := storage.ParseCredits(body.Amount)
	switch {
	case err != nil:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "amount", err.Error())
		return
	case len(body.Reference) == 0 || len(body.Reference) > 128:
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "reference", "reference must have 1 to 128 bytes: it makes the grant idempotent")
		return
	}
	if body.Kind == "" {
		body.Kind = "purchase"
	}
	if param, wrong := checkGrant(body.Kind, amount); wrong != "" {
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", param, wrong)
		return
	}
	b, err := a.Ledger.Grant(storage.Grant{Account: id, Amount: amount, Reference: body.Reference, Kind: body.Kind})
	if err != nil {
		a.refuse(ctx, err, "reference")
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]string{
		"account": id, "credits_remaining": b.Available().String(), "credits_held": b.Held.String(), "reference": body.Reference,
	})
}

const maxGrant = 1_000_000_000 * storage.CreditsPerCredit

// refuse answers with the status of a store's or the directory's error. param is for those that do not tell by themselves.
func (a *api) refuse(ctx *fasthttp.RequestCtx, err error, param string) {
	switch {
	case errors.Is(err, directory.ErrID):
		param = "id"
	case errors.Is(err, directory.ErrTier):
		param = "tier"
	case errors.Is(err, directory.ErrLevel):
		param = "default_power_level"
	case errors.Is(err, directory.ErrTeam):
		param = "team"
	case errors.Is(err, storage.ErrInvalid):
	case errors.Is(err, storage.ErrNotFound):
		fault(ctx, fasthttp.StatusNotFound, "not_found", param, err.Error())
		return
	case errors.Is(err, storage.ErrExists):
		fault(ctx, fasthttp.StatusConflict, "already_exists", param, err.Error())
		return
	case errors.Is(err, storage.ErrInsufficientCredits):
		fault(ctx, fasthttp.StatusPaymentRequired, "insufficient_credits", "amount", err.Error())
		return
	case errors.Is(err, storage.ErrConflict):
		fault(ctx, fasthttp.StatusConflict, "reference_conflict", param, err.Error())
		return
	case errors.Is(err, directory.ErrTeamInUse):
		fault(ctx, fasthttp.StatusConflict, "team_in_use", param, err.Error())
		return
	case errors.Is(err, directory.ErrRevoked):
		fault(ctx, fasthttp.StatusConflict, "key_revoked", param, err.Error())
		return
	default:
		a.Logger.Error("admin request failed", "path", string(ctx.Path()), "error", err)
		fault(ctx, fasthttp.StatusServiceUnavailable, "storage_unavailable", "", "the store cannot take requests at the moment")
		return
	}
	fault(ctx, fasthttp.StatusBadRequest, "invalid_value", param, err.Error())
}

func fault(ctx *fasthttp.RequestCtx, status int, code, param, message string) {
	f := engine.Fault{Status: status, Type: "invalid_request_error", Code: code, Param: param, Message: message}
	if status == fasthttp.StatusUnauthorized {
		f.Type = "authentication_error"
	}
	f.Write(ctx)
}
