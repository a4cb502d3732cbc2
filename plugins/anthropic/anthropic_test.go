package anthropic

import (
	"context"
	"errors"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestPrepare(t *testing.T) {
	got, err := New().Prepare(context.Background(), &provider.PrepareRequest{Settings: map[string]string{"beta": "b1,b2"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.BaseURL+got.Paths["chat"] != "https://api.anthropic.com/v1/messages" || got.Dialect != provider.DialectAnthropic ||
		got.Headers["anthropic-version"] != "2023-06-01" || got.Headers["anthropic-beta"] != "b1,b2" ||
		got.Auth != (provider.Auth{Header: "x-api-key"}) || got.Body.DefaultMaxTokens != 4096 {
		t.Errorf("endpoint %+v", got)
	}
	if _, err := New().Prepare(context.Background(), &provider.PrepareRequest{Settings: map[string]string{"bet": "x"}}); !errors.Is(err, provider.ErrSetting) {
		t.Errorf("error %v", err)
	}
}

func TestErrorRules(t *testing.T) {
	body := func(kind, message string) string {
		return `{"type":"error","error":{"type":"` + kind + `","message":"` + message + `"}}`
	}
	tests := []struct {
		name   string
		status int
		body   string
		want   provider.ErrorClass
	}{
		{"too long", 400, body("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), provider.ClassContextLength},
		{"too long with output", 400, body("invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3"), provider.ClassContextLength},
		{"credit", 400, body("invalid_request_error", "Your credit balance is too low to access the API."), provider.ClassQuota},
		{"filter", 400, body("invalid_request_error", "Output blocked by content filtering policy"), provider.ClassContentFilter},
		{"invalid", 400, body("invalid_request_error", "max_tokens: must be positive"), provider.ClassBadRequest},
		{"key", 401, body("authentication_error", "invalid x-api-key"), provider.ClassAuth},
		{"permission", 403, body("permission_error", "no"), provider.ClassAuth},
		{"model", 404, body("not_found_error", "model: x"), provider.ClassNotFound},
		{"rate", 429, body("rate_limit_error", "slow down"), provider.ClassRateLimited},
		{"overloaded", 529, body("overloaded_error", "Overloaded"), provider.ClassOverloaded},
		{"overloaded in a stream", 200, body("overloaded_error", "Overloaded"), provider.ClassOverloaded},
		{"server", 500, body("api_error", "Internal server error"), provider.ClassServer},
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
