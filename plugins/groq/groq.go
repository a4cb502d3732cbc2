// Package groq is the adapter for Groq.
package groq

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.groq.com/openai/v1"

// New returns the adapter. Groq refuses every request field it does not know, and some that it does.
func New() *openai.Adapter {
	paths := openai.OperationPaths("speech", "transcriptions", "translations")
	paths["embeddings"] = ""
	return openai.NewAdapter(openai.Definition{
		Name:    "groq",
		Summary: "Groq's OpenAI-compatible API",
		BaseURL: DefaultBaseURL,
		Paths:   paths,
		Body:    provider.BodyRules{MaxTokensField: "max_completion_tokens"},
		Unsupported: []string{
			"logprobs", "top_logprobs", "logit_bias", "audio", "modalities", "prediction", "web_search_options", "verbosity",
			"prompt_cache_key", "safety_identifier",
		},
		Probe:      "/models",
		RateLimits: openai.UsualRateLimits(), // requests a day, tokens a minute; "2m59.56s"
		Errors: []provider.ErrorRule{
			{Status: 400, Contains: "reduce the length of the messages", Class: provider.ClassContextLength},
			{Status: 413, Contains: "reduce the length of the messages", Class: provider.ClassContextLength},
			{Contains: `"organization_restricted"`, Class: provider.ClassAuth},
			{Contains: `"model_permission_blocked`, Class: provider.ClassNotFound},
			{Contains: `"blocked_api_access"`, Class: provider.ClassQuota},
			{Contains: `"capacity_exceeded"`, Class: provider.ClassOverloaded},
			// The model wrote a call or JSON that cannot be read: the request is in order, and another try may do better.
			{Status: 400, Contains: `"tool_use_failed"`, Class: provider.ClassServer},
			{Status: 400, Contains: `"json_validate_failed"`, Class: provider.ClassServer},
		},
		Settings: []openai.Setting{
			{Name: "service_tier", Field: "service_tier"}, // '"flex"'
		},
	})
}
