package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

var update = flag.Bool("update", false, "record anew what the reference policy answers")

const callsFile = "../../policy/policytest/testdata/reference.calls.gz"

// TestReferenceCalls: this policy is the one that the recorded calls are of, which all other languages are held to.
func TestReferenceCalls(t *testing.T) {
	if *update {
		record(t)
	}
	file, err := os.Open(callsFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	calls, err := policytest.ReadCalls(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := policytest.Replay(calls, &direct{}); err != nil {
		t.Fatal(err)
	}
	counts := map[byte]int{}
	for _, c := range calls {
		counts[c.Kind]++
	}
	if counts[policytest.CallRoute] < 200 || counts[policytest.CallNext] < 30 || counts[policytest.CallObserve] < 30 {
		t.Errorf("too few calls: %v", counts)
	}
}

// direct calls the policy's functions with what it decodes.
type direct struct {
	policy   policy.Policy
	config   policy.Config
	snapshot policy.Snapshot
	state    []byte
}

func (d *direct) Start(config []byte) (err error) {
	d.policy, d.state = newReference(), nil
	if d.config, err = policy.ParseConfig(string(config)); err != nil {
		return err
	}
	return d.policy.Configure(d.config)
}

func (d *direct) Snapshot(b []byte) error {
	if err := policy.DecodeSnapshot(b, &d.snapshot); err != nil {
		return err
	}
	d.policy.Learn(&d.snapshot)
	return nil
}

func (d *direct) State(b []byte) error {
	d.state = bytes.Clone(b)
	return d.policy.Remember(b)
}

func (d *direct) Decide(b []byte, further bool) ([]byte, error) {
	var request policy.Request
	var plan policy.Plan
	if further {
		outcomes, err := policy.DecodeOutcomes(b, nil, &request)
		if err != nil {
			return nil, err
		}
		d.policy.Next(d.config, &d.snapshot, &request, outcomes, &plan)
	} else if err := policy.DecodeRequest(b, &request); err != nil {
		return nil, err
	} else {
		d.policy.Route(d.config, &d.snapshot, &request, &plan)
	}
	encoded := policy.AppendPlan(nil, &plan)
	return encoded, policy.DecodePlan(encoded, len(d.snapshot.Candidates), &plan)
}

func (d *direct) Observe(b []byte) ([]byte, error) {
	outcomes, err := policy.DecodeOutcomes(b, nil, nil)
	if err != nil {
		return nil, err
	}
	return d.policy.Observe(d.config, nil, d.state, outcomes), nil
}

// recorder is one recording under way.
type recorder struct {
	t      *testing.T
	random *policytest.Random
	policytest.Record
	number uint64 // of the state
	state  []byte
}

func (r *recorder) do(kind byte, input []byte) []byte {
	r.t.Helper()
	out, err := r.Do(kind, input)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// record writes the file of calls.
func record(t *testing.T) {
	r := recorder{t: t, random: policytest.NewRandom(2026)}
	r.Subject = &direct{}
	for _, config := range []string{
		"", "review=true\nsteps=8\n", "prefer=groq,openai\nprice=0.25\nquality=2.5\nreview=1\nspeed=0.000001\nsteps=2\n",
		"price=1000\nquality=0\nreview=1\nspeed=1000\nsteps=1\n", "prefer=local\nprice=0\nquality=0\nreview=false\nspeed=0\nsteps=5\n",
	} {
		if r.do(policytest.CallConfigure, []byte(config))[0] != 0 {
			t.Fatalf("%q is refused", config)
		}
		r.number, r.state = 0, nil
		for n, size := range []int{0, 1, 2, 3, 9, 9, 20, 47} {
			snap := r.random.Snapshot(size)
			if n%2 == 1 {
				r.longNames(&snap)
			}
			r.do(policytest.CallSnapshot, snap.Bytes)
			for range 7 {
				r.request(snap)
			}
		}
	}
	r.crowd()
	r.refusals()
	var file bytes.Buffer
	if err := policytest.WriteCalls(&file, r.Calls); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(callsFile, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d calls in %d bytes", len(r.Calls), file.Len())
}

// longNames gives the likely best of a snapshot a name that no explanation has room for.
func (r *recorder) longNames(snap **policy.Published) {
	s := (*snap).Snapshot
	s.Candidates[0].Quality, s.Candidates[0].Health = 1, abi.HealthHealthy
	s.Candidates[0].ModelName = strings.Repeat("ü", 300)
	*snap = policy.Publish(s)
}

// request takes a request through its rounds, and now and then lets the policy learn from it.
func (r *recorder) request(snap *policy.Published) {
	f := &policy.Facts{Snapshot: snap, Request: r.random.Request(snap)}
	f.Request.Text, f.Request.Metadata, f.Request.State = nil, nil, r.number
	if r.random.Intn(2) == 0 {
		f.Request.Flags |= abi.FlagJSON
	}
	encoded := r.do(policytest.CallRoute, policy.AppendRequest(nil, f.Request))
	var plan policy.Plan
	for {
		if err := policy.DecodePlan(encoded, len(snap.Candidates), &plan); err != nil {
			r.t.Fatal(err)
		}
		f.History = append(f.History, r.random.Outcomes(f, &plan)...)
		if plan.Flags&abi.PlanReview == 0 {
			break
		}
		encoded = r.do(policytest.CallNext, policy.AppendOutcomes(nil, f.History, f.Request))
	}
	if len(f.History) > 0 && r.random.Intn(3) == 0 {
		r.learn(f.History)
	}
}

// learn lets the policy observe outcomes and gives it the new state.
func (r *recorder) learn(outcomes []policy.Outcome) {
	r.state = r.do(policytest.CallObserve, policy.AppendOutcomes(nil, outcomes, nil))
	r.number++
	if r.do(policytest.CallState, r.state)[0] != 0 {
		r.t.Fatal("the policy refuses its own state")
	}
}

// crowd fills the state with more candidates than there is room for, and counts one of them until it is halved.
func (r *recorder) crowd() {
	r.do(policytest.CallConfigure, nil)
	var many, one []policy.Outcome
	for n := range 300 {
		many = append(many, policy.Outcome{Key: uint64(n*7919%300 + 1), Kind: abi.KindAnswer, Flags: abi.OutcomeOK})
		one = append(one, policy.Outcome{Key: 150, Kind: abi.KindAnswer, Flags: uint32(n & 1), Failure: uint8(n & 1 * 7)})
	}
	for n := range one {
		if one[n].Flags == 0 {
			one[n].Failure = uint8(n % 12)
		}
	}
	r.learn(many)
	r.learn(one)
}

// refusals are parameters and states that are not to be taken. The subject is new after each.
func (r *recorder) refusals() {
	for _, config := range []string{
		"quality=1001\n", "steps=9\n", "steps=0\n", "review=2\n", "review=0.5\n", "speed=fast\n", "unknown=1\n", "price=\n", "price=-1\n", "price=1.\n1=2\n",
	} {
		if r.do(policytest.CallConfigure, []byte(config))[0] == 0 {
			r.t.Fatalf("%q is accepted", config)
		}
	}
	entry := func(key, ok, failed byte) []byte {
		return []byte{key, 0, 0, 0, 0, 0, 0, 0, ok, 0, 0, 0, failed, 0, 0, 0}
	}
	for _, state := range [][]byte{
		entry(1, 1, 1)[:15], entry(1, 0, 0), append(entry(2, 1, 1), entry(1, 1, 1)...), append(entry(2, 1, 1), entry(2, 1, 1)...),
		append(entry(1, 1, 1)[:9], 1, 0, 0, 0, 0, 0, 0), make([]byte, 257*16),
	} {
		r.do(policytest.CallConfigure, nil)
		if r.do(policytest.CallState, state)[0] == 0 {
			r.t.Fatal(errors.New("a foreign state is accepted"))
		}
	}
	r.do(policytest.CallConfigure, nil)
}
