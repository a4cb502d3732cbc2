package openai

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestPrepare(t *testing.T) {
	tests := []struct {
		name string
		req  provider.PrepareRequest
		base string
		want provider.BodyRules
		err  error
	}{
		{
			"default",
			provider.PrepareRequest{},
			DefaultBaseURL,
			provider.BodyRules{StreamUsage: true, MaxTokensField: "max_completion_tokens"},
			nil,
		},
		{
			"compatible",
			provider.PrepareRequest{BaseURL: "https://api.groq.com/openai/v1/"},
			"https://api.groq.com/openai/v1",
			provider.BodyRules{StreamUsage: true},
			nil,
		},
		{"settings", provider.PrepareRequest{BaseURL: "http://127.0.0.1:11434/v1", Settings: map[string]string{
			"stream_usage": "false", "max_tokens_field": "num_predict", "drop": "logprobs, seed",
		}}, "http://127.0.0.1:11434/v1", provider.BodyRules{MaxTokensField: "num_predict", Drop: []string{"logprobs", "seed"}}, nil},
		{"bad switch", provider.PrepareRequest{Settings: map[string]string{"stream_usage": "maybe"}}, "", provider.BodyRules{}, provider.ErrSetting},
		{"unknown setting", provider.PrepareRequest{Settings: map[string]string{"organisation": "x"}}, "", provider.BodyRules{}, provider.ErrSetting},
		{"bad address", provider.PrepareRequest{BaseURL: "file:///etc"}, "", provider.BodyRules{}, provider.ErrSetting},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := New().Prepare(context.Background(), &test.req)
			if !errors.Is(err, test.err) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if err == nil && (got.BaseURL != test.base || !reflect.DeepEqual(got.Body, test.want)) {
				t.Errorf("endpoint %+v", got)
			}
		})
	}
	got, err := New().Prepare(context.Background(), &provider.PrepareRequest{Settings: map[string]string{"organization": "o", "project": "p"}})
	if err != nil || got.Headers["OpenAI-Organization"] != "o" || got.Headers["OpenAI-Project"] != "p" || got.Auth.Prefix != "Bearer " {
		t.Errorf("endpoint %+v, error %v", got, err)
	}
}

func TestErrorRules(t *testing.T) {
	tests := []struct {
		name   string
		status int
		body   string
		want   provider.ErrorClass
	}{
		{"OpenAI context", 400, `{"error":{"message":"This model's maximum context length is 8192 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`, provider.ClassContextLength},
		{"vLLM context", 400, `{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens","type":"BadRequestError","code":400}`, provider.ClassContextLength},
		{"Together context", 422, "{\"error\":{\"message\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193\"}}", provider.ClassContextLength},
		{"llama.cpp context", 400, `{"error":{"code":400,"message":"the request exceeds the available context size","type":"exceed_context_size_error"}}`, provider.ClassContextLength},
		{"quota", 429, `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`, provider.ClassQuota},
		{"OpenRouter credits", 402, `{"error":{"code":402,"message":"Insufficient credits"}}`, provider.ClassQuota},
		{"rate limit", 429, `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`, provider.ClassRateLimited},
		{"Groq tokens a minute", 413, `{"error":{"message":"Request too large","type":"tokens","code":"rate_limit_exceeded"}}`, provider.ClassRateLimited},
		{"unknown model", 404, `{"error":{"message":"The model does not exist","code":"model_not_found"}}`, provider.ClassNotFound},
		{"Groq decommissioned", 400, `{"error":{"message":"decommissioned","code":"model_decommissioned"}}`, provider.ClassNotFound},
		{"OpenRouter model", 400, `{"error":{"message":"x/y is not a valid model ID","code":400}}`, provider.ClassNotFound},
		{"key", 401, `{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}`, provider.ClassAuth},
		{"filter", 400, `{"error":{"message":"filtered","code":"content_filter"}}`, provider.ClassContentFilter},
		{"OpenRouter moderation", 403, `{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged"}}`, provider.ClassContentFilter},
		{"bad request", 400, `{"error":{"message":"temperature must be <= 2","param":"temperature"}}`, provider.ClassBadRequest},
		{"server", 500, `{"error":{"message":"oops"}}`, provider.ClassServer},
		{"overloaded", 503, `busy`, provider.ClassOverloaded},
	}
	endpoint, err := New().Prepare(context.Background(), &provider.PrepareRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := provider.Classify(endpoint.Errors, test.status, []byte(test.body)); got != test.want {
				t.Errorf("class %s, want %s", got, test.want)
			}
		})
	}
}
