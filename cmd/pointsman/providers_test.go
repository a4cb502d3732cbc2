package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/plugins/bedrock/eventstream"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

// vendor is a provider as the table tests configure it, and what must reach it. Its answers are sections of
// plugins/ADAPTER/testdata/FILE.http.
type vendor struct {
	adapter  string
	file     string // "answers" unless said otherwise
	upstream string // the model's id there
	base     string // below the stand-in's address
	key      string
	settings map[string]string // as text of a TOML table
	path     string            // that a chat request goes to
	streamed string            // that a streamed one goes to, if it is another
	auth     string            // header and value that carry the key; "" for a signature
	limit    string            // the name that max_completion_tokens arrives under
	dropped  string            // a request field it cannot serve, with a value; "" if there is none
	models   string            // a model that the list in section "models" has
	noErrors []string          // classes of which it has no error answer
}

func vendors() []vendor {
	bearer := "Authorization: Bearer "
	return []vendor{
		{
			adapter: "openai", upstream: "gpt-6.1-terra", base: "/v1", key: "sk-proj-canary1", path: "/v1/chat/completions",
			auth: bearer + "sk-proj-canary1", limit: "max_completion_tokens", models: "gpt-6.1-terra",
			settings: map[string]string{"max_tokens_field": "max_completion_tokens", "drop": "store", "project": "proj_1"}, dropped: `"store":true`,
		},
		{
			adapter: "openai", file: "responses", upstream: "gpt-6.1-terra", base: "/v1", key: "sk-proj-canary1", path: "/v1/responses",
			auth: bearer + "sk-proj-canary1", limit: "max_output_tokens", models: "gpt-6.1-terra",
			settings: map[string]string{"api": "responses", "drop": "seed", "project": "proj_1"}, dropped: `"seed":7`,
		},
		{
			adapter: "anthropic", upstream: "claude-haiku-5-5", base: "/v1", key: "sk-ant-canary2", path: "/v1/messages",
			auth: "X-Api-Key: sk-ant-canary2", limit: "max_tokens", dropped: `"logprobs":true`, models: "claude-haiku-5-5",
			settings: map[string]string{"beta": "context-1m-2025-08-07"},
		},
		{
			adapter: "groq", upstream: "openai/gpt-oss-120b", base: "/openai/v1", key: "gsk_canary3", path: "/openai/v1/chat/completions",
			auth: bearer + "gsk_canary3", limit: "max_completion_tokens", dropped: `"logprobs":true`, models: "openai/gpt-oss-120b",
		},
		{
			adapter: "together", upstream: "zai-org/GLM-5.3-Flash", base: "/v1", key: "tgp_canary4", path: "/v1/chat/completions",
			auth: bearer + "tgp_canary4", limit: "max_tokens", dropped: `"logprobs":true`, models: "zai-org/GLM-5.3-Flash",
		},
		{
			adapter: "deepinfra", upstream: "meta-llama/Llama-3.3-70B-Instruct-Turbo", base: "/v1/openai", key: "canary5",
			path: "/v1/openai/chat/completions", auth: bearer + "canary5", limit: "max_tokens", dropped: `"logit_bias":{"5":1}`,
			models: "meta-llama/Llama-3.3-70B-Instruct-Turbo",
		},
		{
			adapter: "openrouter", upstream: "google/gemini-3.8-flash", base: "/api/v1", key: "sk-or-v1-canary6", path: "/api/v1/chat/completions",
			auth: bearer + "sk-or-v1-canary6", limit: "max_completion_tokens", dropped: `"plugins":[{"id":"web"}]`, models: "google/gemini-3.8-flash",
			settings: map[string]string{"provider": `{"data_collection":"deny"}`, "site_name": "Test"},
		},
		{
			adapter: "fireworks", upstream: "accounts/fireworks/models/qwen3p7-plus", base: "/inference/v1", key: "fw_canary7",
			path: "/inference/v1/chat/completions", auth: bearer + "fw_canary7", limit: "max_tokens", dropped: `"store":true`,
			models: "accounts/fireworks/models/qwen3p7-plus",
		},
		{
			adapter: "huggingface", upstream: "openai/gpt-oss-20b:groq", base: "/v1", key: "hf_canary8", path: "/v1/chat/completions",
			auth: bearer + "hf_canary8", limit: "max_tokens", models: "openai/gpt-oss-20b", noErrors: []string{"content-filter"},
			settings: map[string]string{"bill_to": "acme", "drop": "store"}, dropped: `"store":true`,
		},
		{
			adapter: "local", file: "vllm", upstream: "Qwen/Qwen3-32B", base: "/v1", key: "canary9", path: "/v1/chat/completions",
			auth: bearer + "canary9", limit: "max_tokens", models: "Qwen/Qwen3-32B", noErrors: []string{"quota", "rate-limit", "content-filter"},
			settings: map[string]string{"server": "vllm", "drop": "store"}, dropped: `"store":true`,
		},
		{
			adapter: "local", file: "ollama", upstream: "llama3:8b", base: "/v1", path: "/v1/chat/completions", limit: "max_tokens",
			dropped: `"logit_bias":{"5":1}`, models: "llama3:8b", settings: map[string]string{"server": "ollama"},
			noErrors: []string{"auth", "quota", "rate-limit", "context-length", "content-filter"},
		},
		{
			adapter: "local", file: "ollama-native", upstream: "qwen3:8b", base: "/v1", path: "/api/chat", limit: "num_predict",
			dropped: `"logit_bias":{"5":1}`, models: "llama3:8b",
			settings: map[string]string{"server": "ollama", "num_ctx": "16384", "keep_alive": "10m", "think": "false"},
			noErrors: []string{"auth", "quota", "rate-limit", "context-length", "content-filter"},
		},
		{
			adapter: "azure", upstream: "prod gpt-4o", key: "azcanary10", path: "/openai/deployments/prod%20gpt-4o/chat/completions?api-version=2024-10-21",
			auth: "Api-Key: azcanary10", limit: "max_completion_tokens", models: "gpt-4o-2024-11-20",
			settings: map[string]string{"drop": "store"}, dropped: `"store":true`,
		},
		{
			adapter: "bedrock", upstream: "anthropic.claude-sonnet-5-5-v1:0", key: "AKIACANARY:canary11secret",
			path: "/model/anthropic.claude-sonnet-5-5-v1%3A0/converse", streamed: "/model/anthropic.claude-sonnet-5-5-v1%3A0/converse-stream",
			limit: "maxTokens", dropped: `"logit_bias":{"5":1}`, models: "anthropic.claude-sonnet-5-5-v1:0",
			settings: map[string]string{"region": "eu-central-1", "guardrail": "gr1:2"},
		},
	}
}

// providerCase is a case that every vendor is tested with, unless it has no answer of the kind.
type providerCase struct {
	name   string
	stream bool
	extra  string // of the request
	status int    // that the client gets
	code   string // of the error
	class  provider.ErrorClass
}

func providerCases() []providerCase {
	tools := `"tools":[{"type":"function","function":{"name":"weather","description":"The weather","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}]`
	return []providerCase{
		{name: "chat", status: 200},
		{name: "stream", status: 200, stream: true},
		{name: "tools", status: 200, extra: tools},
		{name: "tools-stream", status: 200, stream: true, extra: tools},
		{name: "odd-usage", status: 200},
		{name: "odd-usage-stream", status: 200, stream: true},
		{name: "stream-error", status: 200, stream: true, code: "provider_stream_error"},
		{name: "auth", status: 502, code: "provider_refused_credentials", class: provider.ClassAuth},
		{name: "quota", status: 502, code: "provider_refused_credentials", class: provider.ClassQuota},
		{name: "rate-limit", status: 429, code: "provider_rate_limited", class: provider.ClassRateLimited},
		{name: "overloaded", status: 503, code: "provider_overloaded", class: provider.ClassOverloaded},
		{name: "server", status: 502, code: "provider_error", class: provider.ClassServer},
		{name: "not-found", status: 502, code: "provider_model_not_found", class: provider.ClassNotFound},
		{name: "context-length", status: 400, code: "context_length_exceeded", class: provider.ClassContextLength},
		{name: "content-filter", status: 400, code: "content_filter", class: provider.ClassContentFilter},
		{name: "bad-request", status: 400, code: "provider_rejected_request", class: provider.ClassBadRequest},
	}
}

// name is how a vendor's provider is called here.
func (v *vendor) name() string {
	if v.file == "" {
		return v.adapter
	}
	return v.file
}

// toml configures the vendor's provider, more than once: one refuses what it cannot serve, and a key that is refused is not
// used for a while, so the cases of that have providers of their own.
func (v *vendor) toml(url string) string {
	var b strings.Builder
	for _, suffix := range []string{"", "-strict", "-auth", "-quota"} {
		name, strict := v.name()+suffix, suffix == "-strict"
		fmt.Fprintf(&b, "[providers.%s]\nadapter = %q\nbase_url = %q\napi_key = %q\nallow_private = true\ntimeout_seconds = 5\n[providers.%s.settings]\n",
			name, v.adapter, url+v.base, v.key, name)
		for setting, value := range v.settings {
			if strict && setting == "drop" {
				setting = "refuse"
			}
			fmt.Fprintf(&b, "%s = %q\n", setting, value)
		}
		if strict {
			b.WriteString("unsupported = \"refuse\"\n")
		}
	}
	return b.String()
}

// model is the name of the model for one case: each has its own, so that no failure tells on another case.
func (v *vendor) model(c string) string { return v.name() + "." + c }

// modelTOML deploys the models at the vendor.
func (v *vendor) modelTOML(b *strings.Builder, name, at string) {
	fmt.Fprintf(b, "[[models]]\nname = %q\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\ncapabilities = [\"tools\", \"json_schema\"]\n"+
		"[[models.deployments]]\nprovider = %q\nupstream = %q\nusd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", v.model(name), at, v.upstream)
}

// TestProviders asks every built-in adapter, in its own process, through the real engine, for every kind of answer its provider
// has. `make test-providers` runs it.
func TestProviders(t *testing.T) {
	t.Parallel()
	var counts []vendorCount
	for _, v := range vendors() {
		t.Run(v.name(), func(t *testing.T) { counts = append(counts, testVendor(t, &v)) })
	}
	if !t.Failed() && len(counts) == len(vendors()) {
		checkProviderTable(t, counts)
	}
}

// vendorCount is how many cases of a vendor have run.
type vendorCount struct {
	*vendor
	cases int
}

func testVendor(t *testing.T, v *vendor) vendorCount {
	answers := readAnswers(t, v)
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	var b strings.Builder
	b.WriteString("[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n" + v.toml(up.URL()))
	for _, c := range append(providerCases(), providerCase{name: "dropped"}) {
		at := v.name()
		if c.name == "auth" || c.name == "quota" {
			at += "-" + c.name
		}
		v.modelTOML(&b, c.name, at)
	}
	v.modelTOML(&b, "refused", v.name()+"-strict")
	g := newGateway(t, b.String(), nil)
	count := vendorCount{vendor: v}
	for _, c := range providerCases() {
		got, ok := answers[c.name]
		if !ok {
			if !slices.Contains(v.noErrors, c.name) {
				t.Errorf("there is no answer for case %q", c.name)
			}
			continue
		}
		delete(answers, c.name)
		count.cases++
		t.Run(c.name, func(t *testing.T) {
			up.Script(func(*scripted.Request) *scripted.Reply { return &got.reply })
			v.ask(t, g, up, &c, got)
		})
	}
	t.Run("fields", func(t *testing.T) { v.checkFields(t, g, up) })
	t.Run("probe-and-models", func(t *testing.T) { v.checkFree(t, g, up, answers["models"]) })
	delete(answers, "models")
	for name := range answers {
		t.Errorf("the answer %q belongs to no case", name)
	}
	count.cases += 3 // dropped, refused, probe and models
	return count
}

// ask performs one case.
func (v *vendor) ask(t *testing.T, g *testGateway, up *scripted.Server, c *providerCase, want *recorded) {
	body := fmt.Sprintf(`{"model":%q,"max_completion_tokens":77,"stream":%v,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Hi"}]`, v.model(c.name), c.stream)
	if !c.stream {
		body = strings.Replace(body, `,"stream_options":{"include_usage":true}`, "", 1)
	}
	if c.extra != "" {
		body += "," + c.extra
	}
	before := len(up.Requests())
	resp, text := postWhole(t, g.api, body+"}", c.code != "" && c.stream)
	status := c.status
	if c.class == provider.ClassBadRequest {
		status = want.reply.Status // passed on
	}
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, text)
	}
	requests := withoutProbes(up.Requests()[before:])
	if len(requests) == 0 {
		t.Fatal("nothing was sent to the provider")
	}
	v.checkSent(t, requests[0], c.stream)
	if strings.Contains(text, "canary") {
		t.Errorf("the answer repeats the key: %s", text)
	}
	if c.code != "" {
		checkProviderError(t, resp, text, c, want)
	} else {
		checkAnswer(t, resp, text, c.stream, want.want)
	}
	if c.class != "" {
		v.checkClass(t, g, resp.Header.Get("X-Request-Id"), c.class)
	}
}

// postWhole posts a request and reads the answer, which may have to break off.
func postWhole(t *testing.T, c *client, body string, broken bool) (*http.Response, string) {
	resp, err := c.do("POST", chatPath, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) != broken {
		t.Errorf("reading the answer: %v after %q", err, text)
	}
	return resp, string(text)
}

// checkClass asks the record of the decision which class the engine gave the error.
func (v *vendor) checkClass(t *testing.T, g *testGateway, id string, class provider.ErrorClass) {
	var d struct {
		Attempts []struct{ Outcome string }
	}
	err := eventually(func() error { return g.api.call("GET", "/api/v1/llm/decisions/"+id, nil, &d) })
	if err != nil || len(d.Attempts) == 0 || d.Attempts[0].Outcome != string(class) {
		t.Errorf("the decision's record says %+v, want class %s; %v", d, class, err)
	}
}

// checkSent examines what reached the provider.
func (v *vendor) checkSent(t *testing.T, r *scripted.Request, stream bool) {
	path := v.path
	if stream && v.streamed != "" {
		path = v.streamed
	}
	if r.Path != path {
		t.Errorf("sent to %s, want %s", r.Path, path)
	}
	if name, value, found := strings.Cut(v.auth, ": "); found && r.Header[name] != value {
		t.Errorf("%s is %q, want %q", name, r.Header[name], value)
	}
	if v.adapter == "bedrock" && !strings.HasPrefix(r.Header["Authorization"], "AWS4-HMAC-SHA256 Credential=AKIACANARY/") {
		t.Errorf("authorization %q", r.Header["Authorization"])
	}
	if !bytes.Contains(r.Body, []byte(fmt.Sprintf("%q:77", v.limit))) {
		t.Errorf("no limit %s of 77 in %s", v.limit, r.Body)
	}
	if id := fmt.Sprintf("%q", v.upstream); v.adapter != "bedrock" && !bytes.Contains(r.Body, []byte(`"model":`+id)) {
		t.Errorf("no model %s in %s", id, r.Body)
	}
	for name, want := range v.sentHeaders() {
		if r.Header[name] != want {
			t.Errorf("%s is %q, want %q", name, r.Header[name], want)
		}
	}
	for _, want := range v.sentFields() {
		if !bytes.Contains(r.Body, []byte(want)) {
			t.Errorf("no %s in %s", want, r.Body)
		}
	}
}

// sentHeaders are the headers that a vendor's settings make.
func (v *vendor) sentHeaders() map[string]string {
	return map[string]map[string]string{
		"openai":      {"Openai-Project": "proj_1"},
		"anthropic":   {"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "context-1m-2025-08-07"},
		"openrouter":  {"X-Title": "Test"},
		"huggingface": {"X-Hf-Bill-To": "acme"},
	}[v.adapter]
}

// sentFields are the fields that a vendor's settings make.
func (v *vendor) sentFields() []string {
	return map[string][]string{
		"openrouter":    {`"provider":{"data_collection":"deny"}`},
		"ollama-native": {`"num_ctx":16384`, `"keep_alive":"10m"`, `"think":false`},
		"bedrock":       {`"guardrailIdentifier":"gr1","guardrailVersion":"2"`},
	}[v.name()]
}

// withoutProbes leaves out the free looks at a provider, which may come at any time.
func withoutProbes(requests []*scripted.Request) []*scripted.Request {
	return slices.DeleteFunc(requests, func(r *scripted.Request) bool { return r.Method == "GET" })
}

// checkFields sends a field that the provider cannot serve: it is dropped and named, or the request is refused.
func (v *vendor) checkFields(t *testing.T, g *testGateway, up *scripted.Server) {
	field, _, _ := strings.Cut(strings.TrimPrefix(v.dropped, `"`), `"`)
	request := func(model string) []byte {
		return []byte(fmt.Sprintf(`{"model":%q,"x_unknown":[1],%s,"messages":[{"role":"user","content":"Hi"}]}`, v.model(model), v.dropped))
	}
	chat := readAnswers(t, v)["chat"]
	up.Script(func(*scripted.Request) *scripted.Reply { return &chat.reply })
	resp, text := g.api.post(t, chatPath, request("dropped"))
	sent := withoutProbes(up.Requests())
	if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("X-Pointsman-Dropped"), field) || bytes.Contains(sent[len(sent)-1].Body, []byte(`"`+field+`"`)) {
		t.Errorf("dropping: %d, dropped %q, sent %s, got %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Dropped"), sent[len(sent)-1].Body, text)
	}
	if v.adapter == "openrouter" {
		return // what it drops would change the price: there is no other way
	}
	resp, text = g.api.post(t, chatPath, request("refused"))
	if resp.StatusCode != 400 || !strings.Contains(text, `"param":"`+field+`"`) || !strings.Contains(text, `"unsupported_parameter"`) || len(withoutProbes(up.Requests())) != len(sent) {
		t.Errorf("refusing: %d %s", resp.StatusCode, text)
	}
}

// checkFree asks the free questions: the probe with a key that works and one that does not, and the list of models.
func (v *vendor) checkFree(t *testing.T, g *testGateway, up *scripted.Server, list *recorded) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	base := up.URL() + v.base
	e, err := g.plugins.Prepare(ctx, v.adapter, &provider.PrepareRequest{Provider: v.name(), BaseURL: base, Settings: v.settings})
	if err != nil {
		t.Fatal(err)
	}
	if list == nil {
		t.Fatal("there is no answer for models")
	}
	if err := providertest.ValidateEndpoint(e); err != nil {
		t.Error(err)
	}
	req := provider.ModelsRequest{Provider: v.name(), BaseURL: base, Credential: provider.NewSecret(v.key), Settings: v.settings, AllowPrivate: true}
	up.Script(func(r *scripted.Request) *scripted.Reply {
		if r.Method != "GET" || len(r.Body) > 0 {
			t.Errorf("a free call was %s %s", r.Method, r.Path)
		}
		return &list.reply
	})
	models, err := g.plugins.Models(ctx, v.adapter, &req)
	if err != nil || !slices.ContainsFunc(models, func(m provider.Model) bool { return m.ID == v.models }) {
		t.Errorf("models %+v, error %v", models, err)
	}
	for _, m := range models {
		if want := list.want["context"]; m.ID == v.models && want != "" && fmt.Sprint(m.ContextWindow, m.Capabilities) != want {
			t.Errorf("the model is %+v, want context %s", m, want)
		}
	}
	refused := &scripted.Reply{Status: 403, Header: map[string]string{"x-amzn-errortype": "UnrecognizedClientException"}, Body: []byte(`{"message":"no"}`)}
	up.Script(func(*scripted.Request) *scripted.Reply { return refused })
	var failure *provider.Error
	if _, err := g.plugins.Models(ctx, v.adapter, &req); !errors.As(err, &failure) || failure.Class != provider.ClassAuth {
		t.Errorf("models with a wrong key: %v", err)
	}
	if e.Mode == provider.ModeDirect {
		if e.Probe.Path == "" {
			t.Error("there is no free probe")
		}
		return
	}
	probe := provider.ProbeRequest(req)
	if err := g.plugins.Probe(ctx, v.adapter, &probe); !errors.As(err, &failure) || failure.Class != provider.ClassAuth {
		t.Errorf("probing with a wrong key: %v", err)
	}
	up.Script(func(*scripted.Request) *scripted.Reply { return &list.reply })
	if err := g.plugins.Probe(ctx, v.adapter, &probe); err != nil {
		t.Errorf("probing: %v", err)
	}
}

func checkProviderError(t *testing.T, resp *http.Response, text string, c *providerCase, want *recorded) {
	if !strings.Contains(text, fmt.Sprintf("%q", c.code)) {
		t.Errorf("no code %s in %s", c.code, text)
	}
	if after := want.want["retry"]; after != "" && resp.Header.Get("Retry-After") != after {
		t.Errorf("Retry-After is %q, want %s", resp.Header.Get("Retry-After"), after)
	}
	if c.stream && strings.Contains(text, "[DONE]") {
		t.Errorf("a stream that broke off ends like a whole one: %s", text)
	}
}

// said is what an answer says, buffered or streamed.
type said struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning_content"`
	ToolCalls []struct {
		Index    int
		ID       string
		Function struct{ Name, Arguments string }
	} `json:"tool_calls"`
}

type chatAnswer struct {
	Choices []struct {
		Message, Delta said
		Finish         string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int64 `json:"prompt_tokens"`
		Completion int64 `json:"completion_tokens"`
		In         struct {
			Cached int64 `json:"cached_tokens"`
		} `json:"prompt_tokens_details"`
		Cost json.Number `json:"cost"`
	}
}

// checkAnswer compares an answer with the words "key=value" of the recording.
func checkAnswer(t *testing.T, resp *http.Response, text string, stream bool, want map[string]string) {
	got := map[string]string{}
	payloads := []string{text}
	if stream {
		if !strings.HasSuffix(text, "data: [DONE]\n\n") {
			t.Errorf("the stream does not end: %q", text)
		}
		payloads = nil
		for event := range strings.SplitSeq(text, "\n\n") {
			if data, ok := strings.CutPrefix(event, "data: "); ok && data != "[DONE]" {
				payloads = append(payloads, data)
			}
		}
	}
	for _, p := range payloads {
		var a chatAnswer
		if err := json.Unmarshal([]byte(p), &a); err != nil {
			t.Fatalf("%v in %s", err, p)
		}
		for i := range a.Choices {
			choice := &a.Choices[i]
			for _, s := range []said{choice.Message, choice.Delta} {
				got["text"] += s.Content
				for _, call := range s.ToolCalls {
					if call.Function.Name != "" && call.ID == "" {
						t.Error("a tool call has no id")
					}
					got["tool"] += call.Function.Name
					got["args"] += call.Function.Arguments
				}
			}
			got["finish"] = cmp.Or(choice.Finish, got["finish"])
		}
		if u := a.Usage; u != nil {
			got["input"], got["output"], got["cached"], got["cost"] = fmt.Sprint(u.Prompt), fmt.Sprint(u.Completion), fmt.Sprint(u.In.Cached), u.Cost.String()
		}
	}
	got["args"] = strings.ReplaceAll(got["args"], " ", "")
	for key, value := range want {
		if key != "context" && got[key] != value {
			t.Errorf("%s is %q, want %q; the answer is %s", key, got[key], value, text)
		}
	}
}

// recorded is an answer of a provider, and what is expected of it.
type recorded struct {
	want  map[string]string
	reply scripted.Reply
}

// readAnswers reads the sections of a vendor's file:
//
//	=== CASE
//	want KEY=VALUE… (a space in a value is written ~)
//	HTTP STATUS
//	HEADER: VALUE
//
//	BODY
func readAnswers(t *testing.T, v *vendor) map[string]*recorded {
	t.Helper()
	data, err := os.ReadFile("../../plugins/" + v.adapter + "/testdata/" + cmp.Or(v.file, "answers") + ".http")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*recorded{}
	for _, section := range strings.Split("\n"+string(data), "\n=== ")[1:] {
		head, body, _ := strings.Cut(section, "\n\n")
		r := &recorded{want: map[string]string{}, reply: scripted.Reply{Header: map[string]string{}}}
		lines := strings.Split(head, "\n")
		for _, line := range lines[1:] {
			if words, ok := strings.CutPrefix(line, "want "); ok {
				for _, word := range strings.Fields(words) {
					key, value, _ := strings.Cut(word, "=")
					r.want[key] = strings.ReplaceAll(value, "~", " ")
				}
			} else if _, err := fmt.Sscanf(line, "HTTP %d", &r.reply.Status); err != nil {
				name, value, _ := strings.Cut(line, ": ")
				r.reply.Header[http.CanonicalHeaderKey(name)] = value
			}
		}
		if r.reply.Status == 0 || out[lines[0]] != nil {
			t.Fatalf("%s: section %q has no status, or is there twice", v.name(), lines[0])
		}
		r.body(strings.TrimSpace(body))
		out[lines[0]] = r
	}
	return out
}

// body makes a buffered body, or the pieces of a streamed one, of text.
func (r *recorded) body(text string) {
	separator, frame := "", func(piece string) []byte { return []byte(piece) }
	switch r.reply.Header["Content-Type"] {
	case "text/event-stream":
		separator, frame = "\n\n", func(piece string) []byte { return []byte(piece + "\n\n") }
	case "application/x-ndjson":
		separator, frame = "\n", func(piece string) []byte { return []byte(piece + "\n") }
	case "application/vnd.amazon.eventstream":
		separator, frame = "\n", func(piece string) []byte {
			kind, payload, _ := strings.Cut(piece, " ")
			if name, ok := strings.CutSuffix(kind, "Exception"); ok {
				return eventstream.Append(nil, []byte(payload), ":exception-type", name+"Exception", ":message-type", "exception")
			}
			return eventstream.Append(nil, []byte(payload), ":event-type", kind, ":content-type", "application/json", ":message-type", "event")
		}
	default:
		r.reply.Body = []byte(text)
		return
	}
	for piece := range strings.SplitSeq(text, separator) {
		r.reply.Chunks = append(r.reply.Chunks, frame(piece))
	}
}

// TestUnservedFieldGoesElsewhere: a provider that must not be asked without a field is passed over, before anything is sent.
func TestUnservedFieldGoesElsewhere(t *testing.T) {
	var b, deployments strings.Builder
	b.WriteString("[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n")
	var servers []*scripted.Server
	for i, adapter := range []string{"groq", "openai"} {
		up, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(up.Close)
		servers = append(servers, up)
		fmt.Fprintf(&b, "[providers.%[1]s-x]\nadapter = %[1]q\nbase_url = %[2]q\napi_key = \"k\"\nallow_private = true\n", adapter, up.URL()+"/v1")
		if adapter == "groq" {
			b.WriteString("[providers.groq-x.settings]\nunsupported = \"refuse\"\n")
		}
		fmt.Fprintf(&deployments, "[[models.deployments]]\nprovider = \"%s-x\"\nupstream = \"u\"\nusd_in_per_1m = %d.0\nusd_out_per_1m = 2.0\n", adapter, i+1)
	}
	b.WriteString("[[models]]\nname = \"m\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n" + deployments.String() +
		"[[models]]\nname = \"only\"\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n[[models.deployments]]\nprovider = \"groq-x\"\nupstream = \"u\"\nusd_in_per_1m = 1\nusd_out_per_1m = 2\n")
	g := newGateway(t, b.String(), nil)
	resp, text := g.api.post(t, chatPath, ask("m", "logprobs", true))
	if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "openai-x" || resp.Header.Get("X-Pointsman-Attempts") != "2" || servers[0].Count() != 0 {
		t.Errorf("%d by %q, %d sent to the other: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Provider"), servers[0].Count(), text)
	}
	if resp, text = g.api.post(t, chatPath, ask("only", "logprobs", nil)); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Provider") != "groq-x" {
		t.Errorf("null counts as absent: %d by %q: %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Provider"), text)
	}
	if sent := servers[0].Requests(); len(sent) != 1 || bytes.Contains(sent[0].Body, []byte("logprobs")) {
		t.Errorf("sent %d requests", len(sent))
	}
}
