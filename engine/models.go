package engine

import (
	"encoding/json"
	"fmt"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/directory"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// modelEntry is OpenAI's model object with what a user of this gateway wants to know beside it.
type modelEntry struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"`
	Created         int64             `json:"created"`
	OwnedBy         string            `json:"owned_by"`
	Mode            string            `json:"mode"`
	Tier            uint8             `json:"tier"`
	PowerLevel      string            `json:"power_level,omitempty"` // whose band the tier is in
	CreditsPer1K    string            `json:"credits_per_1k"`
	Unit            string            `json:"unit,omitempty"` // what the next two are for, of models not charged by tokens alone
	CreditsPerUnit  string            `json:"credits_per_unit,omitempty"`
	CreditsPerUSD   string            `json:"credits_per_usd,omitempty"` // of what the provider charges
	ContextWindow   uint32            `json:"context_window,omitempty"`
	MaxOutputTokens uint32            `json:"max_output_tokens,omitempty"`
	Capabilities    []string          `json:"capabilities"`
	Health          string            `json:"health"` // of the best deployment
	Simulated       bool              `json:"simulated"`
	OwnKey          bool              `json:"byok"` // the account's own key would be used
	Deployments     []deploymentEntry `json:"deployments"`
	Aliases         []modelAlias      `json:"aliases,omitempty"`
	Type            string            `json:"type,omitempty"`         // as Anthropic's clients expect it, for them alone
	DisplayName     string            `json:"display_name,omitempty"` // likewise
	CreatedAt       string            `json:"created_at,omitempty"`   // likewise; when a model was made we do not know
}

// anthropicModels is Anthropic's list of models.
type anthropicModels struct {
	Data    []modelEntry `json:"data"`
	HasMore bool         `json:"has_more"`
	FirstID *string      `json:"first_id"`
	LastID  *string      `json:"last_id"`
}

// forAnthropic tells a client of Anthropic's API, which always names the version.
func forAnthropic(ctx *fasthttp.RequestCtx) bool {
	return len(ctx.Request.Header.Peek("Anthropic-Version")) > 0
}

func (m *modelEntry) inAnthropicForm() {
	m.Type, m.DisplayName, m.CreatedAt = "model", m.ID, "1970-01-01T00:00:00Z"
}

type deploymentEntry struct {
	Provider string `json:"provider"`
	Health   string `json:"health"`
}

type modelAlias struct {
	Name       string `json:"name"`
	Deprecated bool   `json:"deprecated"`
	Since      string `json:"since,omitempty"`
	Reason     string `json:"reason,omitempty"`
}

// listModels lists the models the caller may use.
func (e *Engine) listModels(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointModels)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	list := make([]modelEntry, 0, len(e.Catalog.Models))
	snap := e.live.Current(e.Now())
	for _, m := range e.Catalog.Models {
		if entry, ok := e.entryOf(m, caller, snap.Candidates); ok {
			list = append(list, entry)
		}
	}
	if !forAnthropic(ctx) {
		WriteJSON(ctx, fasthttp.StatusOK, map[string]any{"object": "list", "data": list})
		return
	}
	answer := anthropicModels{Data: list}
	for i := range list {
		list[i].inAnthropicForm()
	}
	if len(list) > 0 {
		answer.FirstID, answer.LastID = &list[0].ID, &list[len(list)-1].ID
	}
	WriteJSON(ctx, fasthttp.StatusOK, answer)
}

// showModel describes one model by its name or an alias.
func (e *Engine) showModel(ctx *fasthttp.RequestCtx) {
	caller, fault := e.permit(ctx, endpointModels)
	if fault != nil {
		fault.Write(ctx)
		return
	}
	if found, ok := e.Catalog.Resolve(Part(ctx)); ok {
		if entry, usable := e.entryOf(found.Model, caller, e.live.Current(e.Now()).Candidates); usable {
			e.noteDeprecated(ctx, found)
			if forAnthropic(ctx) {
				entry.inAnthropicForm()
			}
			WriteJSON(ctx, fasthttp.StatusOK, entry)
			return
		}
	}
	notFound("model_not_found", "model", fmt.Sprintf("model %.64q does not exist; GET /v1/models lists what you may use", Part(ctx))).Write(ctx)
}

// entryOf describes a model to a caller; false if the caller cannot use it.
func (e *Engine) entryOf(m *catalog.Model, caller *directory.Caller, live []policy.Candidate) (modelEntry, bool) {
	entry := modelEntry{
		ID: m.Name, Object: "model", Created: 0, OwnedBy: m.Deployments[0].Provider, Mode: catalog.ModeName(m.Mode), Tier: m.Tier,
		PowerLevel: levelOfTier(m.Tier), CreditsPer1K: m.Rate.String(), ContextWindow: m.ContextWindow, MaxOutputTokens: m.MaxOutput,
		Capabilities: capabilities(m.Capabilities), Simulated: true,
	}
	if m.ByUnit() {
		entry.Unit, entry.CreditsPerUnit, entry.CreditsPerUSD = catalog.UnitName(m.Mode), m.UnitRate.String(), m.CostRate.String()
	}
	usable := m.AllowedFor(caller.Account.Tier)
	reachable := false
	health := uint8(abi.HealthDown)
	for _, d := range m.Deployments {
		r := e.deployments[d.Index]
		own := caller.OwnKey(d.Provider) != nil
		entry.OwnKey = entry.OwnKey || own
		entry.Simulated = entry.Simulated && !own && !r.platform && r.simulate
		reachable = reachable || own || r.platform || r.simulate
		entry.Deployments = append(entry.Deployments, deploymentEntry{d.Provider, policy.HealthName(live[d.Index].Health)})
		health = min(health, live[d.Index].Health) // the codes count from good to bad, but for unknown, which is no worse than good
	}
	entry.Health = policy.HealthName(health)
	for _, a := range m.Aliases {
		entry.Aliases = append(entry.Aliases, modelAlias{a.Name, a.Deprecated, a.Since, a.Reason})
	}
	return entry, reachable && (usable || entry.OwnKey) && inScope(&caller.Key.Scopes, m)
}

// capabilities lists names for an answer, in which a list is never null.
func capabilities(bits uint32) []string { return append([]string{}, catalog.CapabilityNames(bits)...) }

func levelOfTier(tier uint8) string {
	for level := uint8(abi.LevelEco); level <= abi.LevelPrecision; level++ {
		if lo, hi := catalog.LevelTiers(level); lo <= tier && tier <= hi {
			return levelName(level)
		}
	}
	return ""
}

// WriteJSON answers with v.
func WriteJSON(ctx *fasthttp.RequestCtx, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // our own types always marshal
		panic(err)
	}
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.SetBody(body)
}
