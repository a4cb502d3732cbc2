package openai

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestDefinition(t *testing.T) {
	adapter := NewAdapter(Definition{
		Name: "acme", Summary: "Acme", Paths: map[string]string{"embeddings": "", "chat": "/c"}, Headers: map[string]string{"X-A": "1"},
		Body: provider.BodyRules{MaxTokensField: "max_tokens", Drop: []string{"a"}}, Unsupported: []string{"u"}, Probe: "/p",
		Settings: []Setting{{Name: "site", Header: "X-Site"}, {Name: "routing", Field: "routing"}, {Name: "short", Header: "X-Short", Check: func(v string) error {
			if len(v) > 3 {
				return errors.New("must be short")
			}
			return nil
		}}},
	})
	prepare := func(base string, settings ...string) (*provider.Endpoint, error) {
		req := &provider.PrepareRequest{Provider: "p", BaseURL: base, Settings: map[string]string{}}
		for i := 0; i < len(settings); i += 2 {
			req.Settings[settings[i]] = settings[i+1]
		}
		return adapter.Prepare(context.Background(), req)
	}
	got, err := prepare("https://acme.example/v1/", "site", "s", "routing", `{"x":1}`, "drop", "d, e", "refuse", "r")
	if err != nil {
		t.Fatal(err)
	}
	want := provider.BodyRules{
		StreamUsage: true, MaxTokensField: "max_tokens", Drop: []string{"a", "d", "e", "u"}, Refuse: []string{"r"}, Set: map[string]string{"routing": `{"x":1}`},
	}
	if !reflect.DeepEqual(got.Body, want) || !reflect.DeepEqual(got.Paths, map[string]string{"chat": "/c", "models": "/models"}) ||
		!reflect.DeepEqual(got.Headers, map[string]string{"X-A": "1", "X-Site": "s"}) || got.Probe.Path != "/p" || got.BaseURL != "https://acme.example/v1" {
		t.Errorf("endpoint %+v", got)
	}
	if got, err = prepare("https://acme.example", "unsupported", "refuse", "max_tokens_field", "m"); err != nil ||
		!reflect.DeepEqual(got.Body, provider.BodyRules{StreamUsage: true, MaxTokensField: "m", Drop: []string{"a"}, Refuse: []string{"u"}}) ||
		len(got.Headers) != 1 {
		t.Errorf("endpoint %+v, %v: an earlier call must not tell on it", got, err)
	}
	for name, settings := range map[string][]string{
		"base_url": nil, "unsupported": {"unsupported", "ignore"}, "stream_usage": {"stream_usage", "x"}, "routing": {"routing", "{"},
		"site": {"site", "a\r\nb"}, "short": {"short", "long"}, "sight": {"sight", "x"},
	} {
		base := "https://acme.example"
		if name == "base_url" {
			base = ""
		}
		if _, err := prepare(base, settings...); !errors.Is(err, provider.ErrSetting) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadModels(t *testing.T) {
	got, err := ReadModels([]byte(` [{"id":"a","type":"chat","context_length":100},{"id":"b","type":"embedding"},{"id":""},{"id":"c","context_length":-5,"max_completion_tokens":1e12}]`))
	if err != nil || !reflect.DeepEqual(got, []provider.Model{{ID: "a", ContextWindow: 100}, {ID: "c"}}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, body := range []string{"", "<html>", `{"data":7}`} {
		if _, err := ReadModels([]byte(body)); !errors.Is(err, provider.ErrUnavailable) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestOpenRouterByTheGenericAdapter(t *testing.T) {
	got, err := New().Prepare(context.Background(), &provider.PrepareRequest{Provider: "x", BaseURL: "https://openrouter.ai/api/v1"})
	if err != nil || !reflect.DeepEqual(got.Body.Drop, []string{"models", "route"}) {
		t.Errorf("a request could name other models: %+v, %v", got, err)
	}
}

func TestAPI(t *testing.T) {
	both := Definition{Name: "both", BaseURL: "https://acme.example", Paths: map[string]string{"responses": "/r"}}
	for _, c := range []struct {
		name      string
		adapter   *Adapter
		base, api string
		dialect   provider.Dialect
		chat      string // path
		responses string // path
	}{
		{"OpenAI", New(), "", "", provider.DialectOpenAI, "/chat/completions", "/responses"},
		{"OpenAI, chat", New(), "", "chat", provider.DialectOpenAI, "/chat/completions", "/responses"},
		{"OpenAI, Responses", New(), "", "responses", provider.DialectResponses, "/responses", "/responses"},
		{"compatible", New(), "https://acme.example/v1", "", provider.DialectOpenAI, "/chat/completions", ""},
		{"compatible, Responses", New(), "https://acme.example/v1", "responses", provider.DialectResponses, "/responses", "/responses"},
		{"another path", NewAdapter(both), "", "responses", provider.DialectResponses, "/r", "/r"},
	} {
		e, err := c.adapter.Prepare(context.Background(), &provider.PrepareRequest{BaseURL: c.base, Settings: map[string]string{"api": c.api}})
		if err != nil || e.Dialect != c.dialect || e.Paths["chat"] != c.chat || e.Paths["responses"] != c.responses {
			t.Errorf("%s: %+v, %v", c.name, e, err)
		}
	}
	alone := NewAdapter(Definition{Name: "alone", BaseURL: "https://acme.example"})
	for api, adapter := range map[string]*Adapter{"responses": alone, "messages": NewAdapter(both)} {
		_, err := adapter.Prepare(context.Background(), &provider.PrepareRequest{Settings: map[string]string{"api": api}})
		if !errors.Is(err, provider.ErrSetting) || !strings.Contains(err.Error(), "api must be") {
			t.Errorf("%s: %v", api, err)
		}
	}
}
