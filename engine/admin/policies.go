package admin

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
)

// Policies is what the operator's API needs to change policies while requests are under way. Errors wrap one of the ErrPolicy
// errors; others are failures of the disk.
type Policies interface {
	ValidatePolicy(u PolicyUpload) (PolicyVersion, error)
	StagePolicy(u PolicyUpload) (PolicyVersion, error)
	ActivatePolicy(name, version, by string) (PolicyVersion, error)
	RollbackPolicy(name, by string) (PolicyVersion, error)
	// ListPolicies tells of one policy, with its history, or of all, without, if the name is "".
	ListPolicies(name string) ([]Policy, error)
}

// Errors of [Policies].
var (
	ErrPolicyInvalid   = errors.New("invalid value")
	ErrPolicyUnknown   = errors.New("not found")
	ErrPolicyPinned    = errors.New("pinned by the configuration")
	ErrPolicyRefused   = errors.New("module refused")
	ErrPolicySignature = errors.New("signature refused")
	ErrPolicyBusy      = errors.New("busy")
	ErrRolloutUnknown  = errors.New("no rollout")
)

// PolicyUpload is a module that an operator brings, with what it is to be given.
type PolicyUpload struct {
	Name      string
	Module    []byte
	Signature []byte // text of a .minisig file, or nothing
	Params    map[string]string
	Grants    []string
	Fuel      int64 // 0: the default
	By        string
}

// PolicyVersion is an uploaded module.
type PolicyVersion struct {
	Version     int               `json:"version,omitempty"` // 0: the built-in one
	State       string            `json:"state"`             // validated, staged, candidate, active, kept
	Digest      string            `json:"sha256"`
	Size        int               `json:"size"`
	Grants      []string          `json:"grants"`
	Fuel        int64             `json:"fuel,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	Signer      string            `json:"signer,omitempty"`
	Description string            `json:"description,omitempty"`
	Uploaded    *time.Time        `json:"uploaded,omitempty"`
	By          string            `json:"by,omitempty"`
}

// Policy is one policy with what serves and what could.
type Policy struct {
	Name     string          `json:"name"`
	Serving  *PolicyServing  `json:"serving"`           // null: nothing does
	Versions []PolicyVersion `json:"versions"`          // newest first
	History  []PolicyChange  `json:"history,omitempty"` // newest first
}

// PolicyChange is a change of a policy, or one that was refused.
type PolicyChange struct {
	Time     time.Time `json:"time"`
	Action   string    `json:"action"`
	Source   string    `json:"source,omitempty"`
	Digest   string    `json:"sha256,omitempty"`
	Previous string    `json:"previous_sha256,omitempty"`
	Signer   string    `json:"signer,omitempty"`
	By       string    `json:"by,omitempty"`
	Note     string    `json:"note,omitempty"` // figures of a rollout
	Error    string    `json:"error,omitempty"`
}

// PolicyServing is what serves under a name.
type PolicyServing struct {
	Source      string    `json:"source"` // built-in, version N, or the file
	Version     int       `json:"version,omitempty"`
	Digest      string    `json:"sha256"`
	Signer      string    `json:"signer,omitempty"`
	Grants      []string  `json:"grants"`
	Needs       []string  `json:"needs"`
	Fuel        int64     `json:"fuel"`
	LastFuel    int64     `json:"last_fuel"` // what the last decision used
	Since       time.Time `json:"since"`
	Description string    `json:"description,omitempty"`
	Decisions   uint64    `json:"decisions"`
	Failures    uint64    `json:"failures"`
	Refused     string    `json:"refused,omitempty"` // why what the configuration says does not serve
}

func (a *api) policyRoutes(table engine.Routes) {
	if a.Policies == nil {
		return
	}
	table["/api/v1/admin/policies"] = engine.Methods{"GET": a.admin(a.listPolicies)}
	table["/api/v1/admin/policies/"] = engine.Methods{"GET": a.admin(a.showPolicy), "POST": a.admin(a.changePolicy)}
}

func (a *api) listPolicies(ctx *fasthttp.RequestCtx) {
	all, err := a.Policies.ListPolicies("")
	if err != nil {
		a.refusePolicy(ctx, err)
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": all})
}

func (a *api) showPolicy(ctx *fasthttp.RequestCtx) {
	one, err := a.Policies.ListPolicies(engine.Part(ctx))
	switch {
	case err != nil:
		a.refusePolicy(ctx, err)
	case len(one) == 0:
		fault(ctx, fasthttp.StatusNotFound, "policy_not_found", "name", fmt.Sprintf("there is no policy %.64q", engine.Part(ctx)))
	default:
		engine.WriteJSON(ctx, fasthttp.StatusOK, one[0])
	}
}

// changePolicy serves NAME/validate, NAME/versions, NAME/activate and NAME/rollback.
func (a *api) changePolicy(ctx *fasthttp.RequestCtx) {
	name, action, _ := strings.Cut(engine.Part(ctx), "/")
	by := "master key from " + ctx.RemoteIP().String()
	var v PolicyVersion
	var err error
	status := fasthttp.StatusOK
	switch action {
	case "validate", "versions":
		var u PolicyUpload
		if u, err = readUpload(ctx, name, by); err != nil {
			break
		}
		if action == "validate" {
			v, err = a.Policies.ValidatePolicy(u)
			break
		}
		status = fasthttp.StatusCreated
		if v, err = a.Policies.StagePolicy(u); err == nil && string(ctx.QueryArgs().Peek("activate")) == "true" {
			v, err = a.Policies.ActivatePolicy(name, strconv.Itoa(v.Version), by)
		}
	case "activate":
		var body struct {
			Version string `json:"version"`
		}
		if f := engine.ReadJSON(ctx, &body); f != nil {
			f.Write(ctx)
			return
		}
		v, err = a.Policies.ActivatePolicy(name, body.Version, by)
	case "rollback":
		v, err = a.Policies.RollbackPolicy(name, by)
	default:
		fault(ctx, fasthttp.StatusNotFound, "not_found", "", "no such path; POST to /api/v1/admin/policies/NAME/ with validate, versions, activate or rollback")
		return
	}
	if err != nil {
		a.refusePolicy(ctx, err)
		return
	}
	engine.WriteJSON(ctx, status, v)
}

func (a *api) refusePolicy(ctx *fasthttp.RequestCtx, err error) {
	for _, known := range []struct {
		err    error
		status int
		code   string
	}{
		{ErrPolicyInvalid, fasthttp.StatusBadRequest, "invalid_value"},
		{ErrPolicyUnknown, fasthttp.StatusNotFound, "policy_version_not_found"},
		{ErrPolicyPinned, fasthttp.StatusConflict, "policy_pinned"},
		{ErrPolicyBusy, fasthttp.StatusConflict, "rollout_running"},
		{ErrRolloutUnknown, fasthttp.StatusNotFound, "rollout_not_found"},
		{ErrPolicySignature, fasthttp.StatusForbidden, "policy_signature"},
		{ErrPolicyRefused, fasthttp.StatusUnprocessableEntity, "policy_refused"},
	} {
		if errors.Is(err, known.err) {
			fault(ctx, known.status, known.code, "", err.Error())
			return
		}
	}
	a.Logger.Error("policy change failed", "path", string(ctx.Path()), "error", err)
	fault(ctx, fasthttp.StatusServiceUnavailable, "storage_unavailable", "", "the policy's files cannot be read or written at the moment; the gateway's log says more")
}

// readUpload reads a module from the body and what it is to be given from the query: grants=text,state, fuel=2000000,
// param.KEY=VALUE, and the signature in base64 from the header X-Pointsman-Signature.
func readUpload(ctx *fasthttp.RequestCtx, name, by string) (PolicyUpload, error) {
	u := PolicyUpload{Name: name, Module: slices.Clone(ctx.PostBody()), Params: map[string]string{}, By: by}
	invalid := func(format string, args ...any) (PolicyUpload, error) {
		return u, fmt.Errorf("%w: %s", ErrPolicyInvalid, fmt.Sprintf(format, args...))
	}
	if kind := string(ctx.Request.Header.ContentType()); kind != "" && kind != "application/wasm" && kind != "application/octet-stream" {
		return invalid("the body is the module itself, as application/wasm, not %.64q", kind)
	}
	if text := ctx.Request.Header.Peek("X-Pointsman-Signature"); len(text) > 0 {
		signature, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil {
			return invalid("the header X-Pointsman-Signature must be the .minisig file in base64")
		}
		u.Signature = signature
	}
	for key, value := range ctx.QueryArgs().All() {
		switch param, isParam := strings.CutPrefix(string(key), "param."); {
		case isParam && param != "":
			u.Params[param] = string(value)
		case string(key) == "grants":
			if len(value) > 0 {
				u.Grants = strings.Split(string(value), ",")
			}
		case string(key) == "fuel":
			fuel, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || fuel <= 0 {
				return invalid("fuel must be a whole number above 0")
			}
			u.Fuel = fuel
		case string(key) == "activate" && (string(value) == "true" || string(value) == "false"):
		default:
			return invalid("unknown parameter %.64q; there are grants, fuel, activate and param.KEY", key)
		}
	}
	return u, nil
}
