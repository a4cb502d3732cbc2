// Package huggingface is the adapter for the router of Hugging Face's inference providers.
package huggingface

import (
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://router.huggingface.co/v1"

// New returns the adapter. A model's id may end in ":provider", ":fastest" or ":cheapest", which picks who runs it. The list of
// models is public: the probe tells that the router works, not that the key does.
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:    "huggingface",
		Summary: "Hugging Face's router of inference providers",
		BaseURL: DefaultBaseURL,
		Paths:   map[string]string{"embeddings": ""},
		Body:    provider.BodyRules{MaxTokensField: "max_tokens"},
		Probe:   "/models",
		Errors: []provider.ErrorRule{
			{Contains: "exceeded your monthly included credits", Class: provider.ClassQuota},
			{Status: 403, Contains: "sufficient permissions", Class: provider.ClassAuth},
			{Status: 401, Class: provider.ClassAuth},
			{Status: 400, Contains: "not supported by provider", Class: provider.ClassNotFound},
			{Status: 422, Contains: "must have less than", Class: provider.ClassContextLength},
		},
		Settings: []openai.Setting{{Name: "bill_to", Header: "X-HF-Bill-To"}}, // an organization
	})
}
