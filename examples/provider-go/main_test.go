package main

import (
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

func TestConformance(t *testing.T) {
	plugin := providertest.InProcess(t, acme{}, parrot{})
	providertest.Test(t, plugin, providertest.Case{
		Adapter: "acme",
		Prepare: &provider.PrepareRequest{Provider: "acme", Settings: map[string]string{"region": "us"}},
	})
	providertest.Test(t, plugin, providertest.Case{
		Adapter: "parrot",
		Call: &provider.CallRequest{
			Operation: "chat", Model: "m", RequestID: "r", Body: []byte(`{"model":"m","messages":[{"role":"user","content":"say it back"}]}`),
		},
	})
}
