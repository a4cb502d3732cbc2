// Package openai is the adapter for OpenAI and for every provider or local server that speaks its API: they differ in
// the base URL, which the operator configures, and in how they word their errors.
package openai

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is used when the operator configures none.
const DefaultBaseURL = "https://api.openai.com/v1"

// Adapter reaches a provider that speaks OpenAI's API. It is safe for concurrent use.
type Adapter struct{}

// New returns the adapter.
func New() *Adapter { return &Adapter{} }

// Describe says what the adapter is.
func (*Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{
		Name: "openai", Version: "1.0.0", Summary: "OpenAI and every API compatible with it; set base_url for the others",
	}, nil
}

// Prepare makes a direct endpoint. The settings are organization and project (OpenAI's headers), stream_usage ("false"
// for servers that refuse stream_options), max_tokens_field (the name of the output limit) and drop (comma-separated
// request fields that the server refuses).
func (*Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings, "organization", "project", "stream_usage", "max_tokens_field", "drop"); err != nil {
		return nil, err
	}
	base, err := provider.BaseURL(req.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, err
	}
	streamUsage := true
	if text := req.Settings["stream_usage"]; text != "" {
		if streamUsage, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("%w: stream_usage must be true or false", provider.ErrSetting)
		}
	}
	headers := map[string]string{}
	if v := req.Settings["organization"]; v != "" {
		headers["OpenAI-Organization"] = v
	}
	if v := req.Settings["project"]; v != "" {
		headers["OpenAI-Project"] = v
	}
	maxTokensField := req.Settings["max_tokens_field"]
	if u, err := url.Parse(base); maxTokensField == "" && err == nil && u.Hostname() == "api.openai.com" {
		maxTokensField = "max_completion_tokens" // reasoning models refuse max_tokens
	}
	return &provider.Endpoint{
		Mode:    provider.ModeDirect,
		Dialect: provider.DialectOpenAI,
		BaseURL: base,
		Paths: map[string]string{
			"chat": "/chat/completions", "embeddings": "/embeddings", "models": "/models", "responses": "/responses",
		},
		Headers: headers,
		Auth:    provider.Auth{Header: "Authorization", Prefix: "Bearer "},
		Body:    provider.BodyRules{StreamUsage: streamUsage, MaxTokensField: maxTokensField, Drop: dropped(req)},
		Errors:  errorRules(),
	}, nil
}

func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// errorRules are OpenAI's codes and the wordings of compatible providers and servers. They name a status where the text
// is common enough to occur in a repeated prompt.
func errorRules() []provider.ErrorRule {
	return []provider.ErrorRule{
		// The prompt does not fit.
		{Contains: `"context_length_exceeded"`, Class: provider.ClassContextLength},
		{Contains: `"exceed_context_size_error"`, Class: provider.ClassContextLength},               // llama.cpp
		{Status: 400, Contains: "maximum context length", Class: provider.ClassContextLength},       // vLLM, OpenRouter, Ollama
		{Status: 400, Contains: "maximum allowed input length", Class: provider.ClassContextLength}, // SGLang
		{Status: 400, Contains: "model max context", Class: provider.ClassContextLength},
		{Status: 400, Contains: "exceeds the context", Class: provider.ClassContextLength},
		{Status: 422, Contains: "`max_new_tokens` must be", Class: provider.ClassContextLength}, // Together, Hugging Face
		{Status: 400, Contains: "`max_new_tokens` must be", Class: provider.ClassContextLength},

		// Refused for what it says.
		{Contains: `"content_filter"`, Class: provider.ClassContentFilter},
		{Contains: `"content_policy_violation"`, Class: provider.ClassContentFilter},
		{Status: 403, Contains: "flagged", Class: provider.ClassContentFilter}, // OpenRouter's moderation

		// The operator's account with the provider.
		{Contains: `"insufficient_quota"`, Class: provider.ClassQuota},
		{Contains: `"billing_hard_limit_reached"`, Class: provider.ClassQuota},
		{Contains: `"billing_not_active"`, Class: provider.ClassQuota},
		{Status: 403, Contains: "insufficient balance", Class: provider.ClassQuota},
		{Status: 412, Contains: "suspended", Class: provider.ClassQuota}, // Fireworks
		{Contains: `"invalid_api_key"`, Class: provider.ClassAuth},
		{Status: 400, Contains: "Incorrect API key", Class: provider.ClassAuth},

		// The model.
		{Contains: `"model_not_found"`, Class: provider.ClassNotFound},
		{Contains: `"model_not_available"`, Class: provider.ClassNotFound},                         // Together
		{Contains: `"model_decommissioned"`, Class: provider.ClassNotFound},                        // Groq
		{Contains: `"model_not_supported"`, Class: provider.ClassNotFound},                         // Hugging Face
		{Status: 400, Contains: "is not a valid model ID", Class: provider.ClassNotFound},          // OpenRouter
		{Status: 400, Contains: "is not supported by any provider", Class: provider.ClassNotFound}, // Hugging Face

		// Come back later.
		{Contains: `"rate_limit_exceeded"`, Class: provider.ClassRateLimited}, // Groq: 413 above its tokens a minute
		{Status: 429, Contains: "overloaded", Class: provider.ClassOverloaded},
		{Status: 429, Contains: "no capacity", Class: provider.ClassOverloaded},
		{Status: 498, Class: provider.ClassOverloaded}, // Groq's flex tier
	}
}

// dropped names the request fields that are taken out. OpenRouter would let a request name other models than the one it
// was priced and routed for.
func dropped(req *provider.PrepareRequest) []string {
	fields := list(req.Settings["drop"])
	if req.Provider == "openrouter" {
		fields = append(fields, "models", "route")
	}
	return fields
}
