package pricelist

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
)

// genAIRates are the names that genai-prices has for rates, in dollars per million tokens.
func genAIRates() map[string]catalog.Rate {
	return map[string]catalog.Rate{
		"input_mtok":            catalog.RateIn,
		"output_mtok":           catalog.RateOut,
		"cache_read_mtok":       catalog.RateCacheRead,
		"cache_write_mtok":      catalog.RateCacheWrite,
		"cache_write_1h_mtok":   catalog.RateCacheWrite1h,
		"output_reasoning_mtok": catalog.RateReasoning,
		"input_audio_mtok":      catalog.RateAudioIn,
		"output_audio_mtok":     catalog.RateAudioOut,
		"input_image_mtok":      catalog.RateImageIn,
		"output_image_mtok":     catalog.RateImageOut,
	}
}

type genAIProvider struct {
	ID     string `json:"id"`
	Models []struct {
		ID       string          `json:"id"`
		Match    genAIMatch      `json:"match"`
		Prices   json.RawMessage `json:"prices"`
		Variants []genAIPrices   `json:"price_variants"`
	} `json:"models"`
}

// genAIPrices are prices under a condition.
type genAIPrices struct {
	When       map[string]string          `json:"when"`
	Constraint map[string]json.RawMessage `json:"constraint"`
	Prices     map[string]json.RawMessage `json:"prices"`
}

// holds tells whether the prices are in force: those for certain hours of a day never are, as only some requests pay them.
func (p *genAIPrices) holds(now time.Time) bool {
	if len(p.Constraint) == 0 {
		return true
	}
	var from string
	if json.Unmarshal(p.Constraint["start_date"], &from) != nil {
		return false
	}
	start, err := time.Parse(time.DateOnly, from)
	return err == nil && !now.Before(start)
}

// genAIMatch describes names of models.
type genAIMatch struct {
	Equals     *string      `json:"equals"`
	StartsWith *string      `json:"starts_with"`
	EndsWith   *string      `json:"ends_with"`
	Contains   *string      `json:"contains"`
	Regex      *string      `json:"regex"`
	Or         []genAIMatch `json:"or"`
	And        []genAIMatch `json:"and"`
}

// matches tells whether a name in lower case is described.
func (m *genAIMatch) matches(name string) bool {
	switch {
	case m.Equals != nil:
		return name == strings.ToLower(*m.Equals)
	case m.StartsWith != nil:
		return strings.HasPrefix(name, strings.ToLower(*m.StartsWith))
	case m.EndsWith != nil:
		return strings.HasSuffix(name, strings.ToLower(*m.EndsWith))
	case m.Contains != nil:
		return strings.Contains(name, strings.ToLower(*m.Contains))
	case m.Regex != nil:
		ok, err := regexp.MatchString(*m.Regex, name)
		return ok && err == nil // one that Go does not have matches nothing
	}
	for i := range m.Or {
		if m.Or[i].matches(name) {
			return true
		}
	}
	for i := range m.And {
		if !m.And[i].matches(name) {
			return false
		}
	}
	return len(m.And) > 0
}

// readGenAI reads a list of providers, each with its models.
func readGenAI(data []byte, now time.Time) (*List, error) {
	var providers []genAIProvider
	if err := json.Unmarshal(data, &providers); err != nil {
		return nil, fmt.Errorf("this is not the list of prices of genai-prices: %w", err)
	}
	l := &List{models: map[string]catalog.Price{}}
	rules := map[string][]rule{} // by provider
	for i := range providers {
		provider := &providers[i]
		for j := range provider.Models {
			m := &provider.Models[j]
			name := provider.ID + "/" + m.ID
			var p catalog.Price
			conditional := []genAIPrices{{}}
			err := json.Unmarshal(m.Prices, &conditional[0].Prices)
			if err != nil {
				err = json.Unmarshal(m.Prices, &conditional)
			}
			for k := range conditional {
				if c := &conditional[k]; err == nil && c.holds(now) { // the last one that holds counts
					p = catalog.Price{}
					err = l.genAIPrice(name, &p, "", c.Prices)
				}
			}
			for k := range m.Variants {
				service := m.Variants[k].When["service_tier"]
				switch {
				case m.Variants[k].When["processing"] == "batch":
					service = "batch"
				case service == "fast": // OpenAI's other name of it
					service = "priority"
				}
				if err == nil && len(m.Variants[k].When) == 1 && service != "" && service != "default" && m.Variants[k].holds(now) {
					err = l.genAIPrice(name, &p, service, m.Variants[k].Prices)
				}
			}
			if err != nil {
				return nil, fmt.Errorf("model %.140q: %w", name, err)
			}
			l.keep(name, p)
			if _, kept := l.models[name]; kept {
				rules[provider.ID] = append(rules[provider.ID], rule{name, m.Match.matches})
			}
		}
	}
	l.find = func(_, provider, upstream string) lookup {
		switch model, router, routed := strings.Cut(upstream, ":"); {
		case provider == "bedrock":
			provider = "aws"
		case provider == "huggingface" && routed: // who serves it stands behind the model
			provider, upstream = "huggingface_"+router, model
		}
		return lookup{[]string{provider + "/" + upstream}, rules[provider], upstream}
	}
	return l, nil
}

// genAIPrice adds the prices of a service. Each is a number, or one below and some above thresholds.
func (l *List) genAIPrice(name string, p *catalog.Price, service string, prices map[string]json.RawMessage) error {
	for field, v := range prices {
		k, ok := genAIRates()[field]
		if !ok {
			l.skip(name, field)
			continue
		}
		var stepped struct {
			Base  json.RawMessage `json:"base"`
			Tiers []struct {
				Start uint32          `json:"start"`
				Price json.RawMessage `json:"price"`
			} `json:"tiers"`
		}
		if v[0] != '{' {
			stepped.Base = v
		} else if err := json.Unmarshal(v, &stepped); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
		add := func(above uint32, price json.RawMessage) error {
			n, err := rate(price, 1_000_000)
			if err != nil {
				return fmt.Errorf("%s: %w", field, err)
			}
			set := catalog.Set{ServiceTier: service, Above: above}
			set.Rates[k] = n
			p.Add(set)
			return nil
		}
		if err := add(0, stepped.Base); err != nil {
			return err
		}
		for _, tier := range stepped.Tiers {
			if err := add(tier.Start, tier.Price); err != nil {
				return err
			}
		}
	}
	return nil
}
