package main

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/scenario"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// Requests that a module is asked.
const (
	proofRequests = 200   // of the conformance kit
	fuelRequests  = 1_000 // about the built-in catalog, to see what they cost
)

// conforms loads the module and asks it what the conformance kit asks.
func (m *module) conforms(requests int) error {
	host, _, err := m.load(policies.Config{})
	if err != nil {
		return err
	}
	defer host.Close() //nolint:errcheck // it never served
	return policytest.Check(m.route(host), requests)
}

func (m *module) route(host *policies.Host) policytest.Route {
	return func(f *policy.Facts, plan *policy.Plan) error {
		_, err := host.Route(m.name, f, plan)
		return err
	}
}

// pure decides with each decision repeated on a fresh instance, and counts those that came out differently.
func (m *module) pure(decisions uint64) (checked, impure uint64, err error) {
	host, _, err := m.load(policies.Config{CheckEvery: 1})
	if err != nil {
		return 0, 0, err
	}
	defer host.Close() //nolint:errcheck // it never served
	route := m.route(host)
	err = policytest.Check(func(f *policy.Facts, plan *policy.Plan) error {
		err := route(f, plan)
		for began := time.Now(); err == nil && checked < decisions && time.Since(began) < time.Second; { // the repetition runs beside
			info, _ := host.Info(m.name)
			if info.Checked > checked {
				checked, impure = info.Checked, info.Impure
				break
			}
			time.Sleep(100 * time.Microsecond)
		}
		return err
	}, int(decisions))
	return checked, impure, err
}

// costs are what decisions about the built-in catalog cost.
type costs struct {
	Name      string  `json:"policy"`
	Decisions int     `json:"decisions"`
	FuelMin   int64   `json:"fuel_min"`
	FuelP50   int64   `json:"fuel_p50"`
	FuelP99   int64   `json:"fuel_p99"`
	FuelMax   int64   `json:"fuel_max"`
	P50       int64   `json:"p50_ns"`
	P99       int64   `json:"p99_ns"`
	Allocs    float64 `json:"allocations"` // of the host, a decision
	Size      int     `json:"size"`
	LoadMS    float64 `json:"load_ms"` // with the compiled code kept from before, if there was any
}

// measure lets the module decide requests of all kinds about the built-in catalog.
func (m *module) measure(decisions int) (costs, error) {
	began := time.Now()
	host, info, err := m.load(policies.Config{})
	if err != nil {
		return costs{}, err
	}
	defer host.Close() //nolint:errcheck // it never served
	c := costs{Name: m.name, Decisions: decisions, Size: info.Size, LoadMS: float64(time.Since(began).Microseconds()) / 1000}
	situations, err := scenario.Situations(1000)
	if err != nil {
		return c, err
	}
	var plan policy.Plan
	fuel, times := make([]int64, decisions), make([]int64, decisions)
	for i := range min(decisions, len(situations)) { // fuel costs a look of its own, so apart from the times
		if _, err := host.Route(m.name, situations[i], &plan); err != nil {
			return c, err
		}
		now, _ := host.Info(m.name)
		fuel[i] = now.LastFuel
	}
	fuel = fuel[:min(decisions, len(situations))]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range times {
		start := time.Now()
		if _, err := host.Route(m.name, situations[i%len(situations)], &plan); err != nil {
			return c, err
		}
		times[i] = int64(time.Since(start))
	}
	runtime.ReadMemStats(&after)
	c.Allocs = float64((after.Mallocs-before.Mallocs)/uint64(max(decisions/10, 1))) / 10
	slices.Sort(fuel)
	slices.Sort(times)
	c.FuelMin, c.FuelP50, c.FuelP99, c.FuelMax = fuel[0], fuel[len(fuel)/2], fuel[len(fuel)*99/100], fuel[len(fuel)-1]
	c.P50, c.P99 = times[len(times)/2], times[len(times)*99/100]
	return c, nil
}

type policyCheck struct {
	moduleFlags
	Key  []string `help:"Public keys that its signature is checked against: RW…, or .pub files. Default: none, a signature is only mentioned." sep:","`
	JSON bool     `name:"json" help:"Print the findings as JSON."`
}

// finding is one thing that was checked.
type finding struct {
	What   string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// Run checks the module and fails if a gateway would not take it, or should not.
func (p *policyCheck) Run(term terminal) error {
	m, err := p.open()
	if err != nil {
		return err
	}
	trust, err := trustOf(p.Key)
	if err != nil {
		return err
	}
	findings := m.check(trust)
	bad := 0
	for _, f := range findings {
		if !f.OK {
			bad++
		}
	}
	if p.JSON {
		if err := writeJSON(term.out, map[string]any{"module": m.where(), "sha256": signing.Digest(m.wasm), "size": len(m.wasm), "ok": bad == 0, "checks": findings}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(term.out, "%s: %s bytes, sha256 %s\n", m.where(), group(int64(len(m.wasm))), signing.Digest(m.wasm))
		w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
		for _, f := range findings {
			mark := "ok"
			if !f.OK {
				mark = "FAIL"
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", mark, f.What, strings.ReplaceAll(f.Detail, "\n", "\n  \t\t"))
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}

// check goes as far as the module lets it.
func (m *module) check(trust signing.Trust) (all []finding) {
	note := func(what string, err error, format string, args ...any) bool {
		f := finding{what, err == nil, fmt.Sprintf(format, args...)}
		if err != nil {
			f.Detail = err.Error()
		}
		all = append(all, f)
		return err == nil
	}
	shape, err := policies.Inspect(m.wasm)
	if !note("limits", err, "%d exports, %d imports, %d pages of memory", len(shape.Exports), len(shape.Imports), shape.Memory) {
		return all
	}
	fuel := m.checkSignature(trust, note)
	m.settings.Fuel = fuel
	host, info, err := m.load(policies.Config{})
	if errors.Is(err, policies.ErrConfigure) || errors.Is(err, policies.ErrGrant) {
		note("contract", nil, "every export and import as sdk/abi has it")
	} else if !note("contract", err, "every export and import as sdk/abi has it") {
		return all
	}
	if errors.Is(err, policies.ErrGrant) {
		note("grants", err, "")
		return all
	}
	if !note("configuration", err, "%d parameters accepted", len(m.settings.Params)) {
		return all
	}
	_ = host.Close() // it never served
	note("grants", nil, "needs %s; granted %s", strings.Join(grantNames(info.Needs), ", "), strings.Join(grantNames(m.settings.Grants), ", "))
	if !note("conformance", m.conforms(proofRequests), "%d generated requests, each asked twice, through all rounds", proofRequests) {
		return all
	}
	checked, impure, err := m.pure(proofRequests / 2)
	if err == nil && impure > 0 {
		err = fmt.Errorf("%d of %d decisions came out differently on a fresh instance: it keeps something between requests", impure, checked)
	}
	note("purity", err, "%d decisions repeated on fresh instances, all the same", checked)
	c, err := m.measure(fuelRequests)
	note("fuel", err, "min %s, p50 %s, p99 %s, max %s of %s (%.2g %%)", group(c.FuelMin), group(c.FuelP50), group(c.FuelP99), group(c.FuelMax),
		group(fuel), 100*float64(c.FuelMax)/float64(max(fuel, 1)))
	return all
}

// checkSignature notes who signed the module, and gives the fuel it would get.
func (m *module) checkSignature(trust signing.Trust, note func(what string, err error, format string, args ...any) bool) int64 {
	signature := signatureOf(m)
	otherwise := m.settings.Fuel
	if otherwise == 0 {
		otherwise = policies.DefaultFuel
	}
	signer, statement, err := trust.Verify(m.wasm, signature)
	fuel := otherwise
	if err == nil {
		fuel, err = statement.Limit(m.settings.Grants, m.settings.Fuel, policies.DefaultFuel)
	}
	switch {
	case m.path == "":
		note("signature", nil, "none needed: it is part of the gateway")
	case statement != nil && err == nil:
		note("signature", nil, "key %s for grants %s and fuel %s", signer, strings.Join(grantNames(statement.Grants), ", "), group(statement.Fuel))
	case err == nil && len(signature) > 0:
		note("signature", nil, "there is one, and no --key to check it with")
	default:
		note("signature", err, "none")
	}
	if fuel == 0 {
		return otherwise
	}
	return fuel
}

type policyBench struct {
	moduleFlags
	Decisions int  `help:"Decisions to measure." default:"20000"`
	JSON      bool `name:"json" help:"Print the figures as JSON."`
}

// Run measures the module and, beside it, the built-in policies.
func (b *policyBench) Run(term terminal) error {
	if b.Decisions < 100 {
		return errors.New("--decisions must be at least 100")
	}
	m, err := b.open()
	if err != nil {
		return err
	}
	measured := []*module{m}
	for _, name := range slices.Sorted(maps.Keys(builtin.Modules())) {
		if m.path != "" || name != m.name {
			measured = append(measured, &module{name: name, wasm: builtin.Modules()[name]})
		}
	}
	var all []costs
	for _, m := range measured {
		c, err := m.measure(b.Decisions)
		if err != nil {
			return fmt.Errorf("%s: %w", m.where(), err)
		}
		if m.path == "" {
			c.Name += " (built-in)"
		}
		all = append(all, c)
	}
	if b.JSON {
		return writeJSON(term.out, all)
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "POLICY\tP50\tP99\tFUEL P50\tFUEL P99\tFUEL MAX\tALLOCATIONS\tSIZE\tLOAD\t")
	for _, c := range all {
		fmt.Fprintf(w, "%s\t%v\t%v\t%s\t%s\t%s\t%.1f\t%s\t%.1fms\t\n", c.Name, time.Duration(c.P50), time.Duration(c.P99), group(c.FuelP50), group(c.FuelP99),
			group(c.FuelMax), c.Allocs, group(int64(c.Size)), c.LoadMS)
	}
	fmt.Fprintf(w, "\n")
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s decisions about the built-in catalog, one at a time on one processor; allocations are the host's\n", group(int64(b.Decisions)))
	return nil
}
