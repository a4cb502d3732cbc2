package policy_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// TestWorkedExamples holds the bytes in the documentation of the contract to what is encoded.
func TestWorkedExamples(t *testing.T) {
	snapshot := policy.Snapshot{Generation: 5, WallMillis: 1_700_000_000_000, Candidates: []policy.Candidate{{
		Key: 0x0102030405060708, Provider: 2, Tier: 1, Health: abi.HealthHealthy, Mode: abi.ModeChat,
		Capabilities: abi.CapTools | abi.CapJSONSchema, Strengths: 1 << abi.TaskCode, ContextWindow: 131072, MaxOutput: 8192,
		CreditsPer1K: 2000, PriceIn: 50_000, PriceOut: 80_000, Quality: 0.75, TTFT: 250, TokensPerSec: 400, ErrorRate: 0.0625, Samples: 12,
		ModelName: "small", ProviderName: "groq",
	}}}
	request := policy.Request{
		Generation: 5, Seed: 9, Level: abi.LevelBalanced, Task: abi.TaskCode, AccountTier: 2, Flags: abi.FlagStream, Model: abi.NoModel,
		Needs: abi.CapTools, InputTokens: 320, Messages: 3, Credits: 999_000_000, Options: []policy.Option{{Inflight: 2}}, Text: []byte("Sort a list"),
	}
	shortest := policy.Plan{Kind: abi.KindAnswer, Reason: abi.BecauseBand, Steps: []policy.Step{{Attempts: 1, Score: 1, Reason: abi.BecauseBand}}}
	ask := policy.Plan{
		Kind: abi.KindAsk, Reason: abi.BecauseTask, Tag: 1, AskInput: abi.AskPrompt, AskOutput: 8, Ask: []byte("Weak or strong?"),
		Steps: []policy.Step{{Attempts: 1, Score: 1}},
	}
	outcome := policy.Outcome{
		Key: 0x0102030405060708, Credits: 2000, HTTP: 200, Tag: 1, Input: 40, Output: 1, TTFT: 250, Latency: 256,
		Flags: abi.OutcomeOK, Kind: abi.KindAsk, Finish: abi.FinishStop, Level: abi.LevelBalanced, Task: abi.TaskCode, Text: []byte("STRONG"),
	}
	text, err := os.ReadFile("../abi/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for title, want := range map[string][]byte{
		"Snapshot of one candidate": policy.AppendSnapshot(nil, &snapshot),
		"Request about it":          policy.AppendRequest(nil, &request),
		"Plan, the shortest":        policy.AppendPlan(nil, &shortest),
		"Plan of a side call":       policy.AppendPlan(nil, &ask),
		"Outcomes, as":              policy.AppendOutcomes(nil, []policy.Outcome{outcome}, nil),
	} {
		_, block, found := strings.Cut(string(text), "\n// "+title)
		if got := exampleBytes(t, block); !found || !bytes.Equal(got, want) {
			t.Errorf("%s:\n% x, the documentation says\n% x", title, want, got)
		}
	}
}

// exampleBytes reads the first indented block of a comment: bytes in hexadecimal, then three spaces and a remark.
func exampleBytes(t *testing.T, comment string) (all []byte) {
	t.Helper()
	started := false
	for line := range strings.Lines(comment) {
		digits, indented := strings.CutPrefix(line, "//\t")
		if !indented {
			if started {
				break
			}
			continue
		}
		started = true
		digits, _, _ = strings.Cut(digits, "   ")
		b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(digits), " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, b...)
	}
	return all
}
