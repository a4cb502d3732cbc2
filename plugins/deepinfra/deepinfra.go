// Package deepinfra is the adapter for DeepInfra.
package deepinfra

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.deepinfra.com/v1/openai"

// New returns the adapter. DeepInfra limits requests under way, not requests a minute, so there are no headers of what is left,
// and words some errors as {"detail":{"error":…}}.
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:        "deepinfra",
		Summary:     "DeepInfra's OpenAI-compatible API",
		BaseURL:     DefaultBaseURL,
		Body:        provider.BodyRules{MaxTokensField: "max_tokens", KeepInMessages: []string{"reasoning_content"}},
		Unsupported: []string{"logit_bias", "top_logprobs", "prediction", "audio", "modalities", "store", "web_search_options"},
		Probe:       "/models",
		Errors: []provider.ErrorRule{
			{Contains: "inference prohibited", Class: provider.ClassQuota},
			{Contains: "insufficient balance", Class: provider.ClassQuota},
			{Status: 429, Contains: "Model busy", Class: provider.ClassOverloaded},
			{Status: 400, Contains: "is not available", Class: provider.ClassNotFound},
			{Status: 400, Contains: "exceeds the model's maximum", Class: provider.ClassContextLength},
			{Status: 422, Contains: "max_new_tokens", Class: provider.ClassContextLength},
		},
		Settings: []openai.Setting{
			{Name: "service_tier", Field: "service_tier"}, // '"priority"'
		},
	})
}
