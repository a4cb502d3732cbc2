package providertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

// promptly is how long an adapter may go on after its call was cancelled.
const promptly = time.Second

// recorder receives an answer.
type recorder struct {
	status int
	header map[string]string
	parts  []string
	onPart func() error
}

// Head keeps the head.
func (r *recorder) Head(status int, header map[string]string) error {
	r.status, r.header = status, header
	return nil
}

// Part keeps the part.
func (r *recorder) Part(data []byte) error {
	r.parts = append(r.parts, string(data))
	if r.onPart != nil {
		return r.onPart()
	}
	return nil
}

func (r *recorder) body() string { return strings.Join(r.parts, "") }

// leak says whether the credential occurs in an answer or error.
func (r *recorder) leak(err error) error {
	if strings.Contains(fmt.Sprint(r.header, r.parts, err), Canary) {
		return errors.New("the credential occurs in the answer or the error")
	}
	return nil
}

// request returns the case's call, or why there is none.
func (s *subject) request(stream bool) (*provider.CallRequest, error) {
	switch {
	case s.endpoint == nil || s.endpoint.Mode != provider.ModeProxied:
		return nil, errSkip{"the endpoint is not proxied"}
	case s.Case.Call == nil:
		return nil, errSkip{"the case has no call"}
	}
	req := *s.Case.Call
	req.Stream, req.Credential = stream, provider.NewSecret(Canary)
	if stream {
		var fields map[string]json.RawMessage
		if json.Unmarshal(req.Body, &fields) == nil {
			fields["stream"] = json.RawMessage("true")
			if body, err := json.Marshal(fields); err == nil {
				req.Body = body
			}
		}
	}
	return &req, nil
}

func callDirect(ctx context.Context, s *subject) error {
	if s.endpoint == nil || s.endpoint.Mode != provider.ModeDirect {
		return errSkip{"the endpoint is not direct"}
	}
	var answer recorder
	err := s.Plugin.Call(ctx, s.Adapter, &provider.CallRequest{Operation: "chat", Body: []byte("{}")}, &answer)
	if err == nil {
		return errors.New("a direct adapter answered a call")
	}
	return nil
}

func callBuffered(ctx context.Context, s *subject) error {
	req, err := s.request(false)
	if err != nil {
		return err
	}
	return s.complete(ctx, req)
}

// complete makes a call and checks its whole answer.
func (s *subject) complete(ctx context.Context, req *provider.CallRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	var answer recorder
	err := s.Plugin.Call(ctx, s.Adapter, req, &answer)
	if leak := answer.leak(err); leak != nil {
		return leak
	}
	switch {
	case err != nil:
		return err
	case answer.status != http.StatusOK:
		return fmt.Errorf("status %d: %.200s", answer.status, answer.body())
	case !json.Valid([]byte(answer.body())):
		return fmt.Errorf("the body is not JSON: %.200q", answer.body())
	}
	return nil
}

func callStreamed(ctx context.Context, s *subject) error {
	req, err := s.request(true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	var answer recorder
	err = s.Plugin.Call(ctx, s.Adapter, req, &answer)
	if leak := answer.leak(err); leak != nil {
		return leak
	}
	switch {
	case err != nil:
		return err
	case answer.status != http.StatusOK:
		return fmt.Errorf("status %d: %.200s", answer.status, answer.body())
	case len(answer.parts) < 2:
		return fmt.Errorf("a streamed answer has %d parts", len(answer.parts))
	}
	s.note = fmt.Sprintf("%d events", len(answer.parts))
	if req.Operation != "chat" {
		return nil
	}
	return ValidateStream(s.endpoint.Dialect, answer.parts)
}

// callBig sends a message that is larger than gRPC takes by default. The adapter may refuse it as its provider would,
// with a status; the process boundary may not.
func callBig(ctx context.Context, s *subject) error {
	req, err := s.request(false)
	if err != nil {
		return err
	}
	var fields map[string]any
	if json.Unmarshal(req.Body, &fields) != nil || fields["messages"] == nil {
		return errSkip{"the call is not a chat"}
	}
	fields["messages"] = []any{map[string]any{"role": "user", "content": strings.Repeat("0123456789abcdef", 5<<16)}}
	if req.Body, err = json.Marshal(fields); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	var answer recorder
	if err := s.Plugin.Call(ctx, s.Adapter, req, &answer); err != nil {
		return fmt.Errorf("a request of 5 MiB: %w", err)
	}
	s.note = fmt.Sprintf("5 MiB there, %.1f MiB back, status %d", float64(len(answer.body()))/(1<<20), answer.status)
	return nil
}

func callCancelled(ctx context.Context, s *subject) error {
	req, err := s.request(true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	var cancelled time.Time
	answer := recorder{onPart: func() error {
		if cancelled.IsZero() {
			cancelled = time.Now()
			cancel()
		}
		return nil
	}}
	err = s.Plugin.Call(ctx, s.Adapter, req, &answer)
	if took := time.Since(cancelled); took > promptly {
		return fmt.Errorf("a cancelled call went on for %s", took)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the error of a cancelled call is %w", err)
	}
	return nil
}

func callReaderGone(ctx context.Context, s *subject) error {
	req, err := s.request(true)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	gone := errors.New("the reader has gone")
	began := time.Now()
	err = s.Plugin.Call(ctx, s.Adapter, req, &recorder{onPart: func() error { return gone }})
	if took := time.Since(began); err != nil && !errors.Is(err, gone) || took > s.Patience {
		return fmt.Errorf("the call ended after %s with %w", took, err)
	}
	return nil
}

func callNonsense(ctx context.Context, s *subject) error {
	req, err := s.request(false)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Patience)
	defer cancel()
	req.Body = []byte(`{"messages": 7`)
	var answer recorder
	err = s.Plugin.Call(ctx, s.Adapter, req, &answer)
	if leak := answer.leak(err); leak != nil {
		return leak
	}
	if err != nil || answer.status < 400 || answer.status > 499 {
		return fmt.Errorf("a body that is not JSON got status %d and the error %v, not an answer from 400 to 499", answer.status, err)
	}
	return nil
}

func callConcurrently(ctx context.Context, s *subject) error {
	req, err := s.request(false)
	if err != nil {
		return err
	}
	return atOnce(16, func(int) error { return s.complete(ctx, req) })
}
