package record

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func sample() *Decision {
	return &Decision{
		Policy: "eco", Digest: "abcdef", Failure: "fuel exhausted",
		Request: &policy.Request{Generation: 7, Seed: 9, Level: abi.LevelEco, Model: abi.NoModel, Credits: 5, Options: make([]policy.Option, 3)},
		Plan: &policy.Plan{
			Kind: abi.KindAnswer, Reason: abi.BecauseBand, MaxOutput: 2000, Explanation: []byte("because"),
			Steps: []policy.Step{{Candidate: 2, Attempts: 1, Score: 0.5, Reason: abi.BecauseBand}},
		},
		Attempts: []Attempt{{Candidate: 2, Status: 503, Class: "overloaded", Latency: 3 * time.Millisecond}, {Candidate: 1, Status: 200, TTFT: time.Millisecond}},
	}
}

func TestDecisionRoundTrip(t *testing.T) {
	want := sample()
	data := AppendDecision(nil, want)
	got, err := DecodeDecision(data)
	if err != nil {
		t.Fatal(err)
	}
	if got.Plan.Verdicts == nil {
		got.Plan.Verdicts = want.Plan.Verdicts
	}
	if !reflect.DeepEqual(got.Request, want.Request) || !reflect.DeepEqual(got.Attempts, want.Attempts) ||
		got.Policy != want.Policy || got.Digest != want.Digest || got.Failure != want.Failure ||
		got.Plan.Reason != want.Plan.Reason || !reflect.DeepEqual(got.Plan.Steps, want.Plan.Steps) || string(got.Plan.Explanation) != "because" {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}

func TestDamagedDecisionsAreRefused(t *testing.T) {
	data := AppendDecision(nil, sample())
	for n := range data {
		if _, err := DecodeDecision(data[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes were accepted", n, len(data))
		}
	}
	if _, err := DecodeDecision(append(data, 0)); !errors.Is(err, ErrFormat) {
		t.Fatalf("trailing bytes: %v", err)
	}
}

func FuzzDecodeDecision(f *testing.F) {
	f.Add(AppendDecision(nil, sample()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if d, err := DecodeDecision(data); err == nil {
			AppendDecision(nil, d)
		}
	})
}

func TestGenerationsRebuildFromDifferences(t *testing.T) {
	snap := policy.Snapshot{Generation: 1000, WallMillis: 5, Candidates: make([]policy.Candidate, 47)}
	for i := range snap.Candidates {
		snap.Candidates[i] = policy.Candidate{Key: uint64(i), ModelName: "m", ProviderName: "p", Quality: 0.5}
	}
	var rebuilt policy.Snapshot
	key := AppendGeneration(nil, nil, &snap, policy.AppendSnapshot(nil, &snap))
	if !IsKeyFrame(key) {
		t.Fatal("the first generation must be a key frame")
	}
	if err := ApplyGeneration(&rebuilt, 1000, key); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		next := snap
		next.Generation, next.WallMillis = snap.Generation+1, snap.WallMillis+50
		next.Candidates = append([]policy.Candidate(nil), snap.Candidates...)
		next.Candidates[next.Generation%47].TTFT++
		next.Candidates[3].Health = uint8(next.Generation % 4)
		data := AppendGeneration(nil, &snap, &next, policy.AppendSnapshot(nil, &next))
		if !IsKeyFrame(data) && len(data) > 100 {
			t.Fatalf("a difference of two candidates takes %d bytes", len(data))
		}
		if err := ApplyGeneration(&rebuilt, next.Generation, data); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(rebuilt, next) {
			t.Fatalf("generation %d came back different", next.Generation)
		}
		snap = next
	}
	gap := AppendGeneration(nil, &policy.Snapshot{Generation: 5000, Candidates: snap.Candidates}, &policy.Snapshot{Generation: 5001, Candidates: snap.Candidates}, nil)
	if err := ApplyGeneration(&rebuilt, 5001, gap); err == nil {
		t.Fatal("a difference to a missing base must be refused")
	}
}
