package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/rollout"
)

// Rollouts is what the operator's API needs to compare versions of policies under traffic. Errors wrap one of the ErrPolicy errors;
// others are failures of the disk.
type Rollouts interface {
	StartRollout(policy string, r RolloutRequest, by string) (Rollout, error)
	PromoteRollout(policy, by string) (Rollout, error)
	AbortRollout(policy, by string) (Rollout, error)
	// ListRollouts tells of the last rollout of one policy, or of all if the name is "".
	ListRollouts(policy string) []Rollout
}

// RolloutRequest is what an operator wants to roll out. What is left out has its default.
type RolloutRequest struct {
	Version string   `json:"version"` // its number, or the beginning of its SHA-256
	Share   float64  `json:"share"`
	Guards  []string `json:"guards"` // null: the default ones; empty: none
	Min     int      `json:"min_sample"`
	Max     int      `json:"max_sample"`
	Promote string   `json:"promote"`
}

// States of a rollout.
const (
	RolloutRunning    = "running"
	RolloutPassed     = "passed" // and waits for being promoted
	RolloutPromoted   = "promoted"
	RolloutRolledBack = "rolled_back"
	RolloutAborted    = "aborted"
)

// Rollout is one that is under way, or that was the last of its policy.
type Rollout struct {
	Policy    string           `json:"policy"`
	State     string           `json:"state"`
	Version   int              `json:"version"`
	Digest    string           `json:"sha256"`
	Plan      rollout.Plan     `json:"plan"`
	Control   rollout.Arm      `json:"control"`
	Candidate rollout.Arm      `json:"candidate"`
	Guards    []rollout.Figure `json:"guards"`
	Started   time.Time        `json:"started"`
	By        string           `json:"by"`
	Ended     *time.Time       `json:"ended,omitempty"`
	EndedBy   string           `json:"ended_by,omitempty"`
	Why       string           `json:"why"`             // it ended, or what there is so far
	Error     string           `json:"error,omitempty"` // why it could not be promoted
}

func (a *api) rolloutRoutes(table engine.Routes) {
	table["/api/v1/admin/shadows"] = engine.Methods{"GET": a.admin(a.listShadows)}
	table["/api/v1/admin/shadows/"] = engine.Methods{"GET": a.admin(a.showShadow)}
	if a.Rollouts == nil {
		return
	}
	table["/api/v1/admin/rollouts"] = engine.Methods{"GET": a.admin(a.listRollouts)}
	table["/api/v1/admin/rollouts/"] = engine.Methods{"GET": a.admin(a.showRollout), "POST": a.admin(a.changeRollout)}
}

func (a *api) listShadows(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": a.engine().Shadows()})
}

func (a *api) showShadow(ctx *fasthttp.RequestCtx) {
	for _, report := range a.engine().Shadows() {
		if report.Name == engine.Part(ctx) {
			engine.WriteJSON(ctx, fasthttp.StatusOK, report)
			return
		}
	}
	fault(ctx, fasthttp.StatusNotFound, "shadow_not_found", "name", fmt.Sprintf("no policy %.64q is a shadow of another one", engine.Part(ctx)))
}

func (a *api) listRollouts(ctx *fasthttp.RequestCtx) {
	engine.WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"data": a.Rollouts.ListRollouts("")})
}

func (a *api) showRollout(ctx *fasthttp.RequestCtx) {
	one := a.Rollouts.ListRollouts(engine.Part(ctx))
	if len(one) == 0 {
		fault(ctx, fasthttp.StatusNotFound, "rollout_not_found", "name", fmt.Sprintf("policy %.64q has had no rollout", engine.Part(ctx)))
		return
	}
	engine.WriteJSON(ctx, fasthttp.StatusOK, one[0])
}

// changeRollout serves NAME, which starts one, NAME/promote and NAME/abort.
func (a *api) changeRollout(ctx *fasthttp.RequestCtx) {
	name, action, _ := strings.Cut(engine.Part(ctx), "/")
	by := "master key from " + ctx.RemoteIP().String()
	var r Rollout
	var err error
	status := fasthttp.StatusOK
	switch action {
	case "":
		var wanted RolloutRequest
		if f := engine.ReadJSON(ctx, &wanted); f != nil {
			f.Write(ctx)
			return
		}
		status = fasthttp.StatusCreated
		r, err = a.Rollouts.StartRollout(name, wanted, by)
	case "promote":
		r, err = a.Rollouts.PromoteRollout(name, by)
	case "abort":
		r, err = a.Rollouts.AbortRollout(name, by)
	default:
		fault(ctx, fasthttp.StatusNotFound, "not_found", "", "no such path; POST to /api/v1/admin/rollouts/NAME to start one, or to NAME/promote or NAME/abort")
		return
	}
	if err != nil {
		a.refusePolicy(ctx, err)
		return
	}
	engine.WriteJSON(ctx, status, r)
}
