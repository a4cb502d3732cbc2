package main

import (
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine"
)

// A provider at a private address that the operator did not allow is reached by nothing: no request, no test of a key, no
// probe, no look of the doctor's. Where a request goes is not the request's to say.
func TestPrivateAddressIsReachedByNothing(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.ReplaceAll(toml, "allow_private = true\n", ""), nil)
	resp, body := g.api.post(t, chatPath, ask("m"))
	if resp.StatusCode != 502 || !strings.Contains(body, "provider_unreachable") || strings.Contains(body, "127.0.0.1") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	g.api.storeKey(t, "sk-own-key-1234")
	g.api.post(t, chatPath, ask("m", "stream", true))
	if got := g.api.testKey(t); !strings.HasPrefix(got, "unreachable: ") || strings.Contains(got, "127.0.0.1") {
		t.Error(got)
	}
	if err := g.admin.call("POST", "/api/v1/admin/reach", nil, nil); err != nil {
		t.Error(err)
	}
	e, _, _ := clocked(t, g, engine.ProbeUnknown)
	if e.ProbeDue() != 1 {
		t.Error("no probe was due")
	}
	if up[0].Count() != 0 {
		t.Errorf("%d requests got through", up[0].Count())
	}
	for _, field := range []string{"api_base", "base_url", "baseUrl", "API_BASE", "azure_endpoint", "webhook_url"} {
		resp, body := g.api.post(t, chatPath, ask("m", field, up[0].URL()))
		if resp.StatusCode != 400 || !strings.Contains(body, "unknown_parameter") {
			t.Errorf("%s: %d %s", field, resp.StatusCode, body)
		}
	}
}
