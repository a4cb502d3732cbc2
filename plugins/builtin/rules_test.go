package builtin

import (
	"context"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

// TestErrorWordings holds the rules to wordings beside those of the recorded answers: providers have several for one class.
func TestErrorWordings(t *testing.T) {
	minimal := map[string]*provider.PrepareRequest{
		"azure":   {BaseURL: "https://x.openai.azure.com"},
		"bedrock": {Settings: map[string]string{"region": "us-east-1"}},
	}
	endpoints := map[string]*provider.Endpoint{}
	for _, a := range Adapters() {
		d, err := a.Describe(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		req := minimal[d.Name]
		if req == nil {
			req = &provider.PrepareRequest{}
		}
		if endpoints[d.Name], err = a.Prepare(context.Background(), req); err != nil {
			t.Fatalf("%s: %v", d.Name, err)
		}
	}
	for _, test := range []struct {
		adapter string
		status  int
		body    string
		want    provider.ErrorClass
	}{
		{"openai", 503, `{"error":{"message":"Slow Down"}}`, provider.ClassRateLimited},
		{"openai", 403, `{"error":{"code":"unsupported_country_region_territory"}}`, provider.ClassAuth},
		{"openai", 429, `{"error":{"type":"billing_hard_limit_reached","code":"billing_hard_limit_reached"}}`, provider.ClassQuota},
		{"anthropic", 413, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`, provider.ClassContextLength},
		{"anthropic", 400, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits."}}`, provider.ClassQuota},
		{"anthropic", 403, `{"type":"error","error":{"type":"permission_error","message":"no"}}`, provider.ClassAuth},
		{"groq", 413, `{"error":{"message":"Request too large for model on tokens per minute (TPM)","type":"tokens","code":"rate_limit_exceeded"}}`, provider.ClassRateLimited},
		{"groq", 400, `{"error":{"message":"Failed to generate JSON","code":"json_validate_failed"}}`, provider.ClassServer},
		{"groq", 403, `{"error":{"message":"The model is blocked","code":"model_permission_blocked_org"}}`, provider.ClassNotFound},
		{"groq", 400, `{"error":{"message":"Organization has been restricted","code":"organization_restricted"}}`, provider.ClassAuth},
		{"together", 413, `{"error":{"message":"the sum of prompt tokens and max_tokens must be at most 8192"}}`, provider.ClassContextLength},
		{"together", 429, `{"error":{"message":"We are at capacity"}}`, provider.ClassOverloaded},
		{"deepinfra", 403, `{"detail":{"error":"inference prohibited: insufficient balance"}}`, provider.ClassQuota},
		{"deepinfra", 400, `{"detail":{"error":"model x is not available"}}`, provider.ClassNotFound},
		{"openrouter", 404, `{"error":{"code":404,"message":"No endpoints found that support tool use."}}`, provider.ClassServer},
		{"openrouter", 404, `{"error":{"code":404,"message":"No endpoints found matching your data policy."}}`, provider.ClassAuth},
		{"openrouter", 404, `{"error":{"code":404,"message":"No endpoints found for x/y."}}`, provider.ClassNotFound},
		{"openrouter", 403, `{"error":{"code":403,"message":"Key limit exceeded (total limit)."}}`, provider.ClassQuota},
		{"openrouter", 400, `{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"{\"code\":\"context_length_exceeded\"}"}}}`, provider.ClassContextLength},
		{"openrouter", 408, `{"error":{"code":408,"message":"Request timed out"}}`, provider.ClassServer},
		{"fireworks", 425, `{"error":{"message":"deployment is scaling up"}}`, provider.ClassOverloaded},
		{"huggingface", 403, `{"error":"This authentication method does not have sufficient permissions to call Inference Providers"}`, provider.ClassAuth},
		{"huggingface", 400, `{"error":{"message":"Model x is not supported by provider groq."}}`, provider.ClassNotFound},
		{"local", 400, `{"error":{"code":400,"message":"request (9000 tokens) exceeds the available context size (8192 tokens)","type":"exceed_context_size_error"}}`, provider.ClassContextLength},
		{"local", 400, `{"error":"Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context length of only 4096 tokens, which is not enough"}`, provider.ClassContextLength},
		{"local", 400, `{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}`, provider.ClassContextLength},
		{"local", 500, `{"error":"model requires more system memory (40 GiB) than is available (8 GiB)"}`, provider.ClassNotFound},
		{"azure", 401, `{"error":{"code":"PermissionDenied","message":"Principal does not have access to API/Operation."}}`, provider.ClassAuth},
		{"azure", 400, `{"error":{"code":"OperationNotSupported","message":"The chatCompletion operation does not work with the specified model"}}`, provider.ClassNotFound},
		{"azure", 429, `{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}`, provider.ClassQuota},
		{"bedrock", 403, `{"error":{"code":"AccessDeniedException","message":"You don't have access to the model with the specified model ID."}}`, provider.ClassNotFound},
		{"bedrock", 403, `{"error":{"code":"ExpiredTokenException","message":"The security token included in the request is expired"}}`, provider.ClassAuth},
		{"bedrock", 400, `{"error":{"code":"ValidationException","message":"Invocation of model ID x with on-demand throughput isn't supported."}}`, provider.ClassNotFound},
		{"bedrock", 400, `{"error":{"code":"ServiceQuotaExceededException","message":"quota"}}`, provider.ClassQuota},
		{"bedrock", 429, `{"error":{"code":"ModelNotReadyException","message":"The model is not ready"}}`, provider.ClassOverloaded},
		{"bedrock", 408, `{"error":{"code":"ModelTimeoutException","message":"timeout"}}`, provider.ClassServer},
	} {
		if got := provider.Classify(endpoints[test.adapter].Errors, test.status, []byte(test.body)); got != test.want {
			t.Errorf("%s: %d %s is %s, want %s", test.adapter, test.status, test.body, got, test.want)
		}
	}
}
