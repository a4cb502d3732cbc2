package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/cmd/pointsman/scenario"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
)

type policyRun struct {
	moduleFlags
	Request string `help:"File with one request: the body of a chat completion as JSON, or a case of a scenario as JSON or TOML. Default: a short question." type:"existingfile"`
	All     bool   `help:"Show every candidate, not only the first 20."`
	JSON    bool   `name:"json" help:"Print the decision as JSON."`
}

// Run decides the request and explains the decision.
func (r *policyRun) Run(term terminal) error {
	m, err := r.open()
	if err != nil {
		return err
	}
	c, err := scenario.Question()
	if r.Request != "" {
		c, err = scenario.LoadRequest(r.Request)
	}
	if err != nil {
		return err
	}
	host, _, err := m.load(policies.Config{})
	if err != nil {
		return err
	}
	defer host.Close() //nolint:errcheck // it never served
	d := m.decide(host, &c)
	if d.Err != nil {
		return d.Err
	}
	x := c.Explain(d)
	if r.JSON {
		return writeJSON(term.out, x)
	}
	most := 20
	if r.All {
		most = 0
	}
	return x.Write(term.out, most)
}

// decide asks the module about a case.
func (m *module) decide(host *policies.Host, c *scenario.Case) *scenario.Decision {
	var d scenario.Decision
	_, d.Err = host.Route(m.name, c.Facts, &d.Plan)
	info, _ := host.Info(m.name)
	d.Fuel = info.LastFuel
	return &d
}

type policyInspect struct {
	moduleFlags
	JSON bool `name:"json" help:"Print it as JSON."`
}

// inspected is what is known of a module.
type inspected struct {
	policies.Shape
	Module      string            `json:"module"`
	Description string            `json:"description,omitempty"`
	Needs       []string          `json:"needs"`
	Params      map[string]string `json:"config,omitempty"` // of policy.toml and the command line
	Signature   string            `json:"signature,omitempty"`
	FuelP50     int64             `json:"fuel_p50,omitempty"`
	Problem     string            `json:"problem,omitempty"` // why it does not start
}

// Run shows what the module is.
func (p *policyInspect) Run(term terminal) error {
	m, err := p.open()
	if err != nil {
		return err
	}
	x := inspected{Module: m.where(), Params: m.settings.Params}
	if x.Shape, err = policies.Inspect(m.wasm); err != nil {
		return fmt.Errorf("%s: %w", m.where(), err)
	}
	m.settings.Grants = allGrants // to see what it needs, not what it may have
	host, info, err := m.load(policies.Config{})
	if err != nil {
		x.Problem = err.Error()
	} else {
		_ = host.Close() // it never served
		x.Description, x.Needs = info.Description, grantNames(info.Needs)
		if c, err := m.measure(100); err == nil {
			x.FuelP50 = c.FuelP50
		}
	}
	if signature := signatureOf(m); signature != nil {
		x.Signature = "yes, not checked: pointsman policy verify"
	}
	if p.JSON {
		return writeJSON(term.out, x)
	}
	fmt.Fprintf(term.out, "%s\n", x.Module)
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	row := func(key, format string, args ...any) { fmt.Fprintf(w, "  %s\t%s\n", key, fmt.Sprintf(format, args...)) }
	row("says", "%s", x.Description)
	row("sha256", "%s", x.Digest)
	row("size", "%s bytes", group(int64(x.Size)))
	memory := "no limit of its own"
	if x.MaxMemory > 0 {
		memory = fmt.Sprintf("at most %d", x.MaxMemory)
	}
	row("memory", "%d pages of 64 KiB, %s", x.Memory, memory)
	row("needs", "%s", strings.Join(x.Needs, ", "))
	if x.FuelP50 > 0 {
		row("fuel", "%s a decision", group(x.FuelP50))
	}
	if x.Signature != "" {
		row("signature", "%s", x.Signature)
	}
	for _, key := range slices.Sorted(maps.Keys(x.Params)) {
		row("config", "%s = %s", key, x.Params[key])
	}
	for _, e := range x.Exports {
		row("export", "%s", e)
	}
	for _, i := range x.Imports {
		row("import", "%s", i)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if x.Problem != "" {
		return errors.New(x.Problem)
	}
	return nil
}

type policyList struct {
	adminFlags
	Builtin bool `name:"built-in" help:"List the policies in this binary instead of a gateway's."`
	JSON    bool `name:"json" help:"Print the list as JSON."`
}

// Run lists policies.
func (l *policyList) Run(term terminal) error {
	if l.Builtin {
		return l.builtin(term)
	}
	c, err := l.client()
	if err != nil {
		return fmt.Errorf("%w; --built-in lists those of this binary", err)
	}
	var list struct {
		Data []admin.Policy `json:"data"`
	}
	if err := c.call("GET", "/api/v1/admin/policies", nil, &list); err != nil {
		return err
	}
	if l.JSON {
		return writeJSON(term.out, list)
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "POLICY\tSERVING\tSHA256\tSIGNER\tGRANTS\tDECISIONS\tFAILURES\tVERSIONS")
	for _, p := range list.Data {
		s := p.Serving
		if s == nil {
			s = &admin.PolicyServing{Source: "nothing"}
		}
		var versions []string
		for _, v := range p.Versions {
			versions = append(versions, fmt.Sprintf("%d %s", v.Version, v.State))
		}
		fmt.Fprintf(w, "%s\t%s\t%.12s\t%s\t%s\t%d\t%d\t%s\n", p.Name, s.Source, s.Digest, s.Signer, strings.Join(s.Grants, ","), s.Decisions, s.Failures, strings.Join(versions, ", "))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range list.Data {
		if p.Serving != nil && p.Serving.Refused != "" {
			fmt.Fprintf(term.out, "%s: a change was refused: %s\n", p.Name, p.Serving.Refused)
		}
	}
	return nil
}

func (l *policyList) builtin(term terminal) error {
	type entry struct {
		Name   string `json:"name"`
		Digest string `json:"sha256"`
		Size   int    `json:"size"`
	}
	var all []entry
	modules := builtin.Modules()
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		all = append(all, entry{name, signing.Digest(modules[name]), len(modules[name])})
	}
	if l.JSON {
		return writeJSON(term.out, all)
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "POLICY\tSHA256\tSIZE")
	for _, e := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\n", e.Name, e.Digest, group(int64(e.Size)))
	}
	return w.Flush()
}

// allGrants are all abi.Grant* bits.
const allGrants = abi.GrantText | abi.GrantMetadata | abi.GrantSideCalls | abi.GrantState
