package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy"
)

// loadPolicies loads the built-in policies, what was uploaded and activated, and what the configuration replaces or adds.
func (g *gateway) loadPolicies(ctx context.Context) (err error) {
	hosting := policies.Config{
		CacheDir: filepath.Join(g.dataDir, "cache"), CheckEvery: g.cfg.Rounds.CheckEvery, Log: g.policyLine,
		Compile: policyCompiler(), Trusted: builtin.Digests(), // what others wrote is compiled by a process that may die
	}
	if g.policies, err = policies.New(ctx, hosting); err != nil {
		return err
	}
	g.depot, err = depot.Open(depot.Config{
		Dir: filepath.Join(g.dataDir, "policies"), Host: g.policies, Builtin: builtin.Modules(), Notice: g.noticePolicy,
		Sandbox: func() (*policies.Host, error) { return policies.New(ctx, hosting) },
	})
	if err != nil {
		return err
	}
	return g.depot.Start(policyEntries(g.cfg), g.cfg.Trust)
}

// policyLine logs a line that a policy logged: errors as warnings, all else for who debugs.
func (g *gateway) policyLine(name string, level int, text string) {
	if level >= 3 {
		g.log.Warn("policy says", "policy", name, "text", text)
		return
	}
	g.log.Debug("policy says", "policy", name, "level", level, "text", text)
}

// policyEntries is what the configuration says about policies, for the depot.
func policyEntries(cfg *config.Config) []depot.Entry {
	var entries []depot.Entry
	for _, p := range cfg.Policies {
		entries = append(entries, depot.Entry{
			Name: p.Name, File: p.File, Signature: p.Signature, MustSign: p.SignatureGiven, Params: p.Map(), Private: p.Private, Grants: p.Grants, Fuel: p.Fuel, Place: p.Place,
		})
	}
	return entries
}

// shortlistsOf is what the configuration says about shortlists, for the engine.
func shortlistsOf(cfg *config.Config) map[string]int {
	of := map[string]int{}
	for name := range builtin.Modules() {
		of[name] = config.DefaultShortlist
	}
	for _, p := range cfg.Policies {
		of[p.Name] = p.Shortlist
	}
	return of
}

// shadowsOf is what the configuration says about shadows, for the engine.
func shadowsOf(cfg *config.Config) []engine.Shadow {
	var shadows []engine.Shadow
	for _, p := range cfg.Policies {
		if p.ShadowOf != "" {
			shadows = append(shadows, engine.Shadow{Name: p.Name, Of: p.ShadowOf, Share: p.Share})
		}
	}
	return shadows
}

// watchPolicies looks after the files of policies until the gateway stops.
func (g *gateway) watchPolicies() {
	ctx, cancel := context.WithCancel(context.Background())
	g.unwatch = cancel
	g.serving.Go(func() { g.depot.Watch(ctx, depot.PollInterval) })
}

// noticePolicy logs and counts a change of a policy. The names of policies are the operator's, so their number is bounded.
func (g *gateway) noticePolicy(e depot.Event) {
	outcome := "ok"
	if e.Error != "" {
		outcome = "refused"
	}
	g.changes.GetOrCreateCounter(fmt.Sprintf("pointsman_policy_changes_total{policy=%q,action=%q,outcome=%q}", e.Policy, e.Action, outcome)).Inc()
	details := []any{"policy", e.Policy, "action", e.Action, "source", e.Source, "sha256", e.Digest, "previous", e.Previous, "signer", e.Signer, "by", e.By, "note", e.Note}
	if e.Unkept != "" {
		g.log.Warn("a policy's module is not kept: its decisions cannot be repeated when another one serves", append(details, "error", e.Unkept)...)
	}
	switch {
	case e.Error != "":
		g.log.Error("policy change refused; what served before serves on", append(details, "error", e.Error)...)
	case e.Action == depot.ActionLoad:
		g.log.Debug("policy loaded", details...)
	default:
		g.log.Info("policy changed", details...)
	}
}

// writePolicyMetrics writes what the host of policies counts, and the changes of policies.
func (g *gateway) writePolicyMetrics(w io.Writer) {
	g.changes.WritePrometheus(w)
	for _, p := range g.policies.List() {
		suspended := 0
		if p.Suspended {
			suspended = 1
		}
		f := p.Failures
		fmt.Fprintf(w, "pointsman_policy_decisions_total{policy=%q} %d\n", p.Name, p.Decisions)
		fmt.Fprintf(w, "pointsman_policy_checked_total{policy=%q} %d\n", p.Name, p.Checked)
		fmt.Fprintf(w, "pointsman_policy_impure_total{policy=%q} %d\n", p.Name, p.Impure)
		fmt.Fprintf(w, "pointsman_policy_skipped_total{policy=%q} %d\n", p.Name, p.Skipped)
		fmt.Fprintf(w, "pointsman_policy_suspended{policy=%q} %d\n", p.Name, suspended)
		fmt.Fprintf(w, "pointsman_policy_instances{policy=%q} %d\n", p.Name, p.Instances)
		fmt.Fprintf(w, "pointsman_policy_fuel{policy=%q} %d\n", p.Name, p.LastFuel)
		for kind, n := range map[string]uint64{"fuel": f.Fuel, "depth": f.Depth, "trap": f.Trap, "bad_plan": f.BadPlan, "status": f.Status} {
			fmt.Fprintf(w, "pointsman_policy_faults_total{policy=%q,kind=%q} %d\n", p.Name, kind, n)
		}
	}
}

// policyAdmin is the depot as the admin API needs it.
type policyAdmin struct{ g *gateway }

// ValidatePolicy tries a module and keeps nothing.
func (p policyAdmin) ValidatePolicy(u admin.PolicyUpload) (admin.PolicyVersion, error) {
	up, err := uploadOf(u)
	if err != nil {
		return admin.PolicyVersion{}, err
	}
	report, err := p.g.depot.Validate(up)
	return versionOf(report), adminError(err)
}

// StagePolicy keeps a module as a version.
func (p policyAdmin) StagePolicy(u admin.PolicyUpload) (admin.PolicyVersion, error) {
	up, err := uploadOf(u)
	if err != nil {
		return admin.PolicyVersion{}, err
	}
	report, err := p.g.depot.Stage(up)
	return versionOf(report), adminError(err)
}

// ActivatePolicy makes a version serve.
func (p policyAdmin) ActivatePolicy(name, version, by string) (admin.PolicyVersion, error) {
	report, err := p.g.depot.Activate(name, version, by)
	return versionOf(report), adminError(err)
}

// RollbackPolicy makes that serve which did before.
func (p policyAdmin) RollbackPolicy(name, by string) (admin.PolicyVersion, error) {
	report, err := p.g.depot.Rollback(name, by)
	return versionOf(report), adminError(err)
}

// maxHistory is how many changes of a policy are told.
const maxHistory = 50

// ListPolicies tells of one policy with its history, or of all.
func (p policyAdmin) ListPolicies(only string) ([]admin.Policy, error) {
	serving := p.g.depot.Serving()
	list := []admin.Policy{}
	for _, name := range p.g.depot.Names() {
		if only != "" && name != only {
			continue
		}
		entry := admin.Policy{Name: name, Versions: []admin.PolicyVersion{}}
		if s, ok := serving[name]; ok {
			info, _ := p.g.policies.Info(name)
			entry.Serving = &admin.PolicyServing{
				Source: s.Source, Version: s.Version, Digest: s.Digest, Signer: s.Signer, Grants: grantNames(s.Grants), Needs: grantNames(info.Needs),
				Fuel: s.Fuel, Since: s.Since.UTC(), Description: info.Description, Decisions: info.Decisions, Failures: failures(info), LastFuel: info.LastFuel,
				Refused: s.Refused,
			}
		}
		for _, v := range p.g.depot.Versions(name) {
			entry.Versions = append(entry.Versions, versionOf(v))
		}
		if only != "" {
			changes, err := p.g.depot.Audit(name, maxHistory)
			if err != nil {
				return nil, err
			}
			for _, e := range changes {
				entry.History = append(entry.History, admin.PolicyChange{
					Time: e.Time, Action: e.Action, Source: e.Source, Digest: e.Digest, Previous: e.Previous, Signer: e.Signer, By: e.By, Note: e.Note, Error: e.Error,
				})
			}
		}
		list = append(list, entry)
	}
	return list, nil
}

func failures(info policies.Info) uint64 {
	f := info.Failures
	return f.Fuel + f.Depth + f.Trap + f.BadPlan + f.Status
}

func grantNames(bits uint32) []string {
	return append([]string{"features"}, policy.GrantNames(bits)...)
}

func uploadOf(u admin.PolicyUpload) (depot.Upload, error) {
	grants, err := signing.ParseGrants(u.Grants)
	if err != nil {
		return depot.Upload{}, fmt.Errorf("%w: %w", admin.ErrPolicyInvalid, err)
	}
	return depot.Upload{Name: u.Name, Module: u.Module, Signature: u.Signature, Params: u.Params, Grants: grants, Fuel: u.Fuel, By: u.By}, nil
}

func versionOf(r depot.Report) admin.PolicyVersion {
	v := admin.PolicyVersion{
		Version: r.Number, State: r.State, Digest: r.Digest, Size: r.Size, Grants: grantNames(r.Grants), Fuel: r.Limit, Signer: r.Signer,
		Description: r.About, By: r.By, Params: r.Params,
	}
	if v.Fuel == 0 {
		v.Fuel = r.Fuel
	}
	if !r.Uploaded.IsZero() {
		v.Uploaded = &r.Uploaded
	}
	return v
}

// adminError gives an error of the depot the meaning that the admin API answers with.
func adminError(err error) error {
	kind := admin.ErrPolicyRefused
	switch {
	case err == nil:
		return nil
	case errors.Is(err, depot.ErrDisk):
		return err
	case errors.Is(err, depot.ErrUnknown):
		kind = admin.ErrPolicyUnknown
	case errors.Is(err, depot.ErrPinned):
		kind = admin.ErrPolicyPinned
	case errors.Is(err, depot.ErrBusy):
		kind = admin.ErrPolicyBusy
	case errors.Is(err, depot.ErrInvalid):
		kind = admin.ErrPolicyInvalid
	case errors.Is(err, signing.ErrUnsigned), errors.Is(err, signing.ErrSignature), errors.Is(err, signing.ErrLimits):
		kind = admin.ErrPolicySignature
	}
	return fmt.Errorf("%w: %w", kind, err)
}
