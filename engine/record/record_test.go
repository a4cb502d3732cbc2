package record

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

func sample() *Decision {
	return &Decision{
		Policy: "eco", Ran: policy.Ran{Digest: "abcdef", Config: strings.Repeat("ab", 32), Needs: 3, Fuel: 30_000}, Failure: "fuel exhausted",
		Request: &policy.Request{Generation: 7, Seed: 9, Level: abi.LevelEco, Model: abi.NoModel, Credits: 5, Options: make([]policy.Option, 3)},
		Plan: &policy.Plan{
			Kind: abi.KindAnswer, Reason: abi.BecauseBand, MaxOutput: 2000, Explanation: []byte("because"),
			Steps: []policy.Step{{Candidate: 2, Attempts: 1, Score: 0.5, Reason: abi.BecauseBand}},
		},
		Outcomes: []policy.Outcome{
			{Candidate: 2, HTTP: 503, Kind: abi.KindAnswer, Failure: abi.FailureOverloaded, Latency: 3, Level: abi.LevelEco},
			{Candidate: 1, HTTP: 200, Kind: abi.KindAnswer, Flags: abi.OutcomeOK, Finish: abi.FinishStop, Input: 900, Output: 80, TTFT: 0.25, Latency: 900, Credits: 1000, Level: abi.LevelEco},
		},
	}
}

func TestDecisionRoundTrip(t *testing.T) {
	full := sample()
	full.Ran.Digest = strings.Repeat("0123456789abcdef", 4)
	full.Request = &policy.Request{
		Generation: 1 << 40, Seed: math.MaxUint64, Level: 1, Task: 2, Privacy: 3, Latency: 4, AccountTier: 5, Flags: 255, Model: 46,
		Needs: math.MaxUint32, InputTokens: 1, MaxOutput: 2, Messages: 3, Credits: math.MinInt64, Session: 77,
		Options: []policy.Option{{Excluded: 1}, {Excluded: 1}, {Inflight: 65535, Flags: 7}, {}, {}, {}},
	}
	for i := range full.Outcomes {
		full.Outcomes[i].Task = full.Request.Task
	}
	full.Plan.Steps[0].TimeoutMillis, full.Plan.Steps[0].HedgeMillis = math.MaxUint32, 9
	upper := sample()
	upper.Ran.Digest = strings.Repeat("0123456789ABCDEF", 4)
	reject := &Decision{
		Request: &policy.Request{},
		Plan:    &policy.Plan{Kind: abi.KindReject, Status: 402, Reason: abi.BecauseBand},
	}
	rounds := sample()
	rounds.Request.State, rounds.Request.Text, rounds.Request.Metadata = 1<<50, []byte("how?"), []byte("user=u\n")
	rounds.Earlier = []policy.Plan{
		{Kind: abi.KindAsk, Tag: 5, AskInput: abi.AskPrompt, AskOutput: 3, Ask: []byte("weak or strong?"), Steps: rounds.Plan.Steps},
		{Kind: abi.KindAnswer, Flags: abi.PlanReview, Tag: math.MaxUint32, Steps: rounds.Plan.Steps},
	}
	rounds.Outcomes[0] = policy.Outcome{Kind: abi.KindAsk, Flags: abi.OutcomeOK, Tag: 5, Text: []byte("weak"), Credits: 7, Level: abi.LevelEco}
	rounds.Outcomes[1].Round = 1
	wish := sample()
	wish.Wish, wish.Tried = "order b, a", []uint16{1, 2, 0}
	for name, want := range map[string]*Decision{"usual": sample(), "full": full, "other digest": upper, "reject": reject, "rounds": rounds, "wish": wish} {
		got, err := DecodeDecision(AppendDecision(nil, want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", name, got, err, want)
		}
	}
	rounds.Withheld = true
	data := AppendDecision(nil, rounds)
	for _, text := range []string{"how?", "user=u"} {
		if strings.Contains(string(data), text) {
			t.Errorf("%q is kept although it is withheld", text)
		}
	}
	if got, err := DecodeDecision(data); err != nil || !got.Withheld || got.Request.Text != nil || got.Outcomes[0].Text != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestDecisionSize: a usual decision over a full catalog is small, and nothing is allocated where there is room for it.
func TestDecisionSize(t *testing.T) {
	d := sample()
	d.Failure, d.Ran.Digest = "", strings.Repeat("0123456789abcdef", 4)
	d.Request.Options = make([]policy.Option, 47)
	if n := len(AppendDecision(nil, d)); n > 200 {
		t.Errorf("a usual decision takes %d bytes", n)
	}
	room := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { AppendDecision(room, d) }); n > 0 {
		t.Errorf("appending a decision takes %v allocations", n)
	}
}

func BenchmarkAppendDecision(b *testing.B) {
	d := sample()
	d.Ran.Digest = strings.Repeat("0123456789abcdef", 4)
	d.Request.Options = make([]policy.Option, 47)
	b.ReportAllocs()
	for b.Loop() {
		AppendDecision(nil, d)
	}
}

func TestDamagedDecisionsAreRefused(t *testing.T) {
	whole := sample()
	whole.Wish, whole.Tried = "sort price", []uint16{2}
	data := AppendDecision(nil, whole)
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
		d, err := DecodeDecision(data)
		if err != nil {
			return
		}
		again, err := DecodeDecision(AppendDecision(nil, d))
		if err != nil || len(again.Request.Options) != len(d.Request.Options) || len(again.Plan.Steps) != len(d.Plan.Steps) {
			t.Fatalf("%+v came back as %+v, %v", d, again, err)
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

// TestAnotherCatalogIsAKeyFrame: a difference tells live facts alone, so that what else differs is written whole.
func TestAnotherCatalogIsAKeyFrame(t *testing.T) {
	before := policy.Snapshot{Generation: 1, Candidates: []policy.Candidate{{Key: 1, CreditsPer1K: 5}, {Key: 2}}}
	for name, change := range map[string]func(*policy.Snapshot){
		"a price": func(s *policy.Snapshot) { s.Candidates[0].CreditsPer1K = 6 },
		"a name":  func(s *policy.Snapshot) { s.Candidates[1].ModelName = "m" },
		"a model": func(s *policy.Snapshot) { s.Candidates = s.Candidates[:1] },
		"nothing": func(*policy.Snapshot) {},
		"health":  func(s *policy.Snapshot) { s.Candidates[0].Health = abi.HealthDown },
	} {
		next := CloneSnapshot(&before)
		next.Generation = 2
		change(&next)
		data, live := AppendGeneration(nil, &before, &next, policy.AppendSnapshot(nil, &next)), name == "nothing" || name == "health"
		if IsKeyFrame(data) == live {
			t.Errorf("%s: key frame %v", name, !live)
		}
		got := CloneSnapshot(&before)
		if err := ApplyGeneration(&got, 2, data); err != nil || !reflect.DeepEqual(got, next) {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, next)
		}
	}
}
