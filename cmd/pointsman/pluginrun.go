package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/plugins"
	"github.com/pointsman/pointsman/sdk/provider"
)

type pluginRun struct {
	pluginFlags
	Request       string `help:"File with one operation as JSON: adapter, operation (describe, prepare, chat, …), settings, base_url, model, stream, body. Default: describe." type:"existingfile"`
	CredentialEnv string `help:"Variable of the environment that holds the credential of the call." placeholder:"NAME"`
	Log           bool   `help:"Show what the plugin prints on its standard error."`
}

// pluginOperation is what a plugin is to do.
type pluginOperation struct {
	Adapter   string            `json:"adapter"`
	Operation string            `json:"operation"`
	Settings  map[string]string `json:"settings"`
	BaseURL   string            `json:"base_url"`
	Model     string            `json:"model"`
	Stream    bool              `json:"stream"`
	Body      json.RawMessage   `json:"body"`
}

// Run starts the plugin as a gateway would, does the operation, and ends it.
func (r *pluginRun) Run(term terminal) error {
	name, plugin, err := r.open()
	if err != nil {
		return err
	}
	op := pluginOperation{Operation: "describe"}
	if r.Request != "" {
		text, err := os.ReadFile(r.Request)
		if err != nil {
			return err
		}
		in := json.NewDecoder(bytes.NewReader(text))
		in.DisallowUnknownFields()
		if err := in.Decode(&op); err != nil {
			return fmt.Errorf("%s is not an operation: %w", r.Request, err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	if r.Log {
		log = slog.New(slog.NewTextHandler(term.err, nil))
	}
	host, err := plugins.New(plugins.Config{Plugins: map[string]plugins.Plugin{name: plugin}, Logger: log})
	if err != nil {
		return err
	}
	defer host.Close()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := host.Start(ctx); err != nil {
		return err
	}
	return r.do(ctx, host, op, term.out)
}

// do performs the operation and prints what comes.
func (r *pluginRun) do(ctx context.Context, host *plugins.Host, op pluginOperation, out io.Writer) error {
	adapters := host.Adapters()
	switch {
	case op.Operation == "describe" || op.Operation == "":
		for _, d := range host.Descriptions() {
			fmt.Fprintf(out, "%s %s: %s\n", d.Name, d.Version, d.Summary)
		}
		return nil
	case op.Adapter == "" && len(adapters) > 1:
		return fmt.Errorf("the plugin holds %s: name one as \"adapter\"", strings.Join(adapters, ", "))
	case op.Adapter == "":
		op.Adapter = adapters[0]
	}
	endpoint, err := host.Prepare(ctx, op.Adapter, &provider.PrepareRequest{Provider: "run", BaseURL: op.BaseURL, Settings: op.Settings})
	if err != nil {
		return err
	}
	if op.Operation == "prepare" {
		return writeJSON(out, endpoint)
	}
	if endpoint.Mode == provider.ModeDirect {
		return errors.New("the endpoint is direct: the gateway calls the provider itself; the operation prepare shows how")
	}
	req := &provider.CallRequest{
		Provider: "run", Operation: op.Operation, Model: op.Model, Stream: op.Stream, Body: op.Body, BaseURL: op.BaseURL,
		Settings: op.Settings, RequestID: "run", Credential: provider.NewSecret(os.Getenv(r.CredentialEnv)),
	}
	if len(req.Body) == 0 {
		req.Body = []byte(sampleChat)
	}
	answer := &printedAnswer{out: out, began: time.Now(), stream: op.Stream}
	if err := host.Call(ctx, op.Adapter, req, answer); err != nil {
		return err
	}
	answer.end()
	return nil
}

// printedAnswer prints an answer as it comes: a line for each event of a stream, with the time since the call.
type printedAnswer struct {
	out    io.Writer
	began  time.Time
	stream bool
	parts  int
	bytes  int
}

// Head prints the status.
func (a *printedAnswer) Head(status int, header map[string]string) error {
	a.stream = a.stream && status == 200
	_, err := fmt.Fprintf(a.out, "%s  status %d %v\n", a.since(), status, header)
	return err
}

// Part prints an event, or a piece of the body.
func (a *printedAnswer) Part(data []byte) error {
	a.parts++
	a.bytes += len(data)
	if !a.stream {
		_, err := a.out.Write(data)
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s  %s\n", a.since(), data)
	return err
}

func (a *printedAnswer) end() {
	if !a.stream {
		fmt.Fprintln(a.out)
	}
	fmt.Fprintf(a.out, "%s  end: %d parts, %d bytes\n", a.since(), a.parts, a.bytes)
}

func (a *printedAnswer) since() string {
	return fmt.Sprintf("%7.1fms", float64(time.Since(a.began).Microseconds())/1000)
}
