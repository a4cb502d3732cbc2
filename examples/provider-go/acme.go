package main

import (
	"context"

	"github.com/pointsman/pointsman/sdk/provider"
)

// acme reaches a provider that speaks OpenAI's dialect: it says how, and the gateway does the rest.
type acme struct{}

// Describe says what the adapter is.
func (acme) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: "acme", Version: "0.1.0", Summary: "Acme's models (example of a direct adapter)"}, nil
}

// Prepare makes the endpoint. The setting region chooses the data centre.
func (acme) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings, "region"); err != nil {
		return nil, err
	}
	region := req.Settings["region"]
	if region == "" {
		region = "eu"
	}
	base, err := provider.BaseURL(req.BaseURL, "https://"+region+".acme.example/v2")
	if err != nil {
		return nil, err
	}
	return &provider.Endpoint{
		Mode:    provider.ModeDirect,
		Dialect: provider.DialectOpenAI,
		BaseURL: base,
		Paths:   map[string]string{"chat": "/chat", "models": "/models"},
		Headers: map[string]string{"Acme-Client": "pointsman"},
		Auth:    provider.Auth{Header: "Authorization", Prefix: "Acme "},
		Body:    provider.BodyRules{StreamUsage: true, Drop: []string{"logprobs"}},
		Errors: []provider.ErrorRule{
			{Status: 400, Contains: "ACME_TOO_LONG", Class: provider.ClassContextLength},
			{Status: 420, Class: provider.ClassRateLimited},
		},
	}, nil
}
