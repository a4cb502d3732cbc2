// Package catalog holds what the gateway knows about models before any traffic: names, aliases, tiers, deployments at
// providers, the price function (what a provider charges the operator) and the tariff (what a user is charged in credits).
//
// Everything here is pure: [Build] turns declarative entries into an immutable [Catalog], and nothing reads a clock, a
// file or the environment. The built-in models are an embedded table, see [Builtin].
//
// # Names
//
// A request names a model in one of three ways, tried in this order: an exact model name, an alias, or a pin
// "provider/NAME" where NAME is a model name, an alias or the provider's own id of the model. A retired name is an alias
// with Deprecated set: callers must tell the user. An alias is never silently dearer than the name it stands for: the
// built-in replacements list at the same price or lower, and the answer names the model that was charged.
package catalog

import (
	"cmp"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/storage"
)

// Entry declares one model. It is what the built-in table and the configuration file are read into.
type Entry struct {
	Name         string
	Mode         string          // a name of [ModeNames]; "" is "chat"
	Tier         int             // 0..5
	CreditsPer1K storage.Credits // micro-credits per 1,000 tokens
	// CreditsPerUnit and CreditsPerUSD are micro-credits for a unit of the mode, see [UnitName], and for a dollar of cost.
	CreditsPerUnit, CreditsPerUSD storage.Credits

	ContextWindow uint32   // tokens
	MaxOutput     uint32   // tokens, 0 unknown
	Capabilities  []string // names of [CapabilityNames]
	Strengths     []string // names of [StrengthNames]
	Quality       float32  // 0 < Quality <= 1; 0: the prior of the tier, see [QualityPrior]
	Aliases       []Alias
	Deployments   []DeploymentEntry // at least one
	Timeouts      Timeouts          // of its deployments that say nothing else
	Core          bool              // one of the 28 built-in models of the provider table
}

// DeploymentEntry declares where a model is served.
type DeploymentEntry struct {
	Provider string
	Upstream string // the provider's id of the model
	Price    Price
	Unpriced Unpriced
	Local    bool // runs on the operator's own machines: fit for requests that must stay private
	Timeouts Timeouts
}

// Timeouts bound the stages of an answer, each by itself. Zero: what the model says, then what the provider says.
type Timeouts struct {
	Connect      time.Duration // the lookup of the name included
	TLS          time.Duration // the handshake
	FirstByte    time.Duration // from the request sent to the first byte of the answer
	FirstContent time.Duration // of a stream, while another candidate could still take over
	Idle         time.Duration // between two pieces of the answer
	Total        time.Duration // from the beginning to the last byte
}

// Or fills in from other what is zero.
func (t Timeouts) Or(other Timeouts) Timeouts {
	return Timeouts{
		Connect: cmp.Or(t.Connect, other.Connect), TLS: cmp.Or(t.TLS, other.TLS), FirstByte: cmp.Or(t.FirstByte, other.FirstByte),
		FirstContent: cmp.Or(t.FirstContent, other.FirstContent), Idle: cmp.Or(t.Idle, other.Idle), Total: cmp.Or(t.Total, other.Total),
	}
}

// Unpriced is why a deployment may serve although nobody has said what it costs, "" if somebody has.
type Unpriced string

// The reasons.
const (
	UnpricedFree    Unpriced = "free"    // the operator says that it costs nothing
	UnpricedDefault Unpriced = "default" // the operator's default prices are assumed
)

// Catalog is every model and deployment that can be routed to. It is immutable and safe for concurrent use.
type Catalog struct {
	Models      []*Model      // in the order of the entries; Model.Number is the index
	Deployments []*Deployment // in the order of the entries; Deployment.Index is the index
	Providers   []string      // in order of first use; Deployment.ProviderNumber is the index

	byName map[string]Resolution
}

// Model is one model users can ask for. It is immutable.
type Model struct {
	Number        uint16
	Name          string
	Mode          uint8           // abi.Mode*
	Tier          uint8           // 0..5
	Rate          storage.Credits // micro-credits per 1,000 tokens
	UnitRate      storage.Credits // micro-credits for a unit of the mode, see [UnitName]
	CostRate      storage.Credits // micro-credits for a dollar of what the provider charges, before the markup
	ContextWindow uint32          // tokens
	MaxOutput     uint32          // tokens, 0 unknown
	Capabilities  uint32          // abi.Cap* bits
	Strengths     uint32          // 1<<abi.Task* bits
	Quality       float32         // 0..1
	Deployments   []*Deployment
	Aliases       []*Alias
	Core          bool
}

// Deployment is one model at one provider. It is immutable.
type Deployment struct {
	Index          int
	Model          *Model
	Provider       string
	ProviderNumber uint16
	Upstream       string
	Price          Price
	Unpriced       Unpriced
	Timeouts       Timeouts
	Key            uint64 // FNV-1a of "model|provider|upstream": the same across restarts and configurations
	Local          bool
}

// Alias is another name of a model. In an [Entry] Target is nil; [Build] fills it.
type Alias struct {
	Name       string
	Since      string // when a retired name left the catalog, "2026-11"
	Reason     string
	Target     *Model
	Deprecated bool // a retired name: answers carry a notice
}

// Resolution is what a name in a request stands for.
type Resolution struct {
	Model    *Model
	Alias    *Alias // nil unless the name, without its pin, was an alias
	Provider string // the only provider that may serve it, "" for any
}

// Resolve finds what name stands for, in the order given in the package documentation. It does not know "auto" and the
// power levels: those are no models. It does not allocate.
func (c *Catalog) Resolve(name string) (Resolution, bool) {
	r, ok := c.byName[name]
	return r, ok
}

// Candidates gives the static facts of every deployment for a policy snapshot, in the order of c.Deployments. The slice
// is the caller's; the live fields are zero.
func (c *Catalog) Candidates() []policy.Candidate {
	out := make([]policy.Candidate, len(c.Deployments))
	for i, d := range c.Deployments {
		m := d.Model
		out[i] = policy.Candidate{
			Key:            d.Key,
			Model:          m.Number,
			Provider:       d.ProviderNumber,
			Tier:           m.Tier,
			Mode:           m.Mode,
			Capabilities:   m.Capabilities,
			Strengths:      m.Strengths,
			ContextWindow:  m.ContextWindow,
			MaxOutput:      m.MaxOutput,
			CreditsPer1K:   int64(d.Per1K()),
			PriceIn:        d.Price.Rate(RateIn),
			PriceOut:       d.Price.Rate(RateOut),
			PriceCacheRead: d.Price.Rate(RateCacheRead),
			Quality:        m.Quality,
			ModelName:      m.Name,
			ProviderName:   d.Provider,
		}
		if d.Local {
			out[i].Flags |= abi.CandidateLocal
		}
	}
	return out
}
