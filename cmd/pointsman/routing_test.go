package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
)

// market starts three providers with names that OpenRouter has too. Model a is at all of them, for 3, 1 and 2 dollars; b is at
// the second and c at the third; f is free, at the first. The second collects no data, the third retains none.
func market(t testing.TB) (up []*scripted.Server, toml string) {
	t.Helper()
	names := []string{"openai", "together", "deepinfra"}
	toml = "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n"
	for i, name := range names {
		s, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		up = append(up, s)
		toml += fmt.Sprintf("[providers.%s]\nadapter = \"openai\"\nbase_url = %q\napi_key = \"sk-platform-canary\"\nallow_private = true\n", name, s.URL()+"/v1")
		switch i {
		case 1:
			toml += "no_collection = true\n"
		case 2:
			toml += "zero_retention = true\nsettings = { drop = \"seed\" }\n"
		}
	}
	model := func(name string, tier int, rate string, at ...int) {
		toml += fmt.Sprintf("[[models]]\nname = %q\ntier = %d\ncredits_per_1k = %s\ncontext_window = 128000\n", name, tier, rate)
		for _, i := range at {
			toml += fmt.Sprintf("[[models.deployments]]\nprovider = %q\nupstream = \"%s-%d\"\nusd_in_per_1m = %d\nusd_out_per_1m = %d\n", names[i], name, i, []int{3, 1, 2}[i], []int{3, 1, 2}[i])
		}
	}
	model("a", 1, "0.002", 0, 1, 2)
	model("b", 1, "0.002", 1)
	model("c", 1, "0.002", 2)
	model("f", 0, "0", 0)
	return up, toml
}

// wereAsked lists what the providers were asked for, in order of time.
func wereAsked(up []*scripted.Server) (models []string) {
	var all []*scripted.Request
	for _, s := range up {
		all = append(all, s.Requests()...)
	}
	slices.SortFunc(all, func(a, b *scripted.Request) int { return a.Time.Compare(b.Time) })
	for _, r := range all {
		models = append(models, r.Model)
	}
	return models
}

func TestWishesAboutProvidersAndModels(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	for name, tc := range map[string]struct {
		model    any
		models   []string
		provider object
		extra    object
		want     string // what is tried if everything fails; "" for nothing
		status   int    // 0 for what comes of failures
	}{
		"order":                             {"a", nil, object{"order": []string{"DeepInfra", "OpenAI"}}, nil, "a-2 a-0 a-1", 0},
		"order of two, the others excluded": {"a", nil, object{"order": []string{"deepinfra", "openai"}, "allow_fallbacks": false}, nil, "a-2 a-0", 0},
		"order with unknown names":          {"a", nil, object{"order": []string{"google-vertex/us", "together/fp8"}}, nil, "a-1 a-0 a-2", 0},
		"only":                              {"a", nil, object{"only": []string{"Together AI"}}, nil, "a-1", 0},
		"only an unknown one":               {"a", nil, object{"only": []string{"xAI"}}, nil, "", 503},
		"ignore":                            {"a", nil, object{"ignore": []string{"OPENAI", "deep-infra"}}, nil, "a-1", 0},
		"sort by price":                     {"a", nil, object{"sort": "price"}, nil, "a-1 a-2 a-0", 0},
		"sort as an object":                 {"a", nil, object{"sort": object{"by": "price"}}, nil, "a-1 a-2 a-0", 0},
		"order goes before sort":            {"a", nil, object{"sort": "price", "order": []string{"openai"}}, nil, "a-0 a-1 a-2", 0},
		":floor":                            {"a:floor", nil, nil, nil, "a-1 a-2 a-0", 0},
		":nitro, nothing known yet":         {"a:nitro", nil, nil, nil, "a-0 a-1 a-2", 0},
		":free of what is charged":          {"a:free", nil, nil, nil, "", 503},
		":free of what is free":             {"f:free", nil, nil, nil, "f-0", 0},
		"max_price":                         {"a", nil, object{"max_price": object{"prompt": 2, "completion": "2.0"}}, nil, "a-1 a-2", 0},
		"max_price below all":               {"a", nil, object{"max_price": object{"prompt": 0.5}}, nil, "", 503},
		"data_collection":                   {"a", nil, object{"data_collection": "deny"}, nil, "a-1 a-2", 0},
		"zdr":                               {"a", nil, object{"zdr": true}, nil, "a-2", 0},
		"models":                            {nil, []string{"c", "a", "b"}, nil, nil, "c-2 a-1 a-2 a-0 b-1", 0},
		"models after the one named":        {"b", []string{"b", "c"}, nil, nil, "b-1 c-2", 0},
		"models and a level":                {"eco", []string{"c", "f"}, nil, nil, "c-2 f-0", 0},
		"models with suffixes":              {nil, []string{"a:free", "f:free", "a:floor"}, nil, nil, "f-0", 0},
		"models at one provider each":       {nil, []string{"together/a", "openai/f"}, nil, nil, "a-1 f-0", 0},
		"models without fallbacks":          {nil, []string{"b", "c"}, object{"allow_fallbacks": false}, nil, "b-1", 0},
		"models, the first excluded":        {nil, []string{"b", "c"}, object{"ignore": []string{"together"}}, nil, "c-2", 0},
		"models, all by price":              {nil, []string{"c", "a"}, object{"sort": object{"by": "price", "partition": "none"}}, nil, "a-1 c-2 a-2 a-0", 0},
		"models that do not exist":          {nil, []string{"c", "zzz"}, nil, nil, "", 404},
		"a level by price":                  {"eco:floor", nil, object{"only": []string{"together"}}, nil, "a-1 b-1", 0},
		"required parameters":               {"a", nil, object{"require_parameters": true, "order": []string{"deepinfra"}}, object{"seed": 1}, "a-0 a-1", 0},
		"a field that is dropped":           {"a", nil, object{"order": []string{"deepinfra"}}, object{"seed": 1}, "a-2 a-0 a-1", 0},
		"nothing":                           {"a", nil, object{}, nil, "a-0 a-1 a-2", 0},
	} {
		t.Run(name, func(t *testing.T) {
			up, toml := market(t)
			g := newGateway(t, toml, nil)
			for _, s := range up {
				s.Script(fails(401)) // once each
			}
			body := ask("", "model", tc.model)
			for k, v := range tc.extra {
				body[k] = v
			}
			if tc.models != nil {
				body["models"] = tc.models
			}
			if tc.provider != nil {
				body["provider"] = tc.provider
			}
			resp, text := g.api.post(t, chatPath, body)
			if got := strings.Join(wereAsked(up), " "); got != tc.want {
				t.Errorf("asked %q, want %q: %d %s", got, tc.want, resp.StatusCode, text)
			}
			if tc.status != 0 && resp.StatusCode != tc.status {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
			for _, s := range up {
				for _, r := range s.Requests() {
					if strings.Contains(string(r.Body), `"provider"`) || strings.Contains(string(r.Body), `"models"`) {
						t.Errorf("the provider got %s", r.Body)
					}
				}
			}
			if resp.StatusCode == http.StatusNotFound {
				return
			}
			if x := decided(t, g, resp); x.Reproduced == nil || !*x.Reproduced {
				t.Errorf("the decision is not reproduced: %+v", x)
			}
		})
	}
}

func TestWishesInEveryDialect(t *testing.T) {
	up, toml := market(t)
	g := newGateway(t, toml, nil)
	wish := `,"model":"a","provider":{"order":["together"],"quantizations":["fp8"]},"models":["f"]}`
	for path, body := range map[string]string{
		"/v1/messages":    `{"max_tokens":9,"messages":[{"role":"user","content":"hi"}]` + wish,
		"/v1/completions": `{"prompt":"hi"` + wish,
		"/v1/responses":   `{"input":"hi"` + wish,
	} {
		resp, text := g.api.post(t, path, []byte(body))
		if resp.StatusCode == http.StatusOK && (resp.Header.Get("X-Pointsman-Provider") != "together" || !strings.Contains(resp.Header.Get("X-Pointsman-Dropped"), "provider.quantizations")) {
			t.Errorf("%s: %v %s", path, resp.Header, text)
		}
	}
	for _, s := range up {
		for _, r := range s.Requests() {
			if strings.Contains(string(r.Body), "quantizations") {
				t.Errorf("the provider got %s", r.Body)
			}
		}
	}
}

func TestWishesAreExplained(t *testing.T) {
	up, toml := market(t)
	g := newGateway(t, toml, nil)
	up[2].Script(fails(500))
	resp, text := g.api.post(t, chatPath, ask("a", "provider", map[string]any{"ignore": []string{"openai"}, "sort": "price", "order": []string{"deepinfra"}, "quantizations": []string{"fp8"}}))
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Provider") != "together" || resp.Header.Get("X-Pointsman-Dropped") != "provider.quantizations" {
		t.Fatalf("%d %v %s", resp.StatusCode, resp.Header, text)
	}
	x := decided(t, g, resp)
	if x.Wishes == nil || x.Wishes.Asked != "order deepinfra; ignore openai; sort price" || strings.Join(x.Wishes.Order, ", ") != "a at deepinfra, a at together" {
		t.Errorf("wishes %+v", x.Wishes)
	}
	for _, o := range x.Candidates {
		if o.Model == "a" && o.Provider == "openai" && o.Reason != "not_requested" {
			t.Errorf("openai is out because of %q", o.Reason)
		}
	}
	if x.Reproduced == nil || !*x.Reproduced {
		t.Errorf("the decision is not reproduced: %+v", x)
	}
	resp, _ = g.api.post(t, chatPath, ask("a"))
	if x := decided(t, g, resp); x.Wishes != nil {
		t.Errorf("wishes of nobody: %+v", x.Wishes)
	}
}

func TestLiveFiguresSort(t *testing.T) {
	up, toml := market(t)
	g := newGateway(t, toml, nil)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders = 50 * time.Millisecond
		return reply
	})
	if resp, text := g.api.post(t, chatPath, ask("a", "provider", map[string]any{"only": []string{"together"}})); resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	for range 50 { // until the snapshot has the figures
		if resp, _ := g.api.post(t, chatPath, ask("a", "provider", map[string]any{"sort": "latency"})); resp.Header.Get("X-Pointsman-Provider") == "together" {
			return
		}
	}
	t.Errorf("what is known did not come first: %v", wereAsked(up))
}
