package config

import (
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/storage"
)

// prices prints [tariff] and [prices] as far as they say anything.
func (p *printer) prices(c *Config) {
	if c.Tariff != (Tariff{Markups: catalog.DefaultMarkups()}) {
		p.table("[tariff]")
		if c.Tariff.CostPlus {
			p.pair("kind", quote("cost_plus"))
			p.pair("credits_per_usd", c.Tariff.CreditsPerUSD.String())
		}
		markups := ""
		for i, tier := range storage.AccountTiers() {
			if i > 0 {
				markups += ", "
			}
			markups += string(tier) + " = " + strconv.Itoa(int(c.Tariff.Markups[i]))
		}
		p.pair("markup_percent", "{ "+markups+" }")
	}
	if c.Prices.Unpriced != unpricedDeny {
		p.table("[prices]")
		p.pair("unpriced", quote(c.Prices.Unpriced))
	}
	if c.Prices.Default.Given() {
		p.table("[prices.default]")
		p.price("", "prices.default", "chat", c.Prices.Default)
	}
	p.overrides(c, c.Prices.Overrides)
}

// PriceText is [[prices.models]] tables for models of the configuration, as TOML.
func (c *Config) PriceText(overrides []PriceOverride) string {
	var p printer
	p.out.WriteByte('\n')
	p.overrides(c, overrides)
	return strings.TrimPrefix(p.out.String(), "\n")
}

func (p *printer) overrides(c *Config, overrides []PriceOverride) {
	for _, o := range overrides {
		p.table("[[prices.models]]")
		p.pair("name", quote(o.Model))
		if o.Provider != "" {
			p.pair("provider", quote(o.Provider))
		}
		p.price("", "prices.models", c.entry(o.Model).Mode, o.Price)
	}
}

// price prints the prices of a deployment, in the table of that name.
func (p *printer) price(indent, table, mode string, price catalog.Price) {
	rates := func(r catalog.Rates) {
		for k, name := range catalog.RateNames() {
			if text := catalog.RateText(r[k]); text != "" {
				p.pair(indent+"usd_"+name+"_per_1m", text)
			}
		}
	}
	rates(price.Rates)
	if m, _ := catalog.ParseMode(mode); price.Unit > 0 {
		p.pair(indent+"usd_per_"+catalog.UnitName(m), storage.NanoUSD(price.Unit).String())
	}
	for _, s := range price.Sets {
		p.table(indent + "[[" + table + ".prices]]")
		if s.ServiceTier != "" {
			p.pair(indent+"service_tier", quote(s.ServiceTier))
		}
		if s.Above > 0 {
			p.pair(indent+"above", strconv.FormatUint(uint64(s.Above), 10))
		}
		rates(s.Rates)
	}
}

// unpricedOf is what a model's deployments without prices are priced as, "" if all have some or are local anyway.
func unpricedOf(e catalog.Entry) catalog.Unpriced {
	for _, d := range e.Deployments {
		if d.Unpriced != "" && !d.Local {
			return d.Unpriced
		}
	}
	return ""
}
