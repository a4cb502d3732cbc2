package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/sdk/provider"
)

// Models lists the provider's models by its free list.
func (a *Adapter) Models(ctx context.Context, req *provider.ModelsRequest) ([]provider.Model, error) {
	e, err := a.Prepare(ctx, &provider.PrepareRequest{Provider: req.Provider, BaseURL: req.BaseURL, Settings: req.Settings})
	if err != nil {
		return nil, err
	}
	body, err := Get(ctx, a.client, e, e.Paths["models"], req)
	if err != nil {
		return nil, err
	}
	return ReadModels(body)
}

// Get fetches a path of an endpoint as the gateway would ask it.
func Get(ctx context.Context, client *egress.Client, e *provider.Endpoint, path string, req *provider.ModelsRequest) ([]byte, error) {
	header := http.Header{}
	for name, value := range e.Headers {
		header.Set(name, value)
	}
	if req.Credential.IsSet() && e.Auth.Header != "" {
		header.Set(e.Auth.Header, e.Auth.Prefix+req.Credential.Reveal())
	}
	return client.Get(ctx, e.BaseURL+path, header, req.AllowPrivate, e.Errors)
}

// listed is a model as one of the providers lists it.
type listed struct {
	ID              string   `json:"id"`
	Type            string   `json:"type"`           // Together: "chat", "image", …
	ContextLength   float64  `json:"context_length"` // OpenRouter, Together, Fireworks
	ContextWindow   float64  `json:"context_window"` // Groq
	MaxModelLen     float64  `json:"max_model_len"`  // vLLM
	MaxOutput       float64  `json:"max_completion_tokens"`
	MaxTokens       float64  `json:"max_tokens"`       // Anthropic
	MaxInput        float64  `json:"max_input_tokens"` // Anthropic
	SupportsTools   bool     `json:"supports_tools"`
	SupportsImages  bool     `json:"supports_image_input"`
	SupportsChat    *bool    `json:"supports_chat"` // Fireworks
	LoadedContext   float64  `json:"loaded_context_length"`
	SupportedParams []string `json:"supported_parameters"` // OpenRouter
	Architecture    struct {
		Input []string `json:"input_modalities"`
	} `json:"architecture"`
	TopProvider struct {
		MaxOutput float64 `json:"max_completion_tokens"`
	} `json:"top_provider"`
	Metadata struct {
		ContextLength float64 `json:"context_length"`
		MaxTokens     float64 `json:"max_tokens"`
	} `json:"metadata"` // DeepInfra
	Providers []struct {
		ContextLength float64 `json:"context_length"`
		Tools         bool    `json:"supports_tools"`
		Structured    bool    `json:"supports_structured_output"`
	} `json:"providers"` // Hugging Face
}

// ReadModels reads a list of models in any of the shapes that compatible providers send: an object with "data", or a bare
// array. Models that cannot chat are left out where the list tells.
func ReadModels(body []byte) ([]provider.Model, error) {
	var list []listed
	var err error
	if body = bytes.TrimSpace(body); len(body) > 0 && body[0] == '[' {
		err = json.Unmarshal(body, &list)
	} else {
		var object struct {
			Data []listed `json:"data"`
		}
		err = json.Unmarshal(body, &object)
		list = object.Data
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the list of models is not what was expected", provider.ErrUnavailable)
	}
	out := make([]provider.Model, 0, len(list))
	for i := range list {
		m := &list[i]
		if m.ID == "" || m.SupportsChat != nil && !*m.SupportsChat || m.Type != "" && !slices.Contains([]string{"chat", "language", "model", "llm", "vlm"}, m.Type) {
			continue
		}
		out = append(out, m.model())
	}
	return out, nil
}

func (m *listed) model() provider.Model {
	context := max(m.ContextLength, m.ContextWindow, m.MaxModelLen, m.MaxInput, m.Metadata.ContextLength, m.LoadedContext)
	output := max(m.MaxOutput, m.TopProvider.MaxOutput, m.Metadata.MaxTokens, m.MaxTokens)
	var capabilities []string
	can := func(name string, yes bool) {
		if yes && !slices.Contains(capabilities, name) {
			capabilities = append(capabilities, name)
		}
	}
	params := m.SupportedParams
	can("tools", m.SupportsTools || slices.Contains(params, "tools"))
	can("vision", m.SupportsImages || slices.Contains(m.Architecture.Input, "image"))
	can("reasoning", slices.Contains(params, "reasoning"))
	can("json_schema", slices.Contains(params, "structured_outputs"))
	for _, p := range m.Providers {
		context = max(context, p.ContextLength)
		can("tools", p.Tools)
		can("json_schema", p.Structured)
	}
	return provider.Model{ID: m.ID, ContextWindow: tokens(context), MaxOutput: tokens(output), Capabilities: capabilities}
}

// tokens is a count that a list may get wrong.
func tokens(n float64) uint32 {
	if n < 1 || n > 1e9 {
		return 0
	}
	return uint32(n)
}
