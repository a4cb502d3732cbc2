// Package anthropic is the adapter for Anthropic's Messages API.
package anthropic

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	// DefaultBaseURL is used when the operator configures none.
	DefaultBaseURL = "https://api.anthropic.com/v1"
	// DefaultMaxTokens is sent when the caller gives no limit, which the API demands.
	DefaultMaxTokens = 4096

	// DefaultVersion is the version of the API that is asked for when the operator names none.
	DefaultVersion = "2023-06-01"
)

// Adapter reaches Anthropic. It is safe for concurrent use.
type Adapter struct{ client *egress.Client }

// New returns the adapter.
func New() *Adapter { return &Adapter{client: egress.New()} }

// Describe says what the adapter is.
func (*Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: "anthropic", Version: "1.0.0", Summary: "Anthropic's Messages API"}, nil
}

// Prepare makes a direct endpoint. The settings are beta (the value of the anthropic-beta header), version (of the API, a date)
// and unsupported: what this API has no field for is dropped in translation and named; with unsupported = "refuse" the fields
// that change what is asked for are refused instead.
func (*Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings, "beta", "version", "unsupported"); err != nil {
		return nil, err
	}
	base, err := provider.BaseURL(req.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, err
	}
	var refuse []string
	switch req.Settings["unsupported"] {
	case "", "drop":
	case "refuse":
		refuse = []string{
			"logprobs", "top_logprobs", "logit_bias", "seed", "frequency_penalty", "presence_penalty", "prediction", "audio",
			"modalities", "web_search_options",
		}
	default:
		return nil, fmt.Errorf(`%w: unsupported must be "drop" or "refuse"`, provider.ErrSetting)
	}
	version := req.Settings["version"]
	if version == "" {
		version = DefaultVersion
	}
	if !regexp.MustCompile(`^\d{4}-\d{2}-\d{2}$`).MatchString(version) {
		return nil, fmt.Errorf("%w: version must be a date like %s", provider.ErrSetting, DefaultVersion)
	}
	if strings.ContainsAny(req.Settings["beta"], "\r\n") {
		return nil, fmt.Errorf("%w: beta must be one line", provider.ErrSetting)
	}
	headers := map[string]string{"anthropic-version": version}
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
		Body:    provider.BodyRules{StreamUsage: true, DefaultMaxTokens: DefaultMaxTokens, Refuse: refuse},
		Errors:  errorRules(),
		Probe:   provider.Probe{Path: "/models?limit=1"},
		RateLimits: []provider.RateLimit{
			rateLimit("requests", "requests"), rateLimit("tokens", "input-tokens"), rateLimit("tokens", "output-tokens"),
		},
	}, nil
}

// rateLimit are the headers of one of the limits; they tell the time of the reset.
func rateLimit(unit, name string) provider.RateLimit {
	prefix := "anthropic-ratelimit-" + name
	return provider.RateLimit{Unit: unit, Limit: prefix + "-limit", Remaining: prefix + "-remaining", Reset: prefix + "-reset"}
}

// Models lists the models.
func (a *Adapter) Models(ctx context.Context, req *provider.ModelsRequest) ([]provider.Model, error) {
	e, err := a.Prepare(ctx, &provider.PrepareRequest{Provider: req.Provider, BaseURL: req.BaseURL, Settings: req.Settings})
	if err != nil {
		return nil, err
	}
	body, err := openai.Get(ctx, a.client, e, e.Paths["models"]+"?limit=1000", req)
	if err != nil {
		return nil, err
	}
	return openai.ReadModels(body)
}

// errorRules tell the API's many invalid_request_errors apart and read its error types, which also occur inside a
// stream, where there is no status.
func errorRules() []provider.ErrorRule {
	return []provider.ErrorRule{
		{Status: 413, Class: provider.ClassContextLength},
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
