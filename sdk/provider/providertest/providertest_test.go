package providertest

import (
	"context"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/provider"
)

func TestValidateStream(t *testing.T) {
	const (
		begin   = `{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}`
		finish  = `{"object":"chat.completion.chunk","choices":[{"delta":{},"finish_reason":"stop"}]}`
		usage   = `{"object":"chat.completion.chunk","choices":[],"usage":{"total_tokens":1}}`
		start   = `{"type":"message_start"}`
		open    = `{"type":"content_block_start","index":0}`
		content = `{"type":"content_block_delta","index":0}`
		closed  = `{"type":"content_block_stop","index":0}`
		delta   = `{"type":"message_delta"}`
		stop    = `{"type":"message_stop"}`
		created = `{"type":"response.created","response":{}}`
		text    = `{"type":"response.output_text.delta","delta":"a"}`
		done    = `{"type":"response.completed","response":{}}`
	)
	for _, c := range []struct {
		name    string
		dialect provider.Dialect
		events  []string
		want    string // part of the error; "" for none
	}{
		{"a good one", provider.DialectOpenAI, []string{begin, begin, finish, usage}, ""},
		{"without usage", provider.DialectOpenAI, []string{begin, finish}, ""},
		{"no end", provider.DialectOpenAI, []string{begin, usage}, "finish_reason"},
		{"content after the end", provider.DialectOpenAI, []string{finish, begin}, "after the finish reason"},
		{"content after the usage", provider.DialectOpenAI, []string{finish, usage, begin}, "after the usage"},
		{"the end marker", provider.DialectOpenAI, []string{finish, "[DONE]"}, "not the JSON"},
		{"another object", provider.DialectOpenAI, []string{`{"object":"chat.completion","choices":[]}`}, "chat.completion.chunk"},
		{"an error as an event", provider.DialectOpenAI, []string{`{"error":{}}`}, "no choices"},
		{"messages", provider.DialectAnthropic, []string{start, `{"type":"ping"}`, open, content, closed, delta, stop}, ""},
		{"no start", provider.DialectAnthropic, []string{open, content, closed, stop}, "event 0"},
		{"an open block", provider.DialectAnthropic, []string{start, open, content, delta, stop}, "message_delta, is out of order"},
		{"no stop", provider.DialectAnthropic, []string{start, open, content, closed, delta}, "no message_stop"},
		{"more after the stop", provider.DialectAnthropic, []string{start, stop, delta}, "out of order"},
		{"an unknown event", provider.DialectAnthropic, []string{start, `{"type":"finale"}`}, "unknown type"},
		{"a response", provider.DialectResponses, []string{created, text, done}, ""},
		{"an incomplete response", provider.DialectResponses, []string{created, `{"type":"response.incomplete","response":{}}`}, ""},
		{"no beginning of a response", provider.DialectResponses, []string{text, done}, "event 0"},
		{"two beginnings of a response", provider.DialectResponses, []string{created, created, done}, "event 1"},
		{"no end of a response", provider.DialectResponses, []string{created, text}, "no event ends"},
		{"an end without the response", provider.DialectResponses, []string{created, `{"type":"response.completed"}`}, "has no response"},
		{"more after the response", provider.DialectResponses, []string{created, done, text}, "after the end"},
		{"chunks as a response", provider.DialectResponses, []string{begin, finish}, "no type"},
		{"the end marker of a response", provider.DialectResponses, []string{created, done, "[DONE]"}, "not the JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := ValidateStream(c.dialect, c.events)
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestErrorClasses(t *testing.T) {
	rule := func(status int, contains string, class provider.ErrorClass) provider.ErrorRule {
		return provider.ErrorRule{Status: status, Contains: contains, Class: class}
	}
	for _, c := range []struct {
		name    string
		rules   []provider.ErrorRule
		samples []ErrorSample
		want    string
	}{
		{
			"good",
			[]provider.ErrorRule{rule(400, "long", provider.ClassContextLength), rule(400, "", provider.ClassBadRequest)},
			[]ErrorSample{{400, "too long", provider.ClassContextLength}, {429, "", provider.ClassRateLimited}},
			"",
		},
		{"shadowed", []provider.ErrorRule{rule(400, "", provider.ClassBadRequest), rule(400, "long", provider.ClassContextLength)}, nil, "rule 1 is never reached"},
		{"any status after one", []provider.ErrorRule{rule(400, "long", provider.ClassContextLength), rule(0, "long", provider.ClassContextLength)}, nil, ""},
		{"wrong class", nil, []ErrorSample{{429, "out of credit", provider.ClassQuota}}, "means rate_limited to the gateway, not quota"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := errorClasses(context.Background(), &subject{Case: Case{Errors: c.samples}, endpoint: &provider.Endpoint{Errors: c.rules}})
			if (c.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
