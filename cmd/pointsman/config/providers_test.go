package config

import (
	"slices"
	"strings"
	"testing"
)

func TestProviderKeys(t *testing.T) {
	for provider, names := range map[string]string{
		"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "groq": "GROQ_API_KEY",
		"together":  "TOGETHERAI_API_KEY TOGETHER_API_KEY TOGETHER_AI_API_KEY",
		"deepinfra": "DEEPINFRA_API_KEY", "openrouter": "OPENROUTER_API_KEY OR_API_KEY",
		"fireworks":   "FIREWORKS_AI_API_KEY FIREWORKS_API_KEY FIREWORKSAI_API_KEY",
		"huggingface": "HF_TOKEN HUGGINGFACE_API_KEY", "local": "HOSTED_VLLM_API_KEY",
	} {
		if got := strings.Join(KeyVariables(provider), " "); got != names {
			t.Errorf("%s: variables %s", provider, got)
		}
		var all []string
		for _, name := range strings.Fields(names) {
			c, err := Default(environment(name + "= value-of-" + name + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			p := c.Provider(provider)
			if p.APIKey.Reveal() != "value-of-"+name || p.KeySource != name || !p.Usable() {
				t.Errorf("%s: key %q from %q", name, p.APIKey.Reveal(), p.KeySource)
			}
			all = append(all, name+"=x")
		}
		slices.Reverse(all)
		if c, err := Default(environment(all...)); err != nil || c.Provider(provider).KeySource != strings.Fields(names)[0] {
			t.Errorf("%s: the preferred variable does not win; %v", provider, err)
		}
	}
}

func TestProviderBaseURLs(t *testing.T) {
	tests := []struct{ variable, provider, base string }{
		{"OPENAI_BASE_URL=http://127.0.0.1:9/v1/", "openai", "http://127.0.0.1:9/v1"},
		{"OPENAI_API_BASE=https://proxy.example/x", "openai", "https://proxy.example/x"},
		{"ANTHROPIC_BASE_URL=https://proxy.example", "anthropic", "https://proxy.example/v1"},
		{"ANTHROPIC_API_BASE=https://proxy.example/other", "anthropic", "https://proxy.example/other"},
		{"GROQ_API_BASE=https://g.example", "groq", "https://g.example"},
		{"TOGETHER_AI_API_BASE=https://g.example", "together", "https://g.example"},
		{"FIREWORKS_API_BASE=https://g.example", "fireworks", "https://g.example"},
		{"HF_BASE_URL=https://g.example", "huggingface", "https://g.example"},
	}
	for _, test := range tests {
		c, err := Default(environment(test.variable))
		if err != nil {
			t.Fatal(err)
		}
		p := c.Provider(test.provider)
		name, _, _ := strings.Cut(test.variable, "=")
		if p.BaseURL != test.base || p.URLSource != name || p.KeyRequired || p.AllowPrivate != strings.Contains(test.base, "127.") {
			t.Errorf("%s: %+v", test.variable, p)
		}
	}
}

func TestBadBaseURLInEnvironment(t *testing.T) {
	for _, variable := range []string{"OPENAI_BASE_URL", "HOSTED_VLLM_API_BASE", "OLLAMA_API_BASE"} {
		env := environment(variable + "=http://user:secret@host/")
		_, err := Default(env)
		if err == nil || !strings.Contains(err.Error(), variable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", variable, err)
		}
		provider := "local"
		if variable == "OPENAI_BASE_URL" {
			provider = "openai"
		}
		// An address in the file wins, so that of the environment does not matter.
		c, err := Parse("", []byte("[providers."+provider+"]\nbase_url = 'https://host/v1'"), env)
		if err != nil || c.Provider(provider).BaseURL != "https://host/v1" || len(c.Provider(provider).Probe) != 0 {
			t.Errorf("%s: %v", variable, err)
		}
	}
}

func TestLocalProvider(t *testing.T) {
	const ollama, vllm = "http://127.0.0.1:11434/v1", "http://127.0.0.1:8000/v1"
	tests := []struct {
		env   []string
		probe []string
		from  string
	}{
		{nil, []string{ollama, vllm}, ""},
		{[]string{"OLLAMA_HOST=0.0.0.0"}, []string{ollama, vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=:5000"}, []string{"http://127.0.0.1:5000/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=gpu"}, []string{"http://gpu:11434/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=gpu:1"}, []string{"http://gpu:1/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=[::1]:1"}, []string{"http://[::1]:1/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=[::]"}, []string{ollama, vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=https://gpu.example"}, []string{"https://gpu.example:443/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_HOST=http://gpu:1/ollama/"}, []string{"http://gpu:1/ollama/v1", vllm}, "OLLAMA_HOST"},
		{[]string{"OLLAMA_API_BASE=http://gpu:1/", "OLLAMA_HOST=other"}, []string{"http://gpu:1/v1", vllm}, "OLLAMA_API_BASE"},
		{[]string{"HOSTED_VLLM_API_BASE=http://gpu:8000/v1"}, []string{"http://gpu:8000/v1", ollama}, "HOSTED_VLLM_API_BASE"},
		{[]string{"HOSTED_VLLM_API_BASE=http://gpu:8000/v1", "OLLAMA_HOST=gpu"}, []string{"http://gpu:11434/v1", "http://gpu:8000/v1"}, "OLLAMA_HOST"},
	}
	for _, test := range tests {
		c, err := Default(environment(test.env...))
		if err != nil {
			t.Errorf("%v: %v", test.env, err)
			continue
		}
		p := c.Provider("local")
		if !slices.Equal(p.Probe, test.probe) || p.BaseURL != test.probe[0] || p.URLSource != test.from || !p.AllowPrivate || !p.Local || !p.Usable() {
			t.Errorf("%v: %+v", test.env, p)
		}
	}
}

func TestProviderOverride(t *testing.T) {
	c, err := Parse("f", []byte(`
[providers.openai]
base_url = "http://127.0.0.1:9000/v1"
[providers.groq]
api_key = ""
[providers.zeta]
adapter = "openai"
[providers.alpha]
adapter = "openai"
local = true
[[models]]
name = "m"
tier = 0
context_window = 1
deployments = [{ provider = "alpha", upstream = "u" }, { provider = "openai", upstream = "u", usd_in_per_1m = 0, usd_out_per_1m = 0 }]
`), environment("GROQ_API_KEY=x", "OPENAI_API_KEY=y"))
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Provider("openai"); p.KeySource != "OPENAI_API_KEY" || p.URLSource != "file" || !p.Builtin || p.AllowPrivate {
		t.Errorf("openai %+v", p)
	}
	if p := c.Provider("groq"); p.APIKey.IsSet() || p.KeySource != "" || p.Usable() {
		t.Errorf("groq %+v", p)
	}
	if n := len(c.Providers); n != 11 || c.Providers[9].Name != "zeta" || c.Providers[10].Name != "alpha" || c.Provider("none") != nil {
		t.Errorf("%d providers", n)
	}
	if d := c.Models[len(c.Models)-1].Deployments; !d[0].Local || d[1].Local {
		t.Errorf("deployments %+v", d)
	}
	if len(c.Warnings) != 1 || !strings.HasPrefix(c.Warnings[0], `f:3:1: base_url of provider "openai" is a private address`) {
		t.Errorf("warnings %q", c.Warnings)
	}
}
