package builtin

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

func TestConformance(t *testing.T) {
	plugin := providertest.InProcess(t, Adapters()...)
	chat := []byte(`{"model":"m","messages":[{"role":"user","content":"Which way to Paris?"}]}`)
	for _, c := range []providertest.Case{
		{Adapter: "openai", Prepare: &provider.PrepareRequest{
			Provider: "openai", Settings: map[string]string{"organization": "org", "project": "p", "stream_usage": "false", "drop": "logprobs, seed"},
		}},
		{Adapter: "anthropic", Prepare: &provider.PrepareRequest{
			Provider: "a", Settings: map[string]string{"beta": "b-1", "version": "2023-06-01", "unsupported": "refuse"},
		}},
		{Adapter: "azure", Prepare: &provider.PrepareRequest{
			Provider: "azure", BaseURL: "https://x.openai.azure.com", Settings: map[string]string{"api_version": "v1", "auth": "token"},
		}},
		{Adapter: "deepinfra"},
		{Adapter: "fireworks", Prepare: &provider.PrepareRequest{
			Provider: "f", Settings: map[string]string{"context_length_exceeded_behavior": `"error"`},
		}},
		{Adapter: "groq", Prepare: &provider.PrepareRequest{
			Provider: "g", Settings: map[string]string{"unsupported": "refuse", "service_tier": `"flex"`},
		}},
		{Adapter: "huggingface", Prepare: &provider.PrepareRequest{Provider: "h", Settings: map[string]string{"bill_to": "org"}}},
		{Adapter: "local"},
		{Adapter: "openrouter", Prepare: &provider.PrepareRequest{
			Provider: "o", Settings: map[string]string{"provider": `{"sort":"price"}`, "site_url": "https://x.example", "site_name": "x"},
		}},
		{Adapter: "together"},
		{Adapter: "simulator", Call: &provider.CallRequest{Operation: "chat", Model: "m", Body: chat, RequestID: "r1"}},
	} {
		providertest.Test(t, plugin, c)
	}
}
