package openai

import (
	"slices"

	"github.com/pointsman/pointsman/sdk/provider"
)

// errorRules are a provider's own rules, then those shared ones that they leave something to.
func errorRules(own []provider.ErrorRule) []provider.ErrorRule {
	rules := slices.Clone(own)
	for _, shared := range sharedRules() {
		covered := slices.ContainsFunc(own, func(r provider.ErrorRule) bool {
			return r.Matches(shared.Status, []byte(shared.Contains))
		})
		if !covered {
			rules = append(rules, shared)
		}
	}
	return rules
}

// sharedRules are OpenAI's codes and the wordings of compatible providers and servers, so that one reached by the generic
// adapter is understood too. They name a status where the text is common enough to occur in a repeated prompt.
func sharedRules() []provider.ErrorRule {
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
