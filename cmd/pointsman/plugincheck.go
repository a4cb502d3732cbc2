package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/pointsman/pointsman/plugins"
	"github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/sdk/provider/providertest"
)

// sampleChat is what proxied adapters are asked if the user has no request.
const sampleChat = `{"model":"sample","messages":[{"role":"user","content":"Say it back."}]}`

type pluginCheck struct {
	pluginFlags
	Adapter []string          `help:"Adapters to check. Default: all that it holds." sep:","`
	BaseURL string            `help:"Address of the provider, as base_url."`
	Setting map[string]string `help:"Settings that it needs: --setting region=eu." placeholder:"KEY=VALUE" mapsep:"none"`
	Request string            `help:"File with the body of a chat that a proxied adapter can answer. Default: a short one." type:"existingfile"`
	NoCall  bool              `help:"Do not let proxied adapters call anything."`
	Samples string            `help:"File with error answers and what they mean: [{\"status\":429,\"body\":\"…\",\"class\":\"quota\"}, …]." type:"existingfile"`
	JSON    bool              `name:"json" help:"Print the report as JSON."`
}

// pluginReport is what the kit found.
type pluginReport struct {
	Plugin   string          `json:"plugin"`
	SHA256   string          `json:"sha256"`
	OK       bool            `json:"ok"`
	Process  []pluginFinding `json:"process"`
	Adapters []adapterReport `json:"adapters"`
}

// adapterReport is what the kit found of one adapter.
type adapterReport struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Summary string          `json:"summary"`
	Checks  []pluginFinding `json:"checks"`
}

// pluginFinding is one check.
type pluginFinding struct {
	Check   string `json:"check"`
	Outcome string `json:"outcome"` // ok, failed, skipped
	Detail  string `json:"detail,omitempty"`
}

// Run checks the plugin and fails if it fails.
func (c *pluginCheck) Run(term terminal) error {
	name, plugin, err := c.open()
	if err != nil {
		return err
	}
	sample, err := c.sample()
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	report, err := c.examine(ctx, name, plugin, sample)
	if err != nil {
		return err
	}
	ok, failed, skipped := report.count()
	report.OK = failed == 0
	if c.JSON {
		err = writeJSON(term.out, report)
	} else {
		err = report.write(term.out)
		fmt.Fprintf(term.out, "\n%d passed, %d failed, %d do not apply\n", ok, failed, skipped)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d checks failed", failed, ok+failed)
	}
	return err
}

// sample is what every adapter is asked.
func (c *pluginCheck) sample() (providertest.Case, error) {
	sample := providertest.Case{Prepare: &provider.PrepareRequest{Provider: "conformance", BaseURL: c.BaseURL, Settings: c.Setting}}
	if !c.NoCall {
		body := []byte(sampleChat)
		if c.Request != "" {
			var err error
			if body, err = os.ReadFile(c.Request); err != nil {
				return sample, err
			}
		}
		var fields struct{ Model string }
		if err := json.Unmarshal(body, &fields); err != nil {
			return sample, fmt.Errorf("%s is not the body of a chat: %w", c.Request, err)
		}
		sample.Call = &provider.CallRequest{
			Provider: "conformance", Operation: "chat", Model: fields.Model, RequestID: "conformance", Body: body, BaseURL: c.BaseURL, Settings: c.Setting,
		}
	}
	if c.Samples == "" {
		return sample, nil
	}
	text, err := os.ReadFile(c.Samples)
	if err == nil {
		err = json.Unmarshal(text, &sample.Errors)
	}
	if err != nil {
		return sample, fmt.Errorf("reading the error answers: %w", err)
	}
	return sample, nil
}

// examine runs the kit: on the program, then on its adapters behind a gateway's host.
func (c *pluginCheck) examine(ctx context.Context, name string, plugin plugins.Plugin, sample providertest.Case) (*pluginReport, error) {
	report := &pluginReport{Plugin: plugin.Path, SHA256: plugin.SHA256}
	results := providertest.CheckExecutable(ctx, providertest.Executable{
		PlainSocket: plugin.PlainSocket,
		Command:     func(dir string) (*exec.Cmd, func(), error) { return plugins.Command(name, plugin, dir) },
	})
	report.Process = findings(results)
	if len(results) == 1 {
		return report, nil // it does not start
	}
	host, err := plugins.New(plugins.Config{Plugins: map[string]plugins.Plugin{name: plugin}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer host.Close()
	if err := host.Start(ctx); err != nil {
		report.Process = append(report.Process, pluginFinding{"starts-in-a-gateway", "failed", err.Error()})
		return report, nil
	}
	for _, d := range host.Descriptions() {
		if len(c.Adapter) > 0 && !slices.Contains(c.Adapter, d.Name) {
			continue
		}
		sample.Adapter = d.Name
		report.Adapters = append(report.Adapters, adapterReport{d.Name, d.Version, d.Summary, findings(providertest.Check(ctx, host, sample))})
	}
	for _, s := range host.Status() {
		if s.Restarts > 0 {
			report.Process = append(report.Process, pluginFinding{"survives-its-calls", "failed", s.LastError})
		}
	}
	return report, nil
}

func findings(results []providertest.Result) []pluginFinding {
	var out []pluginFinding
	for _, r := range results {
		switch {
		case r.Err != nil:
			out = append(out, pluginFinding{r.Name, "failed", r.Err.Error()})
		case r.Skipped != "":
			out = append(out, pluginFinding{r.Name, "skipped", r.Skipped})
		default:
			out = append(out, pluginFinding{r.Name, "ok", r.Note})
		}
	}
	return out
}

func (r *pluginReport) count() (ok, failed, skipped int) {
	all := r.Process
	for _, a := range r.Adapters {
		all = append(all, a.Checks...)
	}
	for _, f := range all {
		switch f.Outcome {
		case "ok":
			ok++
		case "failed":
			failed++
		default:
			skipped++
		}
	}
	return ok, failed, skipped
}

// write prints the report for people.
func (r *pluginReport) write(out io.Writer) error {
	fmt.Fprintf(out, "%s: sha256 %s\n", r.Plugin, r.SHA256)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	section := func(title string, checks []pluginFinding) {
		fmt.Fprintf(w, "\n%s\n", title)
		for _, f := range checks {
			mark := map[string]string{"ok": "ok", "failed": "FAIL", "skipped": "-"}[f.Outcome]
			fmt.Fprintf(w, "  %s\t%s\t%s\n", mark, f.Check, strings.ReplaceAll(f.Detail, "\n", "\n  \t\t"))
		}
	}
	section("the process", r.Process)
	for _, a := range r.Adapters {
		section(fmt.Sprintf("adapter %s %s: %s", a.Name, a.Version, a.Summary), a.Checks)
	}
	return w.Flush()
}
