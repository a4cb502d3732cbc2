package providertest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// ValidateEndpoint says everything that is wrong with an endpoint.
func ValidateEndpoint(e *provider.Endpoint) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	switch e.Mode {
	case provider.ModeDirect:
		if base, err := provider.BaseURL(e.BaseURL, ""); err != nil || base != e.BaseURL {
			wrong("the base URL %q is not http(s)://host[/path] without a trailing slash", e.BaseURL)
		}
	case provider.ModeProxied:
		if e.BaseURL != "" {
			wrong("a proxied endpoint has the base URL %q", e.BaseURL)
		}
	default:
		wrong("the mode is %q", e.Mode)
	}
	switch e.Dialect {
	case provider.DialectOpenAI, provider.DialectAnthropic, provider.DialectResponses:
	default:
		wrong("the dialect is %q", e.Dialect)
	}
	if len(e.Paths) == 0 {
		wrong("there are no paths, so no operations")
	}
	for operation, path := range e.Paths {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " \r\n") {
			wrong("the path %q of %q does not begin with a slash", path, operation)
		}
	}
	for name, value := range e.Headers {
		switch strings.ToLower(name) {
		case "authorization", "x-api-key", "api-key", "cookie", "proxy-authorization":
			wrong("the header %q holds a credential; Auth says where it goes", name)
		case "host", "content-length", "transfer-encoding", "connection":
			wrong("the header %q is the gateway's", name)
		}
		if strings.ContainsAny(name+value, "\r\n") {
			wrong("the header %q holds a line break", name)
		}
	}
	if e.Auth.Header == "" && e.Auth.Prefix != "" {
		wrong("there is a credential prefix %q without a header", e.Auth.Prefix)
	}
	if e.Body.DefaultMaxTokens < 0 {
		wrong("the default output limit is negative")
	}
	if !e.Expires.IsZero() && e.Expires.Before(time.Now()) {
		wrong("the endpoint has expired")
	}
	for i, rule := range e.Errors {
		if err := validateRule(rule); err != nil {
			wrong("error rule %d: %w", i, err)
		}
	}
	return errors.Join(errs...)
}

func validateRule(rule provider.ErrorRule) error {
	switch rule.Class {
	case provider.ClassAuth, provider.ClassRateLimited, provider.ClassQuota, provider.ClassOverloaded,
		provider.ClassServer, provider.ClassNotFound, provider.ClassContextLength, provider.ClassContentFilter,
		provider.ClassBadRequest:
	default:
		return fmt.Errorf("the class is %q", rule.Class)
	}
	if rule.Status != 0 && (rule.Status < 400 || rule.Status > 599) {
		return fmt.Errorf("the status is %d", rule.Status)
	}
	if rule.Status == 0 && rule.Contains == "" {
		return errors.New("it matches every error")
	}
	return nil
}
