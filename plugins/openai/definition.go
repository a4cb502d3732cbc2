package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/sdk/provider"
)

// Definition says how a provider's API differs from OpenAI's. It is data: what every compatible provider shares is done by
// [Adapter]. The zero value of a field is OpenAI's way.
type Definition struct {
	Name    string
	Summary string
	BaseURL string // "": the operator must configure one
	// Paths are beside or in place of /chat/completions, /embeddings and /models; "" removes one. The operations "responses" and
	// "messages" are for providers that speak OpenAI's Responses and Anthropic's Messages beside chat completions.
	Paths   map[string]string
	Headers map[string]string
	Auth    provider.Auth // the zero value is "Authorization: Bearer …"
	Body    provider.BodyRules
	// Unsupported are request fields that the provider refuses or ignores. They are dropped, or refused if the operator says
	// unsupported = "refuse".
	Unsupported []string
	Probe       string // free GET path
	RateLimits  []provider.RateLimit
	Errors      []provider.ErrorRule // tried before those that all compatible providers share
	Settings    []Setting            // beside those that all compatible providers share
}

// Setting is a setting of a provider that becomes a header or a request field.
type Setting struct {
	Name   string
	Header string // the header that carries it
	Field  string // the request field that carries it as JSON, in place of the caller's
	Check  func(value string) error
}

// sharedSettings are those of every compatible provider.
func sharedSettings() []string {
	return []string{"unsupported", "drop", "refuse", "stream_usage", "max_tokens_field", "keep_in_messages", "api"}
}

// Adapter reaches a provider that speaks OpenAI's API. It is safe for concurrent use.
type Adapter struct {
	definition Definition
	client     *egress.Client
	adjust     func(req *provider.PrepareRequest, e *provider.Endpoint) error
}

// NewAdapter returns the adapter of a provider.
func NewAdapter(d Definition) *Adapter { return &Adapter{definition: d, client: egress.New()} }

// Adjusted returns the adapter with a last step of Prepare for what cannot be told as data, which reads the given further
// settings.
func (a *Adapter) Adjusted(adjust func(req *provider.PrepareRequest, e *provider.Endpoint) error, settings ...string) *Adapter {
	adjusted := *a
	adjusted.adjust = adjust
	for _, name := range settings {
		adjusted.definition.Settings = append(slices.Clip(adjusted.definition.Settings), Setting{Name: name})
	}
	return &adjusted
}

// Describe says what the adapter is.
func (a *Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{Name: a.definition.Name, Version: "1.0.0", Summary: a.definition.Summary}, nil
}

// Prepare makes a direct endpoint. The settings of every compatible provider are unsupported ("drop", the default, or
// "refuse": what becomes of request fields the provider cannot serve), drop and refuse (comma-separated request fields, beside
// those), stream_usage ("false" for servers that refuse stream_options), max_tokens_field (the name of the output limit) and api
// ("chat", the default, or "responses": which of its APIs a provider is asked by, if it has both).
func (a *Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	d := &a.definition
	known := sharedSettings()
	for _, s := range d.Settings {
		known = append(known, s.Name)
	}
	if err := provider.CheckSettings(req.Settings, known...); err != nil {
		return nil, err
	}
	if req.BaseURL == "" && d.BaseURL == "" {
		return nil, fmt.Errorf("%w: base_url is missing", provider.ErrSetting)
	}
	base, err := provider.BaseURL(req.BaseURL, d.BaseURL)
	if err != nil {
		return nil, err
	}
	e := &provider.Endpoint{
		Mode:    provider.ModeDirect,
		Dialect: provider.DialectOpenAI,
		BaseURL: base,
		Paths:   map[string]string{"chat": "/chat/completions", "embeddings": "/embeddings", "models": "/models"},
		Headers: maps.Clone(d.Headers),
		Auth:    d.Auth,
		Body:    d.Body,
		Errors:  errorRules(d.Errors),
		Probe:   provider.Probe{Path: d.Probe}, RateLimits: slices.Clone(d.RateLimits),
	}
	for operation, path := range d.Paths {
		e.Paths[operation] = path
		if path == "" {
			delete(e.Paths, operation)
		}
	}
	if e.Headers == nil {
		e.Headers = map[string]string{}
	}
	if e.Auth.Header == "" {
		e.Auth = provider.Auth{Header: "Authorization", Prefix: "Bearer "}
	}
	if err := d.bodyRules(req.Settings, &e.Body); err != nil {
		return nil, err
	}
	if err := d.apply(req.Settings, e); err != nil {
		return nil, err
	}
	if a.adjust != nil {
		if err := a.adjust(req, e); err != nil {
			return nil, err
		}
	}
	if err := chooseAPI(req.Settings, e); err != nil {
		return nil, err
	}
	return e, nil
}

// chooseAPI makes an endpoint that speaks Responses if the operator wants it.
func chooseAPI(settings map[string]string, e *provider.Endpoint) error {
	switch settings["api"] {
	case "", "chat":
		return nil
	case "responses":
	default:
		return fmt.Errorf(`%w: api must be "chat" or "responses"`, provider.ErrSetting)
	}
	path := e.Paths["responses"]
	if e.Mode != provider.ModeDirect || path == "" {
		return fmt.Errorf(`%w: api must be "chat", the provider is not known to have another one so configured`, provider.ErrSetting)
	}
	e.Dialect, e.Paths["chat"] = provider.DialectResponses, path
	return nil
}

// bodyRules reads the settings that every compatible provider has.
func (d *Definition) bodyRules(settings map[string]string, rules *provider.BodyRules) error {
	rules.StreamUsage = true
	if text := settings["stream_usage"]; text != "" {
		var err error
		if rules.StreamUsage, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("%w: stream_usage must be true or false", provider.ErrSetting)
		}
	}
	if field := settings["max_tokens_field"]; field != "" {
		rules.MaxTokensField = field
	}
	rules.Drop = append(slices.Clone(rules.Drop), list(settings["drop"])...)
	rules.Refuse = append(slices.Clone(rules.Refuse), list(settings["refuse"])...)
	rules.KeepInMessages = append(slices.Clone(rules.KeepInMessages), list(settings["keep_in_messages"])...)
	rules.Set = maps.Clone(rules.Set)
	switch settings["unsupported"] {
	case "", "drop":
		rules.Drop = append(rules.Drop, d.Unsupported...)
	case "refuse":
		rules.Refuse = append(rules.Refuse, d.Unsupported...)
	default:
		return fmt.Errorf(`%w: unsupported must be "drop" or "refuse"`, provider.ErrSetting)
	}
	return nil
}

// apply puts the provider's own settings where they belong.
func (d *Definition) apply(settings map[string]string, e *provider.Endpoint) error {
	for _, s := range d.Settings {
		value := settings[s.Name]
		if value == "" {
			continue
		}
		if s.Check != nil {
			if err := s.Check(value); err != nil {
				return fmt.Errorf("%w: %s %w", provider.ErrSetting, s.Name, err)
			}
		}
		switch {
		case s.Header != "":
			if strings.ContainsAny(value, "\r\n") {
				return fmt.Errorf("%w: %s must be one line", provider.ErrSetting, s.Name)
			}
			e.Headers[s.Header] = value
		case s.Field != "":
			if !json.Valid([]byte(value)) {
				return fmt.Errorf("%w: %s must be JSON", provider.ErrSetting, s.Name)
			}
			if e.Body.Set == nil {
				e.Body.Set = map[string]string{}
			}
			e.Body.Set[s.Field] = value
		}
	}
	return nil
}

// list reads a comma-separated list.
func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

// UsualRateLimits are the headers that OpenAI and several others send.
func UsualRateLimits() []provider.RateLimit {
	return []provider.RateLimit{
		{
			Unit: "requests", Limit: "x-ratelimit-limit-requests", Remaining: "x-ratelimit-remaining-requests",
			Reset: "x-ratelimit-reset-requests",
		},
		{
			Unit: "tokens", Limit: "x-ratelimit-limit-tokens", Remaining: "x-ratelimit-remaining-tokens",
			Reset: "x-ratelimit-reset-tokens",
		},
	}
}
