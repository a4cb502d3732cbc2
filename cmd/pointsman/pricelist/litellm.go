package pricelist

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/engine/catalog"
)

// liteLLMRates are LiteLLM's names of rates, in dollars a token.
func liteLLMRates() map[string]catalog.Rate {
	return map[string]catalog.Rate{
		"input_cost_per_token":                       catalog.RateIn,
		"output_cost_per_token":                      catalog.RateOut,
		"cache_read_input_token_cost":                catalog.RateCacheRead,
		"cache_creation_input_token_cost":            catalog.RateCacheWrite,
		"cache_creation_input_token_cost_above_1hr":  catalog.RateCacheWrite1h,
		"cache_creation_input_token_cost_above_12hr": catalog.RateCacheWrite12h,
		"output_cost_per_reasoning_token":            catalog.RateReasoning,
		"input_cost_per_audio_token":                 catalog.RateAudioIn,
		"output_cost_per_audio_token":                catalog.RateAudioOut,
		"input_cost_per_image_token":                 catalog.RateImageIn,
		"output_cost_per_image_token":                catalog.RateImageOut,
	}
}

// A rate may be that of a service or above a threshold, or both.
var (
	liteLLMThreshold = regexp.MustCompile(`_above_([0-9]{1,6})k_tokens`)
	liteLLMService   = regexp.MustCompile(`_(flex|priority|batches|balanced|ultrafast)$`)
)

// readLiteLLM reads one object with a member for each model.
func readLiteLLM(data []byte) (*List, error) {
	var entries map[string]map[string]json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("this is not LiteLLM's list of prices: %w", err)
	}
	l := &List{models: map[string]catalog.Price{}}
	providers, rates := map[string]string{}, liteLLMRates()
	for name, fields := range entries {
		if name == "sample_spec" {
			continue
		}
		var p catalog.Price
		for field, v := range fields {
			if !strings.Contains(field, "cost") || v[0] == 'n' {
				continue
			}
			set := catalog.Set{}
			base := liteLLMService.ReplaceAllStringFunc(field, func(service string) string {
				if set.ServiceTier = service[1:]; service == "_batches" {
					set.ServiceTier = "batch"
				}
				return ""
			})
			if m := liteLLMThreshold.FindStringSubmatch(base); m != nil {
				thousands, _ := strconv.Atoi(m[1]) // digits only
				set.Above = uint32(thousands) * 1000
				base = strings.Replace(base, m[0], "", 1)
			}
			k, ok := rates[base]
			if !ok {
				l.skip(name, field)
				continue
			}
			n, err := rate(v, 1)
			if err != nil {
				return nil, fmt.Errorf("model %.140q: %s: %w", name, field, err)
			}
			set.Rates[k] = n
			p.Add(set)
		}
		var provider string
		if json.Unmarshal(fields["litellm_provider"], &provider) == nil {
			providers[name] = provider
		}
		l.keep(name, p)
	}
	l.find = func(_, provider, upstream string) lookup {
		theirs := map[string]string{"together": "together_ai", "fireworks": "fireworks_ai", "local": "ollama"}[provider]
		if theirs == "" {
			theirs = provider
		}
		at := lookup{names: []string{theirs + "/" + upstream}}
		if providers[upstream] == theirs {
			at.names = append(at.names, upstream)
		}
		return at
	}
	return l, nil
}
