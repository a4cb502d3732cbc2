package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// resolve turns the request's model and power level into a level, a policy and perhaps a named model.
func (e *Engine) resolve(ctx *fasthttp.RequestCtx, c *call) *Fault {
	asked := c.env.Model
	if !c.env.HasModel {
		asked = "auto"
	}
	if c.env.HasLevel {
		level, ok := parseLevel(c.env.PowerLevel)
		if !ok {
			return badRequest("invalid_power_level", "power_level",
				fmt.Sprintf("power_level %.32q is unknown; use eco, balanced, precision or custom", c.env.PowerLevel))
		}
		c.level = level
	}
	asked, fault := e.readWishes(c, asked)
	if fault != nil {
		return fault
	}
	levelAsked := c.level
	if level, policyName, routed := e.routedName(asked, c.caller.Account.DefaultLevel); routed {
		if c.op != opChat {
			return c.op.unrouted()
		}
		if c.level == 0 {
			c.level = level
		}
		if policyName == "" && asked != "auto" && levelAsked == 0 {
			levelAsked = level
		}
		if c.level == abi.LevelCustom {
			return badRequest("invalid_power_level", "power_level", "power_level custom needs the exact name of a model in model")
		}
		c.policy = policyName
		if fault := e.permitAny(c); fault != nil {
			return fault
		}
	} else {
		found, ok := e.Catalog.Resolve(asked)
		if !ok || found.Model.Mode != c.op.mode() {
			return c.op.noSuchModel(asked)
		}
		if fault := permitModel(c.caller, found.Model, "model"); fault != nil {
			return fault
		}
		c.model, c.pinned = found.Model, found.Provider
		c.usage.Model = c.model.Name
		e.noteDeprecated(ctx, found)
		if c.level == 0 {
			c.level = abi.LevelCustom
		}
		c.policy = levelName(abi.LevelCustom)
	}
	if c.env.Policy != "" {
		c.policy = c.env.Policy
	}
	if c.policy == "" {
		c.policy = levelName(c.level)
	}
	e.chooseDecider(c)
	var known bool
	if c.needs, known = e.Policies.Needs(c.decider); !known || !e.offered(c.policy) {
		return notFound("policy_not_found", "model", fmt.Sprintf("policy %.64q does not exist", c.policy))
	}
	return permitPolicy(c.caller, c.policy, levelAsked)
}

var levels = [...]string{abi.LevelEco: "eco", abi.LevelBalanced: "balanced", abi.LevelPrecision: "precision", abi.LevelCustom: "custom"}

func levelName(level uint8) string { return levels[level] }

func parseLevel(name string) (uint8, bool) {
	i := slices.Index(levels[1:], name)
	return uint8(i + 1), i >= 0
}

// routedName understands the names in `model` that ask for routing: auto, a power level, auto/LEVEL and auto/POLICY. "auto"
// means the account's own level.
func (e *Engine) routedName(asked, accountLevel string) (level uint8, policyName string, ok bool) {
	name, routed := strings.CutPrefix(asked, "auto/")
	if level, known := parseLevel(name); known {
		return level, "", true
	}
	level, _ = parseLevel(accountLevel)
	switch {
	case asked == "auto":
		return level, "", true
	case routed:
		return level, name, true
	default:
		return 0, "", false
	}
}

func tierNumber(t storage.AccountTier) uint8 {
	return uint8(max(0, slices.Index(storage.AccountTiers(), t)))
}

// noteDeprecated tells the client, and once an hour the operator, that a retired name was used.
func (e *Engine) noteDeprecated(ctx *fasthttp.RequestCtx, found catalog.Resolution) {
	if found.Alias == nil || !found.Alias.Deprecated {
		return
	}
	ctx.Response.Header.Set("X-Pointsman-Deprecated-Model", found.Alias.Name+" -> "+found.Model.Name)
	if e.hourly("retired name", found.Alias.Name) {
		e.Logger.Warn("a retired model name is in use", "name", found.Alias.Name, "answered by", found.Model.Name, "since", found.Alias.Since)
	}
}
