// Package openai holds the adapter for OpenAI, which serves every other API compatible with it too, and what the adapters of
// compatible providers share: each of them is a [Definition] of how it differs.
package openai

import (
	"net/url"
	"strings"

	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.openai.com/v1"

// New returns the adapter for OpenAI and for servers that no other adapter knows. Beside the shared settings it has organization
// and project (OpenAI's headers). At another address than OpenAI's it declares nothing that only OpenAI does; the Responses API
// is asked there if api says so.
func New() *Adapter {
	paths := OperationPaths()
	paths["responses"] = "/responses"
	return NewAdapter(Definition{
		Name:    "openai",
		Summary: "OpenAI and every API compatible with it; set base_url for the others",
		BaseURL: DefaultBaseURL,
		Paths:   paths,
		Probe:   "/models",
		Errors: []provider.ErrorRule{
			{Status: 401, Contains: "missing scopes", Class: provider.ClassAuth},
			{Status: 403, Contains: `"unsupported_country_region_territory"`, Class: provider.ClassAuth},
			{Status: 400, Contains: `"invalid_prompt"`, Class: provider.ClassContentFilter}, // reasoning models' own filter
			{Status: 503, Contains: "Slow Down", Class: provider.ClassRateLimited},
		},
		RateLimits: UsualRateLimits(),
		Settings: []Setting{
			{Name: "organization", Header: "OpenAI-Organization"},
			{Name: "project", Header: "OpenAI-Project"},
		},
	}).Adjusted(whereItIs)
}

// whereItIs tells OpenAI itself from what is compatible with it.
func whereItIs(req *provider.PrepareRequest, e *provider.Endpoint) error {
	u, err := url.Parse(e.BaseURL)
	if err != nil {
		return nil // checked before
	}
	switch host := u.Hostname(); {
	case host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com"):
		if req.Settings["max_tokens_field"] == "" {
			e.Body.MaxTokensField = "max_completion_tokens" // reasoning models refuse max_tokens
		}
		return nil
	case host == "openrouter.ai" || req.Provider == "openrouter":
		// A request would name other models there than the one it was priced and routed for.
		e.Body.Drop = append(e.Body.Drop, "models", "route")
	}
	if req.Settings["api"] != "responses" {
		delete(e.Paths, "responses") // many servers have chat completions alone
	}
	return nil
}
