package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/pointsman/pointsman/storage"
)

// sheet is everything that cost and charge of a deployment's answers follow from, with amounts as decimals. Its JSON is kept
// beside the records; what it leaves out is nothing or not listed.
type sheet struct {
	Model          string            `json:"model"`
	Provider       string            `json:"provider"`
	Upstream       string            `json:"upstream"`
	Unpriced       Unpriced          `json:"unpriced,omitempty"`
	CreditsPer1K   string            `json:"credits_per_1k"`
	Unit           string            `json:"unit,omitempty"`
	CreditsPerUnit string            `json:"credits_per_unit,omitempty"`
	CreditsPerUSD  string            `json:"credits_per_usd,omitempty"`
	Markup         map[string]Markup `json:"markup_percent,omitempty"` // by account tier, where users are charged by the cost
	USDPer1M       map[string]string `json:"usd_per_1m,omitempty"`     // by the names of the rates
	Sets           []sheetSet        `json:"sets,omitempty"`
	USDPerUnit     string            `json:"usd_per_unit,omitempty"`
}

type sheetSet struct {
	ServiceTier string            `json:"service_tier,omitempty"`
	Above       uint32            `json:"price_above,omitempty"`
	USDPer1M    map[string]string `json:"usd_per_1m"`
}

// Sheet is the deployment's prices and tariff as a JSON document, and its version: 16 hexadecimal digits that no other
// document has.
func (d *Deployment) Sheet(markups Markups) (version string, document []byte) {
	m := d.Model
	s := sheet{
		Model: m.Name, Provider: d.Provider, Upstream: d.Upstream, Unpriced: d.Unpriced, CreditsPer1K: m.Rate.String(), Unit: UnitName(m.Mode),
		USDPer1M: d.Price.Rates.texts(),
	}
	if m.UnitRate > 0 {
		s.CreditsPerUnit = m.UnitRate.String()
	}
	if m.CostRate > 0 {
		s.CreditsPerUSD, s.Markup = m.CostRate.String(), map[string]Markup{}
		for i, tier := range storage.AccountTiers() {
			s.Markup[string(tier)] = markups[i]
		}
	}
	if d.Price.Unit > 0 {
		s.USDPerUnit = storage.NanoUSD(d.Price.Unit).String()
	}
	for _, set := range d.Price.Sets {
		s.Sets = append(s.Sets, sheetSet{set.ServiceTier, set.Above, set.Rates.texts()})
	}
	document, err := json.Marshal(s)
	if err != nil { // texts and numbers always marshal
		panic(err)
	}
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:8]), document
}

// texts are the rates that are listed, by their names.
func (r *Rates) texts() map[string]string {
	listed := map[string]string{}
	for k, n := range r {
		if n != 0 {
			listed[RateNames()[k]] = RateText(n)
		}
	}
	return listed
}
