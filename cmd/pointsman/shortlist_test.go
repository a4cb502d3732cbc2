package main

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// largeCatalog is a catalog of 200 models at one provider, the last four of which alone can see, but that each tenth one is at another provider, for which nobody has a key.
func largeCatalog(t *testing.T) (up *scripted.Server, toml string) {
	t.Helper()
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	var b strings.Builder
	fmt.Fprintf(&b, "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n[providers.mine]\nadapter = \"openai\"\nbase_url = %q\napi_key = \"sk-platform-canary\"\nallow_private = true\n", up.URL()+"/v1")
	for i := range 200 {
		tier, capabilities, provider := 2-i%3, "", "mine"
		if i >= 196 {
			capabilities = `"vision"`
		}
		if i%10 == 9 {
			provider = "groq"
		}
		fmt.Fprintf(&b, "[[models]]\nname = \"m%03d\"\ntier = %d\ncredits_per_1k = %g\nquality = 0.%03d\ncapabilities = [%s]\ndeployments = [{ provider = %q, upstream = \"u%03d\", usd_in_per_1m = 1, usd_out_per_1m = 2 }]\n",
			i, tier, []float64{0, 0.002, 0.01}[tier], 900-i, capabilities, provider, i)
	}
	return up, b.String()
}

// TestShortlist: of a large catalog a policy is asked about a part, which a decision's record is repeated with; who names a model gets it, and what no
// candidate of the part could serve is decided among all.
func TestShortlist(t *testing.T) {
	up, toml := largeCatalog(t)
	g := newGateway(t, toml, nil)
	picture := []any{map[string]any{"role": "user", "content": []any{
		map[string]any{"type": "text", "text": "What is it?"}, map[string]any{"type": "image_url", "image_url": map[string]any{"url": "data:image/png;base64,iVBORw0KGgo="}},
	}}}
	requests := 0
	for _, tc := range []struct {
		body       map[string]any
		candidates int
		served     string // "": any
	}{
		{ask("balanced"), 64, ""},
		{ask("eco"), 64, ""},
		{ask("eco", "stream", true), 64, ""},
		{ask("m000"), 64, "m000"},
		{ask("m181"), 64, "m181"},
		{ask("balanced", "messages", picture), 200, ""},
		{ask("balanced", "provider", map[string]any{"order": []string{"mine"}}), 200, ""},
	} {
		resp, text := g.api.post(t, chatPath, tc.body)
		if resp.StatusCode != http.StatusOK || tc.served != "" && resp.Header.Get("X-Pointsman-Model") != tc.served {
			t.Fatalf("%v: %d %v %s", tc.body, resp.StatusCode, resp.Header, text)
		}
		requests++
		x := decided(t, g, resp)
		if len(x.Candidates) != tc.candidates || x.Reproduced == nil || !*x.Reproduced {
			t.Errorf("%v: %d candidates, reproduced %v", tc.body, len(x.Candidates), x.Reproduced)
		}
		if x.Candidates[0].Model != resp.Header.Get("X-Pointsman-Model") || x.Attempts[0].Model != x.Candidates[0].Model {
			t.Errorf("%v: %s answered, %s is told, after %s", tc.body, resp.Header.Get("X-Pointsman-Model"), x.Candidates[0].Model, x.Attempts[0].Model)
		}
		if asked := wereAsked([]*scripted.Server{up}); "u"+x.Candidates[0].Model[1:] != asked[len(asked)-1] {
			t.Errorf("%v: %s was asked for %s", tc.body, asked[len(asked)-1], x.Candidates[0].Model)
		}
		for _, o := range x.Candidates {
			if tc.candidates == 64 && o.Provider == "groq" {
				t.Errorf("%v: %s is on the list, and nobody has a key for it", tc.body, o.Model)
			}
		}
	}
	broken := true
	up.Script(func(r *scripted.Request) *scripted.Reply { // the first choice fails: another one of the list answers
		if broken {
			broken = false
			return &scripted.Reply{Status: 500, Body: []byte(`{"error":{"message":"sorry"}}`)}
		}
		return nil
	})
	resp, _ := g.api.post(t, chatPath, ask("balanced"))
	requests++
	if x := decided(t, g, resp); resp.StatusCode != http.StatusOK || len(x.Attempts) != 2 || x.Attempts[1].Model != resp.Header.Get("X-Pointsman-Model") || !*x.Reproduced {
		t.Errorf("%d %+v", resp.StatusCode, x.Attempts)
	}

	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	file := filepath.Join(t.TempDir(), "all.records")
	if status, out := g.command("records", "export", "-o", file); status != 0 {
		t.Fatal(out)
	}
	other := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	if status := run([]string{"records", "import", "--data", other, file}, terminal{&out, &out}); status != 0 {
		t.Fatal(out.String())
	}
	for _, from := range [][]string{{"--data", g.admin.base}, {"--records", file}, {"--data", other}} {
		if status, r := replayed(t, from...); status != 0 || r.Records != requests || r.Reproduced != requests {
			t.Errorf("%q: status %d, %+v, want %d", from, status, r.Proof, requests)
		}
	}

	if _, err := g.reloaded(listening + toml + "[policies.balanced]\nshortlist = 0\n"); err != nil {
		t.Fatal(err)
	}
	resp, _ = g.api.post(t, chatPath, ask("balanced"))
	if x := decided(t, g, resp); len(x.Candidates) != 200 || !*x.Reproduced {
		t.Errorf("%d candidates without a list", len(x.Candidates))
	}
}
