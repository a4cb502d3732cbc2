package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pointsman/pointsman/sdk/provider"
	providerv1 "github.com/pointsman/pointsman/sdk/provider/rpc/v1"
)

func endpointToProto(e *provider.Endpoint) *providerv1.Endpoint {
	out := &providerv1.Endpoint{
		Mode: string(e.Mode), Dialect: string(e.Dialect), BaseUrl: e.BaseURL, Paths: e.Paths, Headers: e.Headers,
		Auth: &providerv1.Auth{Header: e.Auth.Header, Prefix: e.Auth.Prefix},
		Body: &providerv1.BodyRules{
			StreamUsage: e.Body.StreamUsage, MaxTokensField: e.Body.MaxTokensField,
			DefaultMaxTokens: int32(e.Body.DefaultMaxTokens), Drop: e.Body.Drop, Refuse: e.Body.Refuse, KeepInMessages: e.Body.KeepInMessages,
			Set: e.Body.Set,
		},
	}
	if e.Probe.Path != "" {
		out.Probe = &providerv1.ProbeRule{Path: e.Probe.Path}
	}
	for _, l := range e.RateLimits {
		out.RateLimits = append(out.RateLimits, &providerv1.RateLimit{
			Unit: l.Unit, Limit: l.Limit, Remaining: l.Remaining, Reset_: l.Reset,
		})
	}
	for _, rule := range e.Errors {
		out.Errors = append(out.Errors, &providerv1.ErrorRule{
			Status: int32(rule.Status), Contains: rule.Contains, Class: string(rule.Class),
		})
	}
	if !e.Expires.IsZero() {
		out.Expires = timestamppb.New(e.Expires)
	}
	return out
}

func endpointFromProto(e *providerv1.Endpoint) (*provider.Endpoint, error) {
	out := &provider.Endpoint{
		Mode: provider.Mode(e.GetMode()), Dialect: provider.Dialect(e.GetDialect()), BaseURL: e.GetBaseUrl(),
		Paths: e.GetPaths(), Headers: e.GetHeaders(),
		Auth: provider.Auth{Header: e.GetAuth().GetHeader(), Prefix: e.GetAuth().GetPrefix()},
		Body: provider.BodyRules{
			StreamUsage: e.GetBody().GetStreamUsage(), MaxTokensField: e.GetBody().GetMaxTokensField(),
			DefaultMaxTokens: int(e.GetBody().GetDefaultMaxTokens()), Drop: e.GetBody().GetDrop(), Refuse: e.GetBody().GetRefuse(),
			KeepInMessages: e.GetBody().GetKeepInMessages(),
			Set:            e.GetBody().GetSet(),
		},
		Probe: provider.Probe{Path: e.GetProbe().GetPath()},
	}
	for _, l := range e.GetRateLimits() {
		out.RateLimits = append(out.RateLimits, provider.RateLimit{
			Unit: l.GetUnit(), Limit: l.GetLimit(), Remaining: l.GetRemaining(), Reset: l.GetReset_(),
		})
	}
	if out.Mode != provider.ModeDirect && out.Mode != provider.ModeProxied {
		return nil, fmt.Errorf("the endpoint's mode is %.40q", e.GetMode())
	}
	switch out.Dialect {
	case provider.DialectOpenAI, provider.DialectAnthropic, provider.DialectResponses:
	default:
		return nil, fmt.Errorf("the endpoint's dialect is %.40q", e.GetDialect())
	}
	for _, rule := range e.GetErrors() {
		out.Errors = append(out.Errors, provider.ErrorRule{
			Status: int(rule.GetStatus()), Contains: rule.GetContains(), Class: provider.ErrorClass(rule.GetClass()),
		})
	}
	if e.GetExpires() != nil {
		out.Expires = e.GetExpires().AsTime().In(time.UTC)
	}
	return out, nil
}

// failureToProto splits an adapter's error: the provider's own answer crosses as data, anything else as a status.
func failureToProto(err error) (*providerv1.Failure, error) {
	var failure *provider.Error
	switch {
	case err == nil:
		return nil, nil
	case errors.As(err, &failure):
		return &providerv1.Failure{Class: string(failure.Class), Message: failure.Message}, nil
	}
	return nil, toStatus(err)
}

// failureFromProto undoes failureToProto.
func failureFromProto(f *providerv1.Failure) error {
	if f == nil {
		return nil
	}
	return &provider.Error{Class: provider.ErrorClass(f.GetClass()), Message: clip(f.GetMessage())}
}

// toStatus gives the errors of sdk/provider their status codes.
func toStatus(err error) error {
	code := codes.Unknown
	switch {
	case errors.Is(err, provider.ErrUnavailable):
		code = codes.Unavailable
	case errors.Is(err, provider.ErrTooLarge):
		code = codes.ResourceExhausted
	case errors.Is(err, provider.ErrNotProxied):
		code = codes.Unimplemented
	case errors.Is(err, provider.ErrSetting):
		code = codes.InvalidArgument
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// fromStatus undoes toStatus. An error of the caller's own context wins, so that errors.Is works on it.
func fromStatus(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	s := status.Convert(err)
	message := clip(s.Message())
	switch s.Code() {
	case codes.Unavailable, codes.Canceled: // Canceled without ours: the connection was closed
		return &callError{sentinel: provider.ErrUnavailable, message: message}
	case codes.ResourceExhausted:
		return &callError{sentinel: provider.ErrTooLarge, message: message}
	case codes.NotFound:
		return &callError{sentinel: provider.ErrUnknownAdapter, message: message}
	case codes.Unimplemented:
		return &callError{sentinel: provider.ErrNotProxied, message: message}
	case codes.InvalidArgument:
		return &callError{sentinel: provider.ErrSetting, message: message}
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return errors.New(message)
}

// maxErrorBytes bounds a plugin's error text in the gateway.
const maxErrorBytes = 2048

func clip(message string) string {
	if len(message) > maxErrorBytes {
		message = strings.ToValidUTF8(message[:maxErrorBytes], "") + "…"
	}
	return message
}

// callError is a plugin's message that errors.Is recognises as a sentinel of sdk/provider.
type callError struct {
	sentinel error
	message  string
}

// Error returns the plugin's message.
func (e *callError) Error() string { return e.message }

// Unwrap returns the sentinel.
func (e *callError) Unwrap() error { return e.sentinel }
