// Package simulator is the adapter that answers without any provider, so that the gateway works before the first key is
// configured, in demonstrations and in tests. Its answers say that they are simulated. They are deterministic: the same
// request gets the same answer.
package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/sdk/provider"
)

const (
	maxPause = time.Second
	// Header marks every answer.
	Header = "x-pointsman-simulated"
)

// Adapter answers chat and embeddings requests in OpenAI's dialect. It is safe for concurrent use.
type Adapter struct {
	now func() time.Time
}

// New returns the adapter.
func New() *Adapter { return &Adapter{now: time.Now} }

// Describe says what the adapter is.
func (*Adapter) Describe(context.Context) (*provider.Description, error) {
	return &provider.Description{
		Name: "simulator", Version: "1.0.0", Summary: "Answers without a provider, and says so; for trying things out",
	}, nil
}

// Prepare makes a proxied endpoint. The setting is pause_ms, the time between two chunks of a stream, 0 to 1000; without
// it the pauses vary from 5 to 15 ms.
func (*Adapter) Prepare(_ context.Context, req *provider.PrepareRequest) (*provider.Endpoint, error) {
	if err := provider.CheckSettings(req.Settings, "pause_ms"); err != nil {
		return nil, err
	}
	if _, err := pauseOf(req.Settings); err != nil {
		return nil, err
	}
	return &provider.Endpoint{
		Mode:    provider.ModeProxied,
		Dialect: provider.DialectOpenAI,
		Paths:   map[string]string{"chat": "/chat/completions", "embeddings": "/embeddings"},
		Body:    provider.BodyRules{StreamUsage: true},
	}, nil
}

// Call answers a chat or embeddings request. A request that makes no sense gets an error answer, as of a provider.
func (a *Adapter) Call(ctx context.Context, req *provider.CallRequest, answer provider.AnswerWriter) error {
	var err error
	switch req.Operation {
	case "chat":
		err = a.chat(ctx, req, answer)
	case "embeddings":
		err = embeddings(req, answer)
	default:
		err = &refusal{status: http.StatusNotFound, message: fmt.Sprintf("the simulator does not do %.40q", req.Operation)}
	}
	var refused *refusal
	if errors.As(err, &refused) {
		return refused.send(answer)
	}
	return err
}

// pauseOf returns the pause between chunks, negative if it is to vary.
func pauseOf(settings map[string]string) (time.Duration, error) {
	text := settings["pause_ms"]
	if text == "" {
		return -1, nil
	}
	ms, err := strconv.Atoi(text)
	if pause := time.Duration(ms) * time.Millisecond; err == nil && pause >= 0 && pause <= maxPause {
		return pause, nil
	}
	return 0, fmt.Errorf("%w: pause_ms must be a number from 0 to %d", provider.ErrSetting, maxPause.Milliseconds())
}

// refusal is an error answer.
type refusal struct {
	status  int
	message string
	param   string
	code    string
}

func badRequest(param, format string, args ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, param: param, code: "invalid_value", message: fmt.Sprintf(format, args...)}
}

// Error returns the message.
func (r *refusal) Error() string { return r.message }

func (r *refusal) send(answer provider.AnswerWriter) error {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	d := detail{Message: r.message, Type: "invalid_request_error"}
	if r.param != "" {
		d.Param = &r.param
	}
	if r.code != "" {
		d.Code = &r.code
	}
	return sendJSON(answer, r.status, map[string]detail{"error": d})
}

func sendJSON(answer provider.AnswerWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding a simulated answer: %w", err)
	}
	if err := answer.Head(status, map[string]string{"content-type": "application/json", Header: "true"}); err != nil {
		return err
	}
	return answer.Part(body)
}

// sleep waits, or returns the context's error when the caller has left.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
