package policies

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const everyGrant = abi.GrantText | abi.GrantMetadata | abi.GrantSideCalls | abi.GrantState

// needing is a policy that says what it needs and refuses every request, in the first round and in others.
func needing(needs int64) []byte {
	refuse := i64(planAt<<32 | abi.PlanHeaderSize)
	return policyOf(nil,
		function{Type: typeGive, Code: i32(needs), Export: abi.ExportNeeds},
		function{Type: typeRoute, Code: refuse, Export: abi.ExportNext},
		function{Type: typeMap, Code: i32(0), Export: abi.ExportState},
		function{Type: typeRoute, Code: i64(bufferAt<<32 | 32), Export: abi.ExportObserve},
	).Module()
}

// TestGrants: what is not both needed and granted is nowhere in the guest's memory, and a policy that needs more than it
// is granted is not loaded.
func TestGrants(t *testing.T) {
	canaries := map[string]uint32{
		"canary-text": abi.GrantText, "canary-metadata": abi.GrantMetadata, "canary-state": abi.GrantState,
	}
	for needs := range uint32(everyGrant + 1) {
		for granted := range uint32(everyGrant + 1) {
			h := testHost(t, Config{Instances: 1})
			_, err := h.Load("p", needing(int64(needs)), Settings{Grants: granted})
			if missing := needs &^ granted; missing != 0 {
				if !errors.Is(err, ErrGrant) || !strings.Contains(err.Error(), strings.Join(policy.GrantNames(missing), ", ")) {
					t.Fatalf("needs %b, granted %b: %v", needs, granted, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("needs %b, granted %b: %v", needs, granted, err)
			}
			if got, _ := h.Needs("p"); got != needs {
				t.Fatalf("needs %b, told %b", needs, got)
			}
			f := &policy.Facts{
				Snapshot: policy.Publish(policy.Snapshot{Generation: 1}),
				State:    &policy.State{Number: 7, Bytes: []byte("canary-state")},
				Request: &policy.Request{
					Generation: 1, Model: abi.NoModel, State: 7, Text: []byte("canary-text"), Metadata: []byte("key=canary-metadata\n"),
				},
			}
			var plan policy.Plan
			seen := map[string]bool{}
			look := func() {
				memory := (*h.modules.Load())["p"].idle[0].memory
				all, _ := memory.Read(0, memory.Size())
				for canary := range canaries {
					seen[canary] = seen[canary] || bytes.Contains(all, []byte(canary))
				}
			}
			if _, err := h.Route("p", f, &plan); err != nil {
				t.Fatal(err)
			}
			look()
			f.History = []policy.Outcome{{Kind: abi.KindAnswer, Flags: abi.OutcomeOK}}
			if _, err := h.Route("p", f, &plan); err != nil {
				t.Fatal(err)
			}
			look()
			if needs&abi.GrantState != 0 { // it was given before the request, whose bytes lie over it
				seen["canary-state"] = (*h.modules.Load())["p"].idle[0].state == 7
			}
			for canary, grant := range canaries {
				if seen[canary] != (needs&grant != 0) {
					t.Errorf("needs %b, granted %b: %s in the guest: %v", needs, granted, canary, seen[canary])
				}
			}
		}
	}
}

// TestUnknownNeeds: grants of a later version are not taken for none.
func TestUnknownNeeds(t *testing.T) {
	h := testHost(t, Config{})
	if _, err := h.Load("p", needing(1<<20), Settings{Grants: everyGrant}); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	silent := policyOf(nil, function{Type: typeGive, Code: i32(abi.GrantSideCalls), Export: abi.ExportNeeds})
	if _, err := h.Load("p", silent.Module(), Settings{Grants: everyGrant}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), abi.ExportNext) {
		t.Fatal(err)
	}
}

// planning is a policy whose next returns a plan that stands in its memory.
func planning(needs int64, plan *policy.Plan) []byte {
	bytes := policy.AppendPlan(nil, plan)
	s := policyOf(nil,
		function{Type: typeGive, Code: i32(needs), Export: abi.ExportNeeds},
		function{Type: typeRoute, Code: i64(nextAt<<32 | int64(len(bytes))), Export: abi.ExportNext})
	s.Next = bytes
	return s.Module()
}

// TestRoundsAreBounded: a plan that has no place after the rounds before it is a bad plan.
func TestRoundsAreBounded(t *testing.T) {
	answer := &policy.Plan{Kind: abi.KindAnswer, Flags: abi.PlanReview, Steps: []policy.Step{{Attempts: 1}}}
	ask := func(input uint8) *policy.Plan {
		return &policy.Plan{Kind: abi.KindAsk, Steps: []policy.Step{{Attempts: 1}}, Ask: []byte("Which?"), AskInput: input}
	}
	accept := &policy.Plan{Kind: abi.KindAccept, Reason: abi.BecauseHeld}
	held := policy.Outcome{Kind: abi.KindAnswer, Flags: abi.OutcomeOK}
	asked := policy.Outcome{Kind: abi.KindAsk, Flags: abi.OutcomeOK, Text: []byte("strong")}
	failed := policy.Outcome{Kind: abi.KindAnswer, Failure: abi.FailureServer}
	last := held
	last.Round = abi.MaxRounds - 1
	for _, c := range []struct {
		name    string
		plan    *policy.Plan
		needs   int64
		history policy.Outcome
		says    string
	}{
		{"another answer", answer, 0, held, ""},
		{"accept", accept, 0, held, ""},
		{"accept after the last round", accept, 0, last, ""},
		{"accept a failure", accept, 0, failed, "none is held"},
		{"accept a side call", accept, abi.GrantSideCalls, asked, "none is held"},
		{"answer after the last round", answer, 0, last, "round 5"},
		{"ask after the last round", ask(abi.AskPrompt), abi.GrantSideCalls, last, "round 5"},
		{"ask", ask(abi.AskPrompt), abi.GrantSideCalls, failed, ""},
		{"ask without the grant", ask(abi.AskPrompt), 0, failed, "side_calls"},
		{"ask about an answer", ask(abi.AskBoth), abi.GrantSideCalls, held, ""},
		{"ask about no answer", ask(abi.AskAnswer), abi.GrantSideCalls, failed, "none is held"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := testHost(t, Config{})
			if _, err := h.Load("p", planning(c.needs, c.plan), Settings{Grants: everyGrant}); err != nil {
				t.Fatal(err)
			}
			f := &policy.Facts{
				Snapshot: policy.Publish(policy.Snapshot{Generation: 1, Candidates: make([]policy.Candidate, 1)}),
				Request:  &policy.Request{Generation: 1, Options: make([]policy.Option, 1)}, History: []policy.Outcome{c.history},
			}
			var plan policy.Plan
			_, err := h.Route("p", f, &plan)
			if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrBadPlan) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// TestObserve: the state that a policy returns comes back as it is, one that is too large does not, and a policy that
// needs no state has none.
func TestObserve(t *testing.T) {
	h := testHost(t, Config{})
	if _, err := h.Load("p", needing(abi.GrantState), Settings{Grants: everyGrant}); err != nil {
		t.Fatal(err)
	}
	next, err := h.Observe("p", nil, []policy.Outcome{{Key: 5}}, nil)
	if err != nil || len(next) != 32 || next[abi.OutcomesCount] != 1 {
		t.Fatalf("%x, %v", next, err)
	}
	if _, err := h.Load("p", needing(0), Settings{Grants: everyGrant}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Observe("p", nil, nil, nil); !errors.Is(err, ErrState) {
		t.Fatal(err)
	}
	large := policyOf(nil,
		function{Type: typeGive, Code: i32(abi.GrantState), Export: abi.ExportNeeds},
		function{Type: typeMap, Code: i32(1), Export: abi.ExportState},
		function{Type: typeRoute, Code: i64(1<<32 | abi.MaxState + 1), Export: abi.ExportObserve})
	if _, err := h.Load("p", large.Module(), Settings{Grants: everyGrant}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Observe("p", nil, nil, nil); !errors.Is(err, ErrState) {
		t.Fatal(err)
	}
	if _, err := h.Observe("p", &policy.State{Number: 1}, nil, nil); !errors.Is(err, ErrState) {
		t.Fatal("a state that the policy refuses", err)
	}
}

// TestObservingIsNoDecision: what a policy observes takes no turn of its decisions to be checked, and leaves nothing that a host waits for.
func TestObservingIsNoDecision(t *testing.T) {
	h := testHost(t, Config{CheckEvery: 2, Instances: 1})
	if _, err := h.Load("p", needing(abi.GrantState), Settings{Grants: everyGrant}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := h.Observe("p", nil, []policy.Outcome{{Key: 5}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if info, _ := h.Info("p"); info.Instances != 1 || info.Checked != 0 {
		t.Errorf("%+v", info)
	}
	closed := make(chan struct{})
	go func() {
		h.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("the host does not close")
	}
}

// counting is a policy that needs some grants and counts the decisions of its instance in its reason.
func counting(needs int64) []byte {
	s := policyOf(nil,
		function{Type: typeGive, Code: i32(needs), Export: abi.ExportNeeds},
		function{Type: typeRoute, Code: i64(planAt<<32 | abi.PlanHeaderSize), Export: abi.ExportNext})
	count := cat(i32(planAt+abi.PlanReason), i32(planAt+abi.PlanReason), []byte{0x2d, 0, 0}, i32(1), []byte{opI32Add, 0x3a, 0, 0})
	s.Functions[4].Code = cat(count, i64(planAt<<32|abi.PlanHeaderSize))
	return s.Module()
}

// TestImpurityEndsSharing: of a policy that reads what users wrote and was found to remember, no instance decides twice.
func TestImpurityEndsSharing(t *testing.T) {
	for _, c := range []struct {
		name  string
		needs int64
		alone bool
	}{{"facts alone", 0, false}, {"text", abi.GrantText, true}, {"metadata", abi.GrantMetadata, true}, {"side calls", abi.GrantSideCalls, true}} {
		t.Run(c.name, func(t *testing.T) {
			said := make(chan string, 100)
			h := testHost(t, Config{CheckEvery: 10, Instances: 3, Log: func(_ string, _ int, text string) { said <- text }})
			if _, err := h.Load("p", counting(c.needs), Settings{Grants: everyGrant}); err != nil {
				t.Fatal(err)
			}
			snap := policy.Publish(policy.Snapshot{Generation: 1})
			var plan policy.Plan
			if err := ask(h, snap, 0, &plan); err != nil {
				t.Fatal(err)
			}
			first := plan.Reason
			for impure := uint64(0); impure == 0; {
				if err := ask(h, snap, 0, &plan); err != nil {
					t.Fatal(err)
				}
				info, _ := h.Info("p")
				impure = info.Impure
			}
			for range 5 {
				if err := ask(h, snap, 0, &plan); err != nil {
					t.Fatal(err)
				}
				if alone := plan.Reason == first; alone != c.alone {
					t.Errorf("the instance decided %d times before", plan.Reason-first)
				}
			}
			if line := <-said; strings.Contains(line, "instance of its own") != c.alone {
				t.Errorf("said %q", line)
			}
			var wait sync.WaitGroup // nor do those that wait for one another's instances hang
			for range 20 {
				wait.Go(func() {
					var plan policy.Plan
					if err := ask(h, snap, 0, &plan); err != nil || c.alone && plan.Reason != first {
						t.Error(plan.Reason, err)
					}
				})
			}
			wait.Wait()
		})
	}
}

// TestPurity: a policy that decides by what its instance did before is found out.
func TestPurity(t *testing.T) {
	for _, c := range []struct {
		name   string
		module []byte
		impure bool
	}{
		{"pure", policyOf(nil).Module(), false},
		{"impure", counting(0), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := make(chan string, 100)
			h := testHost(t, Config{CheckEvery: 10, Log: func(_ string, _ int, text string) { said <- text }})
			if _, err := h.Load("p", c.module, Settings{}); err != nil {
				t.Fatal(err)
			}
			snap := policy.Publish(policy.Snapshot{Generation: 1})
			var plan policy.Plan
			checked := func() Stats { info, _ := h.Info("p"); return info.Stats }
			for checked().Checked < 3 {
				if err := ask(h, snap, 0, &plan); err != nil {
					t.Fatal(err)
				}
			}
			if stats := checked(); (stats.Impure > 0) != c.impure || (len(said) > 0) != c.impure {
				t.Errorf("%+v, %d lines", stats, len(said))
			}
		})
	}
}
