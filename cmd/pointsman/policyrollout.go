package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
)

const (
	rolloutsPath = "/api/v1/admin/rollouts"
	shadowsPath  = "/api/v1/admin/shadows"
)

type policyRollout struct {
	Start   rolloutStart   `cmd:"" help:"Give an uploaded version, or a file, a share of a policy's sessions."`
	Status  rolloutStatus  `cmd:"" help:"Show where rollouts stand, or how the last ended."`
	Promote rolloutPromote `cmd:"" help:"Let the candidate serve all sessions."`
	Abort   rolloutAbort   `cmd:"" help:"Give the candidate's sessions back."`
}

type rolloutStart struct {
	adminFlags
	Name      string   `arg:"" help:"The policy."`
	Version   string   `help:"Number of an uploaded version, or the beginning of its SHA-256." xor:"what" required:""`
	File      string   `help:"A .wasm file, project or built-in policy, which is uploaded first." xor:"what" required:""`
	Config    []string `help:"Parameters of the file." placeholder:"KEY=VALUE|FILE" sep:"none"`
	Grants    []string `help:"What the file may see and do: features, text, metadata, side_calls, state." sep:","`
	Fuel      int64    `help:"Fuel of a decision of the file." placeholder:"UNITS"`
	Share     string   `help:"Part of the sessions that it decides." default:"5%"`
	Guard     []string `help:"What rolls it back: cost, credits, ttft_p95 (relative), errors, fallbacks (points), as in cost>+10%. Default: cost>+10%, errors>+1%, ttft_p95>+20%, fallbacks>+2%." sep:"none"`
	NoGuards  bool     `help:"Nothing but failing decisions rolls it back." xor:"guards"`
	MinSample int      `help:"Sessions of the candidate before anything is concluded. Default: 200."`
	MaxSample int      `help:"Sessions of the candidate after which it has passed. Default: 6000."`
	Promote   string   `help:"What becomes of one that passed: auto or manual." enum:"auto,manual" default:"auto"`
}

// Run uploads the file, if one is given, and starts the rollout.
func (s *rolloutStart) Run(term terminal) error {
	share, err := parseShare(s.Share)
	if err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	wanted := admin.RolloutRequest{Version: s.Version, Share: share, Guards: s.Guard, Min: s.MinSample, Max: s.MaxSample, Promote: s.Promote}
	if s.NoGuards {
		wanted.Guards = []string{}
	}
	if s.File != "" {
		flags := moduleFlags{Module: s.File, Config: s.Config, Grants: s.Grants, Fuel: s.Fuel}
		m, err := flags.open()
		if err != nil {
			return err
		}
		v, err := c.bring(s.Name, "versions", m, url.Values{})
		if err != nil {
			return err
		}
		wanted.Version = strconv.Itoa(v.Version)
	}
	var r admin.Rollout
	if err := c.call("POST", rolloutsPath+"/"+url.PathEscape(s.Name), wanted, &r); err != nil {
		return err
	}
	showRollout(term.out, &r)
	return nil
}

// parseShare reads "5%" or "0.05".
func parseShare(text string) (float64, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(number, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0) {
		return 0, fmt.Errorf("--share %q must be a part of the sessions, as 5%% or 0.05", text)
	}
	return share, nil
}

type rolloutStatus struct {
	adminFlags
	Name string `arg:"" optional:"" help:"The policy. Default: all."`
	JSON bool   `help:"Print JSON."`
}

// Run shows one rollout, or all.
func (s *rolloutStatus) Run(term terminal) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	list, err := oneOrAll[admin.Rollout](c, rolloutsPath, s.Name)
	if err != nil {
		return err
	}
	if s.JSON {
		return writeJSON(term.out, list)
	}
	for i := range list {
		showRollout(term.out, &list[i])
	}
	if len(list) == 0 {
		fmt.Fprintln(term.out, "there was no rollout yet")
	}
	return nil
}

// oneOrAll gets one entry by its name, or all.
func oneOrAll[T any](c *client, path, name string) ([]T, error) {
	if name != "" {
		var one T
		err := c.call("GET", path+"/"+url.PathEscape(name), nil, &one)
		return []T{one}, err
	}
	var all struct {
		Data []T `json:"data"`
	}
	err := c.call("GET", path, nil, &all)
	return all.Data, err
}

func showRollout(out io.Writer, r *admin.Rollout) {
	fmt.Fprintf(out, "policy %s: version %d (sha256 %.12s) is %s, %g %% of the sessions since %s, by %s\n",
		r.Policy, r.Version, r.Digest, strings.ReplaceAll(r.State, "_", " "), 100*r.Plan.Share, r.Started.Format("2006-01-02 15:04:05"), r.By)
	fmt.Fprintf(out, "  candidate: %d of %d to %d samples, %d requests; control: %d samples, %d requests\n",
		r.Candidate.Samples, r.Plan.Min, r.Plan.Max, r.Candidate.Requests, r.Control.Samples, r.Control.Requests)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range r.Guards {
		fmt.Fprintf(table, "  %s\tcandidate %s\tcontrol %s\tchance %.2g\tdoubt %.2g\n", f.Guard, f.Show(f.Candidate), f.Show(f.Control), f.Chance, f.Doubt)
	}
	table.Flush()
	switch {
	case r.Ended != nil:
		fmt.Fprintf(out, "  ended %s by %s: %s\n", r.Ended.Format("2006-01-02 15:04:05"), r.EndedBy, r.Why)
	case r.Error != "":
		fmt.Fprintf(out, "  it passed and could not be promoted: %s\n", r.Error)
	case r.State == admin.RolloutPassed:
		fmt.Fprintf(out, "  it serves all after: pointsman policy rollout promote %s\n", r.Policy)
	}
}

type rolloutPromote struct {
	adminFlags
	Name string `arg:"" help:"The policy."`
}

// Run promotes the candidate.
func (p *rolloutPromote) Run(term terminal) error {
	return endRollout(term, p.adminFlags, p.Name, "promote")
}

type rolloutAbort struct {
	adminFlags
	Name string `arg:"" help:"The policy."`
}

// Run aborts the rollout.
func (a *rolloutAbort) Run(term terminal) error {
	return endRollout(term, a.adminFlags, a.Name, "abort")
}

func endRollout(term terminal, flags adminFlags, name, how string) error {
	c, err := flags.client()
	if err != nil {
		return err
	}
	var r admin.Rollout
	if err := c.call("POST", rolloutsPath+"/"+url.PathEscape(name)+"/"+how, nil, &r); err != nil {
		return err
	}
	showRollout(term.out, &r)
	return nil
}

type policyShadow struct {
	adminFlags
	Name string `arg:"" optional:"" help:"The shadow. Default: all."`
	JSON bool   `help:"Print JSON."`
}

// Run shows what shadows decided beside their policies.
func (s *policyShadow) Run(term terminal) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	list, err := oneOrAll[engine.ShadowReport](c, shadowsPath, s.Name)
	if err != nil {
		return err
	}
	if s.JSON {
		return writeJSON(term.out, list)
	}
	for i := range list {
		showShadow(term.out, &list[i])
	}
	if len(list) == 0 {
		fmt.Fprintln(term.out, "no policy of the configuration is a shadow: see shadow_of in [policies.NAME]")
	}
	return nil
}

// shownChoices is how many pairs of choices are shown to people.
const shownChoices = 20

func showShadow(out io.Writer, r *engine.ShadowReport) {
	fmt.Fprintf(out, "%s, the shadow of %s, asked on %g %% of its requests", r.Name, r.Of, 100*r.Share)
	if r.Since == nil {
		fmt.Fprintln(out, ": nothing yet")
		return
	}
	fmt.Fprintf(out, ", since %s\n", r.Since.Format("2006-01-02 15:04:05"))
	fmt.Fprintf(out, "  %d decisions, %d (%.1f %%) with the same first choice; %d failures, %d dropped\n",
		r.Decisions, r.Same, 100*float64(r.Same)/float64(max(1, r.Decisions)), r.Failures, r.Dropped)
	if r.LastFailure != "" {
		fmt.Fprintf(out, "  last failure: %s\n", r.LastFailure)
	}
	fmt.Fprintf(out, "  first choices at the tokens of the answers given, over %d requests:\n", r.Priced)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "    %s\t$%s\t%s credits\n    %s\t$%s\t%s credits\n", r.Of, r.Policy.CostUSD, r.Policy.Credits, r.Name, r.Shadow.CostUSD, r.Shadow.Credits)
	for i, c := range r.Choices {
		if i == shownChoices {
			fmt.Fprintf(table, "    and %d more pairs\n", len(r.Choices)-shownChoices)
			break
		}
		fmt.Fprintf(table, "    %s\t-> %s\t%d\n", c.From, c.To, c.Count)
	}
	table.Flush()
}
