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
		{Adapter: "anthropic", Prepare: &provider.PrepareRequest{Provider: "a", Settings: map[string]string{"beta": "b-1"}}},
		{Adapter: "simulator", Call: &provider.CallRequest{Operation: "chat", Model: "m", Body: chat, RequestID: "r1"}},
	} {
		providertest.Test(t, plugin, c)
	}
}
