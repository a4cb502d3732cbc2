// Package bedrock is the adapter for Amazon Bedrock. Requests are signed one by one and answers are framed in AWS's own way, so
// the adapter makes the calls itself, by the Converse API, which is one for all models.
package bedrock

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/plugins/egress"
	"github.com/pointsman/pointsman/plugins/openai/wire"
	"github.com/pointsman/pointsman/sdk/provider"
)

const service = "bedrock" // that signatures are for

// Adapter reaches Bedrock. It is safe for concurrent use.
type Adapter struct {
	client *egress.Client
	now    func() time.Time
}

// New returns the adapter.
func New() *Adapter { return &Adapter{client: egress.New(), now: time.Now} }

// Describe says what the adapter is.
func (*Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{
		Name: "bedrock", Version: "1.0.0", Summary: "Amazon Bedrock's Converse API, signed with the credential of the call",
	}, nil
}

// unsupported are the request fields that the Converse API has no place for.
func unsupported() []string {
	return []string{
		"logprobs", "top_logprobs", "logit_bias", "seed", "frequency_penalty", "presence_penalty", "parallel_tool_calls",
		"response_format", "prediction", "audio", "modalities", "web_search_options", "service_tier", "store", "verbosity",
		"reasoning_effort", "user", "metadata", "safety_identifier", "prompt_cache_key",
	}
}

// Prepare makes a proxied endpoint. The settings are region (needed: "eu-central-1"), guardrail ("ID:VERSION") and unsupported
// ("drop", the default, or "refuse"). The credential is ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN] or a Bedrock API key.
func (*Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if _, err := placeOf(req.BaseURL, req.Settings); err != nil {
		return nil, err
	}
	e := &provider.Endpoint{
		Mode:    provider.ModeProxied,
		Dialect: provider.DialectOpenAI,
		Paths:   map[string]string{"chat": "/model/{model}/converse"},
		Body:    provider.BodyRules{StreamUsage: true, MaxTokensField: "max_tokens"},
		Errors:  errorRules(),
	}
	if req.Settings["unsupported"] == "refuse" {
		e.Body.Refuse = unsupported()
	} else {
		e.Body.Drop = unsupported()
	}
	return e, nil
}

// errorRules read the types of AWS's errors, which Call puts into the code of an error.
func errorRules() []provider.ErrorRule {
	return []provider.ErrorRule{
		{Contains: "Input is too long", Class: provider.ClassContextLength},
		{Contains: "prompt is too long", Class: provider.ClassContextLength},
		{Contains: "exceeds the maximum number of input tokens", Class: provider.ClassContextLength},
		{Contains: "too many input tokens", Class: provider.ClassContextLength},
		{Contains: "model identifier is invalid", Class: provider.ClassNotFound},
		{Contains: "access to the model with the specified model ID", Class: provider.ClassNotFound},
		{Contains: "on-demand throughput isn", Class: provider.ClassNotFound}, // it wants an inference profile's id
		{Contains: `"ResourceNotFoundException"`, Class: provider.ClassNotFound},
		{Contains: "content filtering policy", Class: provider.ClassContentFilter},
		{Contains: "tokens per day", Class: provider.ClassQuota},
		{Contains: `"ServiceQuotaExceededException"`, Class: provider.ClassQuota},
		{Contains: `"ThrottlingException"`, Class: provider.ClassRateLimited},
		{Contains: `"ModelNotReadyException"`, Class: provider.ClassOverloaded},
		{Contains: `"ServiceUnavailableException"`, Class: provider.ClassOverloaded},
		{Contains: `"AccessDeniedException"`, Class: provider.ClassAuth},
		{Contains: `"UnrecognizedClientException"`, Class: provider.ClassAuth},
		{Contains: `"InvalidSignatureException"`, Class: provider.ClassAuth},
		{Contains: `"ExpiredTokenException"`, Class: provider.ClassAuth},
		{Contains: `"ModelErrorException"`, Class: provider.ClassServer}, // 424
		{Contains: `"ModelStreamErrorException"`, Class: provider.ClassServer},
		{Contains: `"ModelTimeoutException"`, Class: provider.ClassServer},
		{Contains: `"InternalServerException"`, Class: provider.ClassServer},
		{Contains: `"ValidationException"`, Class: provider.ClassBadRequest},
	}
}

// place is where Bedrock is.
type place struct {
	runtime, control   string // addresses of the two APIs
	region             string
	guardrail, version string
}

func placeOf(configured string, settings map[string]string) (p place, err error) {
	if err := provider.CheckSettings(settings, "region", "guardrail", "unsupported"); err != nil {
		return p, err
	}
	if v := settings["unsupported"]; v != "" && v != "drop" && v != "refuse" {
		return p, fmt.Errorf(`%w: unsupported must be "drop" or "refuse"`, provider.ErrSetting)
	}
	p.region = settings["region"]
	if !regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d{1,2}$`).MatchString(p.region) {
		return p, fmt.Errorf(`%w: region must be one of AWS, like "eu-central-1"`, provider.ErrSetting)
	}
	if text := settings["guardrail"]; text != "" {
		var found bool
		if p.guardrail, p.version, found = strings.Cut(text, ":"); !found || p.guardrail == "" || p.version == "" {
			return p, fmt.Errorf("%w: guardrail must be ID:VERSION", provider.ErrSetting)
		}
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(p.region, "cn-") {
		domain += ".cn"
	}
	if p.runtime, err = provider.BaseURL(configured, "https://bedrock-runtime."+p.region+"."+domain); err != nil {
		return p, err
	}
	p.control, err = provider.BaseURL(configured, "https://bedrock."+p.region+"."+domain)
	return p, err
}

// Call performs one chat request.
func (a *Adapter) Call(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	if req.Operation != "chat" {
		return send(answer, http.StatusNotFound, nil, wire.ErrorBody("invalid_request_error", "unknown_operation", "", "only chat is possible here"))
	}
	p, err := placeOf(req.BaseURL, req.Settings)
	if err != nil {
		return err
	}
	credential, err := parseCredential(req.Credential.Reveal())
	if err != nil {
		return send(answer, http.StatusUnauthorized, nil, wire.ErrorBody("authentication_error", "UnrecognizedClientException", "", err.Error()))
	}
	body, err := converseRequest(req, p)
	if refusal, ok := wire.Refusal(err); ok {
		return send(answer, http.StatusBadRequest, nil, refusal)
	}
	if err != nil {
		return err
	}
	path := "/model/" + escape(req.Model) + "/converse"
	if req.Stream {
		path += "-stream"
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodPost, p.runtime+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: base_url is not a URL", provider.ErrSetting)
	}
	call.Header.Set("Content-Type", "application/json")
	credential.authorize(call, body, scope{p.region, service, a.now()})
	resp, err := a.client.Do(call, req.AllowPrivate)
	if err != nil {
		return err
	}
	made := wire.Answer{ID: "chatcmpl-" + req.RequestID, Model: req.Model, Created: a.now().Unix()}
	if resp.StatusCode == http.StatusOK && req.Stream {
		defer resp.Body.Close()
		return stream(resp.Body, made, answer)
	}
	text, err := egress.ReadAll(resp)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return sendFailure(answer, resp, text)
	}
	out, err := completion(text, made)
	if err != nil {
		return err
	}
	return send(answer, http.StatusOK, nil, out)
}

func send(answer provider.AnswerWriter, status int, header map[string]string, body []byte) error {
	head := map[string]string{"content-type": "application/json"}
	for name, value := range header {
		head[name] = value
	}
	if err := answer.Head(status, head); err != nil {
		return err
	}
	return answer.Part(body)
}

// sendFailure passes an error answer on in OpenAI's shape, with AWS's type of it as the code.
func sendFailure(answer provider.AnswerWriter, resp *http.Response, text []byte) error {
	kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
	var said struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Other   string `json:"Message"`
	}
	_ = json.Unmarshal(text, &said) // an error that is not JSON has its status alone
	if kind == "" {
		kind = said.Type[strings.LastIndexByte(said.Type, '#')+1:]
	}
	if said.Message == "" {
		said.Message = said.Other
	}
	header := map[string]string{}
	if after := resp.Header.Get("Retry-After"); after != "" {
		header["retry-after"] = after
	}
	return send(answer, resp.StatusCode, header, wire.ErrorBody("provider_error", kind, "", said.Message))
}

// Models lists the foundation models of the region that can be asked on demand.
func (a *Adapter) Models(ctx context.Context, req *provider.ModelsRequest) ([]provider.Model, error) {
	body, err := a.foundationModels(ctx, req)
	if err != nil {
		return nil, err
	}
	var list struct {
		Models []struct {
			ID     string   `json:"modelId"`
			Input  []string `json:"inputModalities"`
			Output []string `json:"outputModalities"`
		} `json:"modelSummaries"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w: the list of models is not what was expected", provider.ErrUnavailable)
	}
	var out []provider.Model
	for _, m := range list.Models {
		if !slices.Contains(m.Output, "TEXT") {
			continue
		}
		model := provider.Model{ID: m.ID}
		if slices.Contains(m.Input, "IMAGE") {
			model.Capabilities = []string{"vision"}
		}
		out = append(out, model)
	}
	return out, nil
}

// Probe asks for the list of models, which is free.
func (a *Adapter) Probe(ctx context.Context, req *provider.ProbeRequest) error {
	_, err := a.foundationModels(ctx, (*provider.ModelsRequest)(req))
	return err
}

func (a *Adapter) foundationModels(ctx context.Context, req *provider.ModelsRequest) ([]byte, error) {
	p, err := placeOf(req.BaseURL, req.Settings)
	if err != nil {
		return nil, err
	}
	credential, err := parseCredential(req.Credential.Reveal())
	if err != nil {
		return nil, err
	}
	call, err := http.NewRequestWithContext(ctx, http.MethodGet, p.control+"/foundation-models?byInferenceType=ON_DEMAND", nil)
	if err != nil {
		return nil, fmt.Errorf("%w: base_url is not a URL", provider.ErrSetting)
	}
	credential.authorize(call, nil, scope{p.region, service, a.now()})
	resp, err := a.client.Do(call, req.AllowPrivate)
	if err != nil {
		return nil, err
	}
	body, err := egress.ReadAll(resp)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		kind, _, _ := strings.Cut(resp.Header.Get("X-Amzn-Errortype"), ":")
		text := append([]byte(`"`+kind+`" `), body...) // where the rules look for it
		return nil, &provider.Error{Class: provider.Classify(errorRules(), resp.StatusCode, text), Message: fmt.Sprintf("the provider answered with status %d", resp.StatusCode)}
	}
	return body, nil
}
