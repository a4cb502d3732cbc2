// Package openrouter is the adapter for OpenRouter, a router itself.
package openrouter

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://openrouter.ai/api/v1"

// New returns the adapter. A request must not name other models than the one that it was priced and routed for, nor buy
// something beside it, so models, fallbacks, route, preset and plugins are dropped. The setting provider is OpenRouter's routing object as
// JSON, for instance {"data_collection":"deny"}, and takes the place of the caller's.
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:    "openrouter",
		Summary: "OpenRouter, with its routing object and the cost it reports",
		BaseURL: DefaultBaseURL,
		Paths:   map[string]string{"responses": "/responses", "messages": "/messages"},
		Body: provider.BodyRules{
			Drop: []string{"models", "fallbacks", "route", "preset", "plugins"}, KeepInMessages: []string{"cache_control", "reasoning_content"},
		},
		Probe:      "/key", // the list of models is public; this tells whether the key works
		RateLimits: []provider.RateLimit{{Unit: "requests", Limit: "x-ratelimit-limit", Remaining: "x-ratelimit-remaining"}},
		Errors: []provider.ErrorRule{
			// The error of the provider behind it is inside, as text.
			{Status: 400, Contains: "context_length_exceeded", Class: provider.ClassContextLength},
			{Status: 400, Contains: "prompt is too long", Class: provider.ClassContextLength},
			{Status: 403, Contains: "moderation", Class: provider.ClassContentFilter},
			{Status: 403, Contains: "Key limit exceeded", Class: provider.ClassQuota},
			{Status: 402, Class: provider.ClassQuota},
			{Status: 404, Contains: "No endpoints found that support", Class: provider.ClassServer}, // these parameters, now
			{Status: 404, Contains: "data policy", Class: provider.ClassAuth},
			{Status: 429, Contains: "temporarily rate-limited upstream", Class: provider.ClassOverloaded},
			{Status: 502, Class: provider.ClassServer},
		},
		Settings: []openai.Setting{
			{Name: "provider", Field: "provider"},
			{Name: "site_url", Header: "HTTP-Referer"},
			{Name: "site_name", Header: "X-Title"},
		},
	})
}
