package policy_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/pointsman/pointsman/sdk/policy/policytest"
)

// TestWorkedExample decodes the bytes that the documentation of sdk/abi spells out.
func TestWorkedExample(t *testing.T) {
	b := []byte{
		0x01, 0x00, 0x20, 0x00, 0x01, 0x00, 0x80, 0x00, 0x01, 0x00, 0x18, 0x00, 0x00, 0x00, 0x08, 0x00,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x03, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x3f,
		0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	}
	var p policy.Plan
	if err := policy.DecodePlan(b, 4, &p); err != nil {
		t.Fatal(err)
	}
	want := []policy.Step{{Candidate: 3, Attempts: 1, Score: 1, Reason: abi.BecauseBand}}
	if p.Kind != abi.KindAnswer || p.Reason != abi.BecauseBand || !reflect.DeepEqual(p.Steps, want) {
		t.Errorf("got %+v", p)
	}
	if again := policy.AppendPlan(nil, &p); !bytes.Equal(again, b) {
		t.Errorf("encoded again:\n%x\n%x", again, b)
	}
}

func TestRoundTrip(t *testing.T) {
	random := policytest.NewRandom(3)
	var s policy.Snapshot
	var r policy.Request
	for _, n := range []int{0, 1, 47, 300} {
		snap := random.Snapshot(n)
		if err := policy.DecodeSnapshot(snap.Bytes, &s); err != nil {
			t.Fatal(err)
		}
		if s.Generation != snap.Generation || s.WallMillis != snap.WallMillis || len(s.Candidates) != n {
			t.Fatalf("snapshot of %d became %d, %d, %d", n, s.Generation, s.WallMillis, len(s.Candidates))
		}
		for i := range s.Candidates {
			if s.Candidates[i] != snap.Candidates[i] {
				t.Fatalf("candidate %d:\n%+v\n%+v", i, s.Candidates[i], snap.Candidates[i])
			}
		}
		req := random.Request(snap)
		if err := policy.DecodeRequest(policy.AppendRequest(nil, req), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Options) != n || n > 0 && !reflect.DeepEqual(&r, req) {
			t.Fatalf("request:\n%+v\n%+v", r, req)
		}
	}
}

// TestStrides reads records that are longer than this version knows, as a newer peer writes them.
func TestStrides(t *testing.T) {
	snap := policytest.NewRandom(5).Snapshot(3)
	const more = 8
	b := append([]byte(nil), snap.Bytes[:abi.SnapshotHeaderSize]...)
	b = append(b, make([]byte, more)...)
	for i := range 3 {
		b = append(b, snap.Bytes[abi.SnapshotHeaderSize+i*abi.CandidateSize:][:abi.CandidateSize]...)
		b = append(b, make([]byte, more)...)
	}
	binary.LittleEndian.PutUint16(b[abi.SnapshotHeader:], abi.SnapshotHeaderSize+more)
	binary.LittleEndian.PutUint16(b[abi.SnapshotStride:], abi.CandidateSize+more)
	binary.LittleEndian.PutUint32(b[abi.SnapshotBlobOff:], uint32(len(b)))
	b = append(b, snap.Bytes[abi.SnapshotHeaderSize+3*abi.CandidateSize:]...)
	var s policy.Snapshot
	if err := policy.DecodeSnapshot(b, &s); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(s.Candidates, snap.Candidates) {
		t.Errorf("got %+v", s.Candidates)
	}
}

// good is a plan that uses everything.
func good() *policy.Plan {
	return &policy.Plan{
		Kind: abi.KindAnswer, Reason: abi.BecauseTask, MaxOutput: 900, Explanation: []byte("why: it fits, ähem"),
		Steps: []policy.Step{
			{Candidate: 2, Attempts: 3, TimeoutMillis: 5000, HedgeMillis: 200, Score: 0.5, Reason: abi.BecauseTask},
			{Candidate: 0, Attempts: 1, Score: -1, Reason: abi.BecauseBand},
		},
		Verdicts: []policy.Verdict{{Score: -1, Rank: 2}, {Reason: abi.ReasonQuality}, {Score: 0.5, Rank: 1}},
	}
}

func TestDecodePlan(t *testing.T) {
	put := binary.LittleEndian
	const step, verdict = abi.PlanHeaderSize, abi.PlanHeaderSize + 2*abi.StepSize
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		says   string // "" if the plan is good
	}{
		{"as it is", func(b []byte) []byte { return b }, ""},
		{"empty", func([]byte) []byte { return nil }, "no header"},
		{"too long", func([]byte) []byte { return make([]byte, abi.MaxPlan+1) }, "more than"},
		{"version", func(b []byte) []byte { b[0] = 2; return b }, "version"},
		{"short header", func(b []byte) []byte { b[abi.PlanHeader] = 31; return b }, "header"},
		{"header beyond the end", func(b []byte) []byte { put.PutUint16(b[abi.PlanHeader:], 60000); return b }, "header"},
		{"kind", func(b []byte) []byte { b[abi.PlanKind] = 5; return b }, "kind"},
		{"review", func(b []byte) []byte { b[abi.PlanFlags] = abi.PlanReview; return b }, ""},
		{"reserved", func(b []byte) []byte { b[abi.PlanFlags] = 2; return b }, "reserved"},
		{"accept with steps", func(b []byte) []byte { b[abi.PlanKind] = abi.KindAccept; return b }, "plan of kind 4 with 2 steps"},
		{"ask without an instruction", func(b []byte) []byte { b[abi.PlanKind] = abi.KindAsk; return b }, "instruction"},
		{"status of an answer", func(b []byte) []byte { put.PutUint16(b[abi.PlanStatus:], 503); return b }, "status"},
		{"steps beyond the end", func(b []byte) []byte { b[abi.PlanSteps] = 8; return b }, "steps end"},
		{"stride too small", func(b []byte) []byte { b[abi.PlanStepStride] = 23; return b }, "stride"},
		{"no step", func(b []byte) []byte { b[abi.PlanSteps], b[abi.PlanVerdicts] = 0, 0; return b }, "without a step"},
		{"reject with steps", func(b []byte) []byte { b[abi.PlanKind] = abi.KindReject; return b }, "plan of kind 3 with 2 steps"},
		{"verdicts of another number", func(b []byte) []byte { b[abi.PlanVerdicts] = 2; return b }, "2 verdicts about 3"},
		{"no verdicts", func(b []byte) []byte { b[abi.PlanVerdicts] = 0; return b }, ""},
		{"candidate out of range", func(b []byte) []byte { b[step] = 3; return b }, "candidate 3 of 3"},
		{"candidate twice", func(b []byte) []byte { b[step+abi.StepSize] = 2; return b }, "steps 0 and 1"},
		{"no attempt", func(b []byte) []byte { b[step+abi.StepAttempts] = 0; return b }, "0 attempts"},
		{"four attempts", func(b []byte) []byte { b[step+abi.StepAttempts] = 4; return b }, "4 attempts"},
		{"step flags", func(b []byte) []byte { b[step+abi.StepFlags] = 1; return b }, "reserved"},
		{"score NaN", func(b []byte) []byte { put.PutUint32(b[step+abi.StepScore:], 0x7fc00001); return b }, "finite"},
		{"verdict infinite", func(b []byte) []byte {
			put.PutUint32(b[verdict:], math.Float32bits(float32(math.Inf(-1))))
			return b
		}, "finite"},
		{"rank of another", func(b []byte) []byte { b[verdict+abi.VerdictRank] = 1; return b }, "claims rank 1"},
		{"rank left out", func(b []byte) []byte { b[verdict+abi.VerdictRank] = 0; return b }, "1 verdicts with a rank"},
		{"explanation outside", func(b []byte) []byte { b[abi.PlanExplainLen]++; return b }, "explanation"},
		{"explanation in the header", func(b []byte) []byte { b[abi.PlanExplainOff] = 31; return b }, "explanation"},
		{"explanation far away", func(b []byte) []byte { put.PutUint32(b[abi.PlanExplainOff:], math.MaxUint32); return b }, "explanation"},
		{"explanation too long", func(b []byte) []byte {
			put.PutUint32(b[abi.PlanExplainLen:], abi.MaxExplanation+1)
			return append(b, make([]byte, 600)...)
		}, "more than 512"},
		{"explanation not UTF-8", func(b []byte) []byte { b[len(b)-1] = 0xff; return b }, "UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p policy.Plan
			err := policy.DecodePlan(c.change(policy.AppendPlan(nil, good())), 3, &p)
			if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, policy.ErrMalformed) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
}

// TestDecodeAsk is about the part of a plan that only rounds need.
func TestDecodeAsk(t *testing.T) {
	put := binary.LittleEndian
	ask := func() *policy.Plan {
		return &policy.Plan{
			Kind: abi.KindAsk, Reason: 1024, Steps: []policy.Step{{Candidate: 1, Attempts: 1}}, Tag: 7, Explanation: []byte("why"),
			AskInput: abi.AskBoth, AskOutput: 12, Ask: []byte("Is it good?"),
		}
	}
	for _, c := range []struct {
		name   string
		change func(b []byte) []byte
		says   string
	}{
		{"as it is", func(b []byte) []byte { return b }, ""},
		{"input", func(b []byte) []byte { b[abi.PlanAskInput] = 4; return b }, "input 4"},
		{"no input", func(b []byte) []byte { b[abi.PlanAskInput] = 0; return b }, "input 0"},
		{"long answer", func(b []byte) []byte { put.PutUint16(b[abi.PlanAskOutput:], abi.MaxAskOutput+1); return b }, "1025 tokens"},
		{"reserved", func(b []byte) []byte { b[abi.PlanReserved3] = 1; return b }, "reserved"},
		{"reserved too", func(b []byte) []byte { b[abi.PlanReserved4+15] = 1; return b }, "reserved"},
		{"instruction outside", func(b []byte) []byte { b[abi.PlanAskLen]++; return b }, "instruction"},
		{"instruction not UTF-8", func(b []byte) []byte { b[len(b)-1] = 0xff; return b }, "UTF-8"},
		{"an answer with an instruction", func(b []byte) []byte { b[abi.PlanKind] = abi.KindAnswer; return b }, "kind 1 with an instruction"},
		{"review of a side call", func(b []byte) []byte { b[abi.PlanFlags] = abi.PlanReview; return b }, "reviewed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p policy.Plan
			err := policy.DecodePlan(c.change(policy.AppendPlan(nil, ask())), 2, &p)
			if c.says == "" && (err != nil || !bytes.Equal(policy.AppendPlan(nil, &p), policy.AppendPlan(nil, ask()))) ||
				c.says != "" && (!errors.Is(err, policy.ErrMalformed) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("got %v %+v, want %q", err, p, c.says)
			}
		})
	}
}

// TestOutcomes: outcomes come back as they went, with the request behind them and without.
func TestOutcomes(t *testing.T) {
	random := policytest.NewRandom(3)
	snap := random.Snapshot(9)
	for range 200 {
		f := &policy.Facts{Snapshot: snap, Request: random.Request(snap)}
		plan := policy.Plan{Kind: abi.KindAsk, Steps: []policy.Step{{Candidate: 3}, {Candidate: 5}, {Candidate: 1}}, Tag: 9}
		want := random.Outcomes(f, &plan)
		encoded := policy.AppendOutcomes(nil, want, f.Request)
		if size := policy.OutcomesSize(want, f.Request); size != len(encoded) {
			t.Fatalf("%d bytes, %d foretold", len(encoded), size)
		}
		var r policy.Request
		got, err := policy.DecodeOutcomes(encoded, nil, &r)
		if err != nil || !bytes.Equal(policy.AppendOutcomes(nil, got, &r), encoded) || !bytes.Equal(policy.AppendRequest(nil, &r), policy.AppendRequest(nil, f.Request)) {
			t.Fatalf("%v: %+v", err, got)
		}
		if got, err = policy.DecodeOutcomes(policy.AppendOutcomes(nil, want, nil), got, nil); err != nil || len(got) != len(want) {
			t.Fatalf("%v: %+v", err, got)
		}
	}
}

// TestNewerRecords: a guest built against a shorter version of the records reads a newer host's.
func TestNewerRecords(t *testing.T) {
	random := policytest.NewRandom(5)
	snap := random.Snapshot(7)
	longer := widen(snap.Bytes, abi.SnapshotHeaderSize, abi.CandidateSize, len(snap.Candidates), abi.SnapshotHeader, abi.SnapshotStride, abi.SnapshotBlobOff)
	var s policy.Snapshot
	if err := policy.DecodeSnapshot(longer, &s); err != nil || !bytes.Equal(policy.AppendSnapshot(nil, &s), snap.Bytes) {
		t.Errorf("a snapshot of longer records: %v", err)
	}
	req := random.Request(snap)
	encoded := policy.AppendRequest(nil, req)
	fields := []int{abi.RequestTextOff, abi.RequestMetadataOff}
	if req.Text == nil {
		fields = nil
	}
	var r policy.Request
	longer = widen(encoded, abi.RequestHeaderSize, abi.OptionSize, len(req.Options), abi.RequestHeader, abi.RequestStride, fields...)
	if err := policy.DecodeRequest(longer, &r); err != nil || !bytes.Equal(policy.AppendRequest(nil, &r), encoded) {
		t.Errorf("a request of longer records: %v", err)
	}
}

// widen is the buffer as a later version would write it: eight unknown bytes behind the header and behind each record, and
// the offsets at some fields moved on.
func widen(b []byte, header, record, count, headerField, strideField int, offsets ...int) []byte {
	unknown := bytes.Repeat([]byte{0xEE}, 8)
	out := append(append([]byte(nil), b[:header]...), unknown...)
	for i := range count {
		out = append(append(out, b[header+i*record:header+(i+1)*record]...), unknown...)
	}
	out = append(out, b[header+count*record:]...)
	put := binary.LittleEndian
	put.PutUint16(out[headerField:], uint16(header+8))
	put.PutUint16(out[strideField:], uint16(record+8))
	for _, at := range offsets {
		put.PutUint32(out[at:], put.Uint32(out[at:])+uint32(8+8*count))
	}
	return out
}

func TestReject(t *testing.T) {
	for status, ok := range map[uint16]bool{0: true, 200: false, 399: false, 400: true, 599: true, 600: false} {
		p := policy.Plan{Kind: abi.KindReject, Reason: abi.BecauseNothing, Status: status}
		if err := policy.DecodePlan(policy.AppendPlan(nil, &p), 0, &p); (err == nil) != ok {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

// TestNoAllocation pins what the data path relies on.
func TestNoAllocation(t *testing.T) {
	random := policytest.NewRandom(1)
	snap := random.Snapshot(47)
	req := random.Request(snap)
	buffer := make([]byte, 0, policy.RequestSize(req))
	plan := good()
	encoded := policy.AppendPlan(nil, plan)
	var s policy.Snapshot
	if err := policy.DecodeSnapshot(snap.Bytes, &s); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		buffer = policy.AppendRequest(buffer[:0], req)
		if policy.DecodePlan(encoded, 3, plan) != nil || policy.DecodeSnapshot(snap.Bytes, &s) != nil {
			t.Fatal("decoding failed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDecodePlan: whatever is accepted encodes to a plan that is accepted and equal.
func FuzzDecodePlan(f *testing.F) {
	f.Add(policy.AppendPlan(nil, good()), 3)
	f.Add(policy.AppendPlan(nil, &policy.Plan{Kind: abi.KindReject, Status: 402, Explanation: []byte("no")}), 0)
	f.Add(policy.AppendPlan(nil, &policy.Plan{Kind: abi.KindAsk, Steps: []policy.Step{{Attempts: 1}}, Tag: 1, AskInput: 1, Ask: []byte("?")}), 1)
	f.Fuzz(func(t *testing.T, b []byte, candidates int) {
		var p, again policy.Plan
		if policy.DecodePlan(b, candidates, &p) != nil {
			return
		}
		encoded := policy.AppendPlan(nil, &p)
		if err := policy.DecodePlan(encoded, candidates, &again); err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if !bytes.Equal(policy.AppendPlan(nil, &again), encoded) {
			t.Fatalf("%+v became %+v", p, again)
		}
	})
}

// FuzzDecodeFacts: no input makes the guest's decoders read out of bounds.
func FuzzDecodeFacts(f *testing.F) {
	random := policytest.NewRandom(1)
	snap := random.Snapshot(3)
	f.Add(snap.Bytes)
	f.Add(policy.AppendRequest(nil, random.Request(snap)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s policy.Snapshot
		var r policy.Request
		if err := policy.DecodeSnapshot(b, &s); err != nil && !errors.Is(err, policy.ErrMalformed) {
			t.Fatal(err)
		}
		if err := policy.DecodeRequest(b, &r); err != nil && !errors.Is(err, policy.ErrMalformed) {
			t.Fatal(err)
		}
		if _, err := policy.DecodeOutcomes(b, nil, &r); err != nil && !errors.Is(err, policy.ErrMalformed) {
			t.Fatal(err)
		}
	})
}
