// Package together is the adapter for Together AI.
package together

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.together.xyz/v1"

// New returns the adapter. Together's limits move with the traffic, and its logprobs is a number where OpenAI's is a switch.
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:        "together",
		Summary:     "Together AI's OpenAI-compatible API",
		BaseURL:     DefaultBaseURL,
		Body:        provider.BodyRules{MaxTokensField: "max_tokens", KeepInMessages: []string{"reasoning_content"}},
		Unsupported: []string{"logprobs", "top_logprobs", "service_tier", "store", "prediction", "audio", "modalities"},
		Probe:       "/models",
		RateLimits: []provider.RateLimit{
			{Unit: "requests", Limit: "x-ratelimit-limit", Remaining: "x-ratelimit-remaining", Reset: "x-ratelimit-reset"},
			{Unit: "tokens", Limit: "x-tokenlimit-limit", Remaining: "x-tokenlimit-remaining"},
		},
		Errors: []provider.ErrorRule{
			{Status: 422, Contains: "max_new_tokens", Class: provider.ClassContextLength},
			{Status: 413, Class: provider.ClassContextLength}, // prompt and limit exceed the window
			{Contains: `"credit_limit"`, Class: provider.ClassQuota},
			{Status: 403, Contains: "max_new_tokens", Class: provider.ClassContextLength},
			{Status: 429, Contains: "capacity", Class: provider.ClassOverloaded},
		},
	})
}
