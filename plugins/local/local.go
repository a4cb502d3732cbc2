// Package local is the adapter for servers of one's own: Ollama, vLLM, llama.cpp, LM Studio and others compatible with OpenAI.
package local

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/plugins/openai"
	"github.com/pointsman/pointsman/sdk/provider"
)

// DefaultBaseURL is Ollama's.
const DefaultBaseURL = "http://127.0.0.1:11434/v1"

const ollamaPort = "11434"

// Adapter reaches a local server: directly, or by Ollama's own API when a setting needs what only that has. It is safe for
// concurrent use.
type Adapter struct {
	shared *openai.Adapter
	client *egress.Client
	now    func() time.Time
}

// New returns the adapter. Beside the shared settings it has server ("ollama", "vllm", "llamacpp", "lmstudio"; by default
// Ollama is told by its port), and for Ollama num_ctx (tokens of context; without it Ollama cuts long prompts to a few
// thousand), keep_alive ("10m", "-1") and think ("true", "false", "low", "medium" or "high"). With any of these three the calls
// go by Ollama's own API, as the compatible one has no fields for them.
func New() *Adapter {
	return &Adapter{
		shared: openai.NewAdapter(openai.Definition{
			Name:    "local",
			Summary: "Ollama, vLLM, llama.cpp, LM Studio and other servers of one's own",
			BaseURL: DefaultBaseURL,
			Body:    provider.BodyRules{MaxTokensField: "max_tokens", KeepInMessages: []string{"reasoning_content"}},
			Probe:   "/models",
			Errors: []provider.ErrorRule{
				{Status: 400, Contains: "maximum model length", Class: provider.ClassContextLength},
				{Status: 400, Contains: "loaded with context length of only", Class: provider.ClassContextLength}, // LM Studio
				{Status: 400, Contains: "larger than the context", Class: provider.ClassContextLength},
				{Status: 400, Contains: "greater than the context length", Class: provider.ClassContextLength},
				{Status: 400, Contains: "available context size", Class: provider.ClassContextLength},
				{Status: 404, Contains: "try pulling it first", Class: provider.ClassNotFound},
				{Status: 400, Contains: "does not support tools", Class: provider.ClassBadRequest},
				{Status: 503, Contains: "Loading model", Class: provider.ClassOverloaded},            // llama.cpp
				{Status: 503, Contains: "maximum pending requests", Class: provider.ClassOverloaded}, // Ollama
				{Status: 500, Contains: "requires more system memory", Class: provider.ClassNotFound},
			},
		}).Adjusted(adjust, "server", "num_ctx", "keep_alive", "think"),
		client: egress.New(),
		now:    time.Now,
	}
}

// Describe says what the adapter is.
func (a *Adapter) Describe(ctx context.Context) (*provider.Description, error) {
	return a.shared.Describe(ctx)
}

// Prepare makes a direct endpoint, or a proxied one for Ollama's own API; see [New] for the settings.
func (a *Adapter) Prepare(ctx context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	return a.shared.Prepare(ctx, req)
}

// adjust does what depends on the kind of server.
func adjust(req *provider.PrepareRequest, e *provider.Endpoint) error {
	native, err := nativeOptions(req.Settings)
	if err != nil {
		return err
	}
	isOllama, err := ollama(req.Settings["server"], e.BaseURL)
	switch {
	case err != nil:
		return err
	case native.given() && !isOllama:
		return fmt.Errorf(`%w: num_ctx, keep_alive and think are Ollama's: set server = "ollama" if it is one`, provider.ErrSetting)
	}
	known := isOllama || req.Settings["server"] == "vllm" // to speak these beside chat completions
	if known || req.Settings["api"] == "responses" {
		e.Paths["responses"] = "/responses"
	}
	if known {
		e.Paths["messages"] = "/messages"
	}
	if !isOllama {
		return nil
	}
	ignored := []string{"n", "logit_bias", "tool_choice", "parallel_tool_calls", "user", "service_tier"}
	if native.given() {
		e.Mode, e.BaseURL, e.Paths, e.Probe, e.Auth = provider.ModeProxied, "", map[string]string{"chat": "/api/chat"}, provider.Probe{}, provider.Auth{}
		ignored = append(ignored, "logprobs", "top_logprobs")
	}
	if req.Settings["unsupported"] == "refuse" {
		e.Body.Refuse = append(e.Body.Refuse, ignored...)
	} else {
		e.Body.Drop = append(e.Body.Drop, ignored...)
	}
	return nil
}

// ollama tells whether the server is one.
func ollama(server, base string) (bool, error) {
	switch server {
	case "ollama":
		return true, nil
	case "vllm", "llamacpp", "lmstudio":
		return false, nil
	case "":
		u, err := url.Parse(base)
		return err == nil && u.Port() == ollamaPort, nil
	}
	return false, fmt.Errorf(`%w: server must be "ollama", "vllm", "llamacpp" or "lmstudio"`, provider.ErrSetting)
}

// native are the settings of Ollama's own API.
type native struct {
	numCtx    int
	keepAlive any // number of seconds or text, nil for none
	think     any // bool or text, nil for none
}

func (n native) given() bool { return n.numCtx > 0 || n.keepAlive != nil || n.think != nil }

func nativeOptions(settings map[string]string) (n native, err error) {
	if text := settings["num_ctx"]; text != "" {
		if n.numCtx, err = strconv.Atoi(text); err != nil || n.numCtx < 1 || n.numCtx > 1<<27 {
			return n, fmt.Errorf("%w: num_ctx must be a number of tokens", provider.ErrSetting)
		}
	}
	switch text := settings["keep_alive"]; {
	case text == "":
	case regexp.MustCompile(`^-?\d{1,9}$`).MatchString(text):
		n.keepAlive = json.Number(text)
	default:
		if _, err := time.ParseDuration(text); err != nil {
			return n, fmt.Errorf("%w: keep_alive must be seconds or a duration like 10m", provider.ErrSetting)
		}
		n.keepAlive = text
	}
	switch text := settings["think"]; text {
	case "":
	case "true", "false":
		n.think = text == "true"
	case "low", "medium", "high":
		n.think = text
	default:
		return n, fmt.Errorf(`%w: think must be "true", "false", "low", "medium" or "high"`, provider.ErrSetting)
	}
	return n, nil
}

// root is the address of Ollama's own API, which is beside the compatible one.
func root(configured string) (string, error) {
	base, err := provider.BaseURL(configured, DefaultBaseURL)
	return strings.TrimSuffix(base, "/v1"), err
}

// Models lists what the server has. Of Ollama's models the context is num_ctx if that is set, and unknown otherwise: what a
// model could hold is not what Ollama gives it.
func (a *Adapter) Models(ctx context.Context, req *provider.ModelsRequest) ([]provider.Model, error) {
	n, err := nativeOptions(req.Settings)
	if err != nil {
		return nil, err
	}
	base, err := provider.BaseURL(req.BaseURL, DefaultBaseURL)
	if err != nil {
		return nil, err
	}
	isOllama, err := ollama(req.Settings["server"], base)
	if err != nil {
		return nil, err
	}
	if !isOllama {
		return a.shared.Models(ctx, req)
	}
	body, err := a.get(ctx, req.BaseURL, "/api/tags", req.AllowPrivate)
	if err != nil {
		return nil, err
	}
	var tags struct {
		Models []struct {
			Name         string   `json:"name"`
			Capabilities []string `json:"capabilities"`
		} `json:"models"`
	}
	if err := json.Unmarshal(body, &tags); err != nil {
		return nil, fmt.Errorf("%w: the list of models is not what was expected", provider.ErrUnavailable)
	}
	out := make([]provider.Model, 0, len(tags.Models))
	for _, m := range tags.Models {
		model := provider.Model{ID: m.Name, ContextWindow: uint32(n.numCtx)}
		for _, c := range m.Capabilities {
			switch c {
			case "tools", "vision":
				model.Capabilities = append(model.Capabilities, c)
			case "thinking":
				model.Capabilities = append(model.Capabilities, "reasoning")
			}
		}
		out = append(out, model)
	}
	return out, nil
}

// Probe asks Ollama for its version, when its own API is used.
func (a *Adapter) Probe(ctx context.Context, req *provider.ProbeRequest) error {
	_, err := a.get(ctx, req.BaseURL, "/api/version", req.AllowPrivate)
	return err
}

func (a *Adapter) get(ctx context.Context, configured, path string, allowPrivate bool) ([]byte, error) {
	base, err := root(configured)
	if err != nil {
		return nil, err
	}
	return a.client.Get(ctx, base+path, nil, allowPrivate, nil)
}
