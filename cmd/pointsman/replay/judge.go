package replay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/engine/record"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// judge decides batches again, in one goroutine.
type judge struct {
	src      records.Source
	options  *Options
	names    *names
	host     *policies.Host
	loading  *sync.Mutex          // one judge at a time fills the cache of compiled modules, so that the others find it
	needs    uint32               // of the candidate
	modules  map[[2]string]string // what a recorded policy is loaded as, by the digests of module and configuration; "" if it is not there
	builtins map[string][]byte    // by digest

	snapshot *policy.Published // of the batch
	changed  *policy.Published // the same after WhatIf
	places   []place           // of its candidates

	decision record.Decision
	plan     policy.Plan
	request  policy.Request // of the candidate, where WhatIf changes it
	totals   *totals
}

// candidateName is what the candidate is loaded as; recorded policies have names with a digest.
const candidateName = "candidate"

// allGrants are all abi.Grant* bits: a recorded policy had what it needs.
const allGrants = abi.GrantText | abi.GrantMetadata | abi.GrantSideCalls | abi.GrantState

func newJudge(ctx context.Context, src records.Source, o *Options, n *names, loading *sync.Mutex) (*judge, error) {
	// A policy that fails must not be left alone for a while, as in a gateway: every look at this clock takes it longer than that.
	now := time.Unix(0, 0)
	host, err := policies.New(ctx, policies.Config{CacheDir: o.CacheDir, Instances: 1, Now: func() time.Time {
		now = now.Add(time.Minute)
		return now
	}})
	if err != nil {
		return nil, err
	}
	j := &judge{src: src, options: o, names: n, host: host, loading: loading, modules: map[[2]string]string{}, builtins: map[string][]byte{}, totals: newTotals(o)}
	for _, wasm := range builtin.Modules() {
		j.builtins[signing.Digest(wasm)] = wasm
	}
	if o.Candidate != nil {
		info, err := host.Load(candidateName, o.Candidate.Module, o.Candidate.Settings)
		if err != nil {
			return nil, errors.Join(err, host.Close())
		}
		j.needs = info.Needs
	}
	return j, nil
}

func (j *judge) close() { _ = j.host.Close() } // it holds memory alone

// batch decides the requests of a batch again.
func (j *judge) batch(b *records.Batch) error {
	j.snapshot, j.changed = b.Snapshot, b.Snapshot
	j.places = j.names.places(j.places[:0], &b.Snapshot.Snapshot)
	if j.options.WhatIf != nil {
		j.changed = j.options.WhatIf.apply(b.Snapshot)
	}
	for i := range b.Records {
		r := &b.Records[i]
		d := &j.decision
		if d.Decode(r.Decision) != nil || len(d.Request.Options) != len(b.Snapshot.Candidates) || d.Request.Generation != b.Snapshot.Generation {
			j.totals.proof.Damaged++
			continue
		}
		if err := j.record(r); err != nil {
			return err
		}
	}
	return nil
}

// record decides one request again, which is in j.decision.
func (j *judge) record(r *records.Record) error {
	d := &j.decision
	facts := policy.Facts{Snapshot: j.snapshot, Request: d.Request}
	if number := d.Request.State; number != 0 {
		data, err := j.src.State(d.Policy, number)
		if err != nil && !errors.Is(err, records.ErrUnknown) {
			return err
		}
		if err == nil {
			facts.State = &policy.State{Number: number, Bytes: data}
		}
	}
	name, err := j.recorded(d)
	if err != nil {
		return err
	}
	j.prove(r, &facts, name)
	if j.options.Candidate != nil {
		name = candidateName
	} else if j.options.WhatIf == nil {
		return nil
	}
	j.compare(r, &facts, name)
	return nil
}

// recorded is what the policy that decided is loaded as, "" if it is not there any more.
func (j *judge) recorded(d *record.Decision) (string, error) {
	key := [2]string{d.Ran.Digest, d.Ran.Config}
	name, ok := j.modules[key]
	if ok {
		return name, nil
	}
	wasm := j.builtins[d.Ran.Digest]
	var err error
	if wasm == nil {
		wasm, err = j.src.Module(d.Ran.Digest)
	}
	var text string
	if err == nil && d.Ran.Config != signing.Digest(nil) {
		text, err = j.src.Config(d.Ran.Config)
	}
	if err == nil {
		var params map[string]string
		if params, err = paramsOf(text); err == nil {
			name = fmt.Sprintf("%.16s-%.16s", d.Ran.Digest, d.Ran.Config)
			j.loading.Lock()
			_, err = j.host.Load(name, wasm, policies.Settings{Params: params, Grants: allGrants, Fuel: depot.MaxFuel})
			j.loading.Unlock()
		}
	}
	switch {
	case errors.Is(err, records.ErrUnknown):
		name = ""
	case err != nil:
		return "", fmt.Errorf("loading the policy %q that decided: %w", d.Policy, err)
	}
	j.modules[key] = name
	return name, nil
}

// paramsOf are the parameters of a configuration text.
func paramsOf(text string) (map[string]string, error) {
	cfg, err := policy.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	params := map[string]string{}
	for _, key := range cfg.Keys() {
		params[key] = cfg.Text(key, "")
	}
	return params, nil
}

// prove repeats the decision by the policy that made it, and counts what came of that.
func (j *judge) prove(r *records.Record, f *policy.Facts, name string) {
	d, p := &j.decision, &j.totals.proof
	p.Records++
	switch {
	case d.Failure != "":
		p.Failed++
		return
	case d.Withheld:
		p.Withheld++
		return
	case name == "":
		p.NoModule++
		return
	case d.Request.State != 0 && f.State == nil:
		p.NoState++
		return
	}
	same, err := d.Repeat(f, &j.plan, record.SamePlan, func(f *policy.Facts, plan *policy.Plan) error {
		_, err := j.host.Route(name, f, plan)
		return err
	})
	if same {
		p.Reproduced++
		return
	}
	p.Differing++
	if len(p.Differences) < maxDifferences {
		p.Differences = append(p.Differences, Difference{
			RequestID: r.Usage.Request.String(), Policy: d.Policy, Digest: d.Ran.Digest, Recorded: planText(d.Plan, j.snapshot), Now: nowText(&j.plan, j.snapshot, err),
		})
	}
}

// maxDifferences is how many decisions that came out otherwise are told.
const maxDifferences = 20

func nowText(p *policy.Plan, s *policy.Published, err error) string {
	if err != nil {
		return err.Error()
	}
	return planText(p, s)
}

// planText says in a line what a plan is.
func planText(p *policy.Plan, s *policy.Published) string {
	switch p.Kind {
	case abi.KindReject:
		return fmt.Sprintf("rejects with %d: %s", p.Status, policy.ReasonName(p.Reason))
	case abi.KindAccept:
		return "sends the answer that is held"
	}
	text := ""
	if p.Kind == abi.KindAsk {
		text = "asks "
	}
	for i, step := range p.Steps {
		if i > 0 {
			text += ", then "
		}
		c := &s.Candidates[step.Candidate]
		text += fmt.Sprintf("%s at %s (%g)", c.ModelName, c.ProviderName, step.Score)
	}
	return text
}
