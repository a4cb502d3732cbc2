// Package azure is the adapter for OpenAI's models on Azure, where a deployment of the operator's stands for the model.
package azure

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultAPIVersion is the version of the deployments API that is asked for when the operator names none.
const DefaultAPIVersion = "2024-10-21"

// New returns the adapter. base_url is the resource, https://NAME.openai.azure.com. Beside the shared settings it has
// api_version ("v1" for the API without versions, where the deployment is named in the body; the Responses API is there alone)
// and auth ("key", the default, or "token" for a bearer token of Entra ID).
func New() *openai.Adapter {
	return openai.NewAdapter(openai.Definition{
		Name:       "azure",
		Summary:    "OpenAI's models on Azure; a deployment's name is the model's id",
		Auth:       provider.Auth{Header: "api-key"},
		Body:       provider.BodyRules{MaxTokensField: "max_completion_tokens"},
		RateLimits: openai.UsualRateLimits(),
		Errors: []provider.ErrorRule{
			{Contains: "ResponsibleAIPolicyViolation", Class: provider.ClassContentFilter},
			{Contains: `"DeploymentNotFound"`, Class: provider.ClassNotFound},
			{Contains: `"OperationNotSupported"`, Class: provider.ClassNotFound}, // the deployment's model cannot chat
			{Status: 403, Contains: "call volume quota", Class: provider.ClassQuota},
			{Status: 429, Contains: "call volume quota", Class: provider.ClassQuota},
			{Status: 429, Contains: "high demand", Class: provider.ClassOverloaded},
			{Status: 424, Class: provider.ClassServer},
		},
	}).Adjusted(paths, "api_version", "auth")
}

// paths fills in what depends on the version.
func paths(req *provider.PrepareRequest, e *provider.Endpoint) error {
	switch req.Settings["auth"] {
	case "", "key":
	case "token":
		e.Auth = provider.Auth{Header: "Authorization", Prefix: "Bearer "}
	default:
		return fmt.Errorf(`%w: auth must be "key" or "token"`, provider.ErrSetting)
	}
	version := req.Settings["api_version"]
	if version == "" {
		version = DefaultAPIVersion
	}
	e.BaseURL = strings.TrimSuffix(strings.TrimSuffix(e.BaseURL, "/v1"), "/openai")
	if version == "v1" {
		e.Paths = map[string]string{
			"chat": "/openai/v1/chat/completions", "embeddings": "/openai/v1/embeddings", "models": "/openai/v1/models",
			"responses": "/openai/v1/responses",
		}
	} else {
		if !regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`).MatchString(version) {
			return fmt.Errorf(`%w: api_version must be "v1" or a date like %s`, provider.ErrSetting, DefaultAPIVersion)
		}
		query := "?api-version=" + url.QueryEscape(version)
		e.Paths = map[string]string{
			"chat":       "/openai/deployments/{model}/chat/completions" + query,
			"embeddings": "/openai/deployments/{model}/embeddings" + query,
			"models":     "/openai/models" + query,
		}
	}
	e.Probe.Path = e.Paths["models"]
	return nil
}
