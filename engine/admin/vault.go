package admin

import (
	"errors"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
)

// Vault is what seals the accounts' own provider keys.
type Vault interface {
	VaultStatus() VaultStatus
	// RotateVault begins to wrap all sealed keys anew, under the key-encryption key of a source, and returns once a restart
	// would go on with it. Errors: ErrVaultSource, ErrVaultRotating.
	RotateVault(to, by string) error
	// CheckVault opens every sealed key once.
	CheckVault() VaultStatus
}

// Errors of a Vault.
var (
	// ErrVaultSource: the source cannot be rotated to, for a reason that the text says.
	ErrVaultSource = errors.New("the vault cannot be rotated there")
	// ErrVaultRotating: the vault is being rotated to another key-encryption key.
	ErrVaultRotating = errors.New("the vault is being rotated")
)

// VaultStatus is the state of the vault. Nothing in it is secret.
type VaultStatus struct {
	KEK           KEK         `json:"kek"`
	Next          *KEK        `json:"next,omitempty"` // while a rotation is under way; both are needed then
	Rotation      *Rotation   `json:"rotation,omitempty"`
	Keys          int         `json:"keys"`
	Undecryptable []SealedKey `json:"undecryptable"`
	Drift         string      `json:"drift,omitempty"` // how the configuration differs from what was rotated to
}

// KEK names a key-encryption key.
type KEK struct {
	ID     string `json:"id"`
	Source string `json:"source"`
}

// Rotation is the latest rotation since the gateway started.
type Rotation struct {
	State   string     `json:"state"` // running, failed (a new request or a restart goes on with it) or done
	Done    int        `json:"done"`  // keys that were wrapped anew
	Left    int        `json:"left"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Error   string     `json:"error,omitempty"`
}

// SealedKey names an account's own key for a provider.
type SealedKey struct {
	Account  string `json:"account"`
	Provider string `json:"provider"`
	ID       string `json:"id"`
}

func (a *api) vaultRoutes(table engine.Routes) {
	if a.Vault == nil {
		return
	}
	table["/api/v1/admin/vault"] = map[string]fasthttp.RequestHandler{"GET": a.admin(a.vaultStatus)}
	table["/api/v1/admin/vault/rotate"] = map[string]fasthttp.RequestHandler{"POST": a.admin(a.rotateVault)}
	table["/api/v1/admin/vault/check"] = map[string]fasthttp.RequestHandler{"POST": a.admin(a.checkVault)}
}

func (a *api) vaultStatus(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, a.Vault.VaultStatus())
}

func (a *api) checkVault(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, a.Vault.CheckVault())
}

// rotateVault begins a rotation: {"to":"file:/etc/pointsman/kek"}.
func (a *api) rotateVault(ctx *fasthttp.RequestCtx) {
	var body struct {
		To string `json:"to"`
	}
	if f := engine.ReadJSON(ctx, &body); f != nil {
		f.Write(ctx)
		return
	}
	switch err := a.Vault.RotateVault(body.To, "master key from "+ctx.RemoteIP().String()); {
	case errors.Is(err, ErrVaultSource):
		fault(ctx, fasthttp.StatusBadRequest, "invalid_value", "to", err.Error())
	case errors.Is(err, ErrVaultRotating):
		fault(ctx, fasthttp.StatusConflict, "vault_rotating", "to", err.Error())
	case err != nil:
		a.refuse(ctx, err, "to")
	default:
		engine.WriteJSON(ctx, fasthttp.StatusAccepted, a.Vault.VaultStatus())
	}
}
