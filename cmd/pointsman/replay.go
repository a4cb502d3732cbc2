package main

import "errors"

type replayCmd struct {
	Policy string   `help:"The policy: a .wasm file, a project's directory, or eco, balanced, precision or custom." required:"" placeholder:"FILE"`
	Config []string `help:"Its parameters: KEY=VALUE, or a TOML file with its part of a configuration." placeholder:"KEY=VALUE|FILE" sep:"none"`
	Grants []string `help:"What it may see and do: features, text, metadata, side_calls, state. Default: what it needs; nothing leaves this machine." sep:","`
	Fuel   int64    `help:"Fuel of a decision. Default: a gateway's." placeholder:"UNITS"`
	JSON   bool     `name:"json" help:"Print the report as JSON."`

	outcomesFlags `embed:""`
}

// Run replays.
func (r *replayCmd) Run(term terminal) error {
	if r.Outcomes == "" {
		return errors.New("say what to replay: --outcomes FILE")
	}
	m, err := moduleFlags{Module: r.Policy, Config: r.Config, Grants: r.Grants, Fuel: r.Fuel}.open()
	if err != nil {
		return err
	}
	if len(r.Grants) == 0 {
		m.settings.Grants = allGrants // it gets of it what it needs
	}
	report, err := r.score(m)
	if err != nil {
		return err
	}
	if r.JSON {
		return writeJSON(term.out, report)
	}
	return report.Write(term.out)
}
