// Package fireworks is the adapter for Fireworks AI.
package fireworks

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.fireworks.ai/inference/v1"

// New returns the adapter. Fireworks refuses fields it does not know, and by itself lowers an output limit that does not fit
// instead of refusing it.
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:    "fireworks",
		Summary: "Fireworks AI's OpenAI-compatible API",
		BaseURL: DefaultBaseURL,
		Body:    provider.BodyRules{MaxTokensField: "max_tokens", KeepInMessages: []string{"reasoning_content"}},
		Unsupported: []string{
			"store", "audio", "modalities", "web_search_options", "verbosity", "safety_identifier", "service_tier",
		},
		Probe: "/models",
		RateLimits: []provider.RateLimit{
			{Unit: "requests", Limit: "x-ratelimit-limit-requests", Remaining: "x-ratelimit-remaining-requests"},
			{Unit: "tokens", Limit: "x-ratelimit-limit-tokens-prompt", Remaining: "x-ratelimit-remaining-tokens-prompt"},
		},
		Errors: []provider.ErrorRule{
			{Status: 400, Contains: "prompt is too long", Class: provider.ClassContextLength},
			{Status: 412, Class: provider.ClassQuota}, // the account is suspended, or its budget spent
			{Status: 404, Contains: "inaccessible", Class: provider.ClassNotFound},
			{Status: 425, Class: provider.ClassOverloaded}, // a deployment that is still scaling up
		},
		Settings: []openai.Setting{
			{Name: "context_length_exceeded_behavior", Field: "context_length_exceeded_behavior"}, // '"error"'
		},
	})
}
