package azure

import (
	"context"
	"errors"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		name, base string
		settings   map[string]string
		chat, auth string // whole address, header
	}{
		{"default", "https://r.openai.azure.com", nil, "https://r.openai.azure.com/openai/deployments/{model}/chat/completions?api-version=2024-10-21", "api-key"},
		{"as the portal shows it", "https://r.openai.azure.com/openai/v1/", map[string]string{"api_version": "v1"}, "https://r.openai.azure.com/openai/v1/chat/completions", "api-key"},
		{"preview, token", "https://r.openai.azure.com/openai", map[string]string{"api_version": "2025-04-01-preview", "auth": "token"}, "https://r.openai.azure.com/openai/deployments/{model}/chat/completions?api-version=2025-04-01-preview", "Authorization"},
	} {
		e, err := New().Prepare(context.Background(), &provider.PrepareRequest{BaseURL: test.base, Settings: test.settings})
		if err != nil || e.BaseURL+e.Paths["chat"] != test.chat || e.Auth.Header != test.auth || e.Probe.Path != e.Paths["models"] {
			t.Errorf("%s: %+v, %v", test.name, e, err)
		}
	}
	e, err := New().Prepare(context.Background(), &provider.PrepareRequest{
		BaseURL: "https://r.openai.azure.com", Settings: map[string]string{"api_version": "v1", "api": "responses"},
	})
	if err != nil || e.Dialect != provider.DialectResponses || e.Paths["chat"] != "/openai/v1/responses" {
		t.Errorf("Responses: %+v, %v", e, err)
	}
	for _, settings := range []map[string]string{{"api": "responses"}, {"api_version": "latest"}, {"api_version": "2024-10-21&x=y"}, {"auth": "none"}} {
		if _, err := New().Prepare(context.Background(), &provider.PrepareRequest{BaseURL: "https://r.openai.azure.com", Settings: settings}); !errors.Is(err, provider.ErrSetting) {
			t.Errorf("%v: %v", settings, err)
		}
	}
	if _, err := New().Prepare(context.Background(), &provider.PrepareRequest{}); !errors.Is(err, provider.ErrSetting) {
		t.Errorf("no resource: %v", err)
	}
}
