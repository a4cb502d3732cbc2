// Package anthropic is the adapter for Anthropic's Messages API.
package anthropic

import (
	"context"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	// DefaultBaseURL is used when the operator configures none.
	DefaultBaseURL = "https://api.anthropic.com/v1"
	// DefaultMaxTokens is sent when the caller gives no limit, which the API demands.
	DefaultMaxTokens = 4096

	apiVersion = "2023-06-01"
)

// Adapter reaches Anthropic. It is safe for concurrent use.
type Adapter struct{}

// New returns the adapter.
func New() *Adapter { return &Adapter{} }

// Describe says what the adapter is.
func (*Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: "anthropic", Version: "1.0.0", Summary: "Anthropic's Messages API"}, nil
}

// Prepare makes a direct endpoint. The setting is beta, the value of the anthropic-beta header.
func (*Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings, "beta"); err != nil {
		return nil, err
	}
	base, err := provider.BaseURL(req.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{"anthropic-version": apiVersion}
	if beta := req.Settings["beta"]; beta != "" {
		headers["anthropic-beta"] = beta
	}
	return &provider.Endpoint{
		Mode:    provider.ModeDirect,
		Dialect: provider.DialectAnthropic,
		BaseURL: base,
		Paths:   map[string]string{"chat": "/messages", "models": "/models"},
		Headers: headers,
		Auth:    provider.Auth{Header: "x-api-key"},
		Body:    provider.BodyRules{StreamUsage: true, DefaultMaxTokens: DefaultMaxTokens},
		Errors:  errorRules(),
	}, nil
}

// errorRules tell the API's many invalid_request_errors apart and read its error types, which also occur inside a
// stream, where there is no status.
func errorRules() []provider.ErrorRule {
	return []provider.ErrorRule{
		{Status: 400, Contains: "prompt is too long", Class: provider.ClassContextLength},
		{Status: 400, Contains: "exceed context limit", Class: provider.ClassContextLength},
		{Status: 400, Contains: "exceeds the maximum context", Class: provider.ClassContextLength},
		{Status: 400, Contains: "credit balance is too low", Class: provider.ClassQuota},
		{Status: 400, Contains: "usage limits", Class: provider.ClassQuota},
		{Status: 400, Contains: "content filtering policy", Class: provider.ClassContentFilter},
		{Contains: `"billing_error"`, Class: provider.ClassQuota},
		{Contains: `"overloaded_error"`, Class: provider.ClassOverloaded},
		{Contains: `"rate_limit_error"`, Class: provider.ClassRateLimited},
		{Contains: `"authentication_error"`, Class: provider.ClassAuth},
		{Contains: `"permission_error"`, Class: provider.ClassAuth},
		{Status: 404, Contains: `"not_found_error"`, Class: provider.ClassNotFound},
		{Contains: `"timeout_error"`, Class: provider.ClassServer},
		{Contains: `"api_error"`, Class: provider.ClassServer},
		{Contains: `"invalid_request_error"`, Class: provider.ClassBadRequest},
	}
}
