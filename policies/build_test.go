package policies

import (
	"context"
	"os"
	"testing"

	"github.com/pointsman/pointsman/policies/hostile"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// What the assembler of package hostile offers, under shorter names.
const (
	typeNothing  = hostile.TypeNothing
	typeGive     = hostile.TypeGive
	typeMap      = hostile.TypeMap
	typeRoute    = hostile.TypeRoute
	typeDescribe = hostile.TypeDescribe
	typeLog      = hostile.TypeLog
	typePair     = hostile.TypePair
	bufferAt     = hostile.BufferAt
	planAt       = hostile.PlanAt
	nextAt       = hostile.NextAt
)

type (
	source   = hostile.Source
	function = hostile.Function
)

func name(s string) []byte       { return hostile.Name(s) }
func cat(parts ...[]byte) []byte { return hostile.Cat(parts...) }
func i32(v int64) []byte         { return hostile.I32(v) }
func i64(v int64) []byte         { return hostile.I64(v) }

// policyOf is a module that keeps the contract and runs code when the seed of a request is not zero.
func policyOf(code []byte, more ...function) source { return hostile.Policy(code, more...) }

// testHost is a host that is closed with the test.
func testHost(t testing.TB, config Config) *Host {
	t.Helper()
	h, err := New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// ask sends a request about an empty snapshot; the seed says whether the hostile code runs.
func ask(h *Host, snap *policy.Published, seed uint64, plan *policy.Plan) error {
	_, err := h.Route("p", &policy.Facts{Snapshot: snap, Request: &policy.Request{Generation: snap.Generation, Seed: seed, Model: abi.NoModel}}, plan)
	return err
}

// allFaults tells that the fault matrix is to be tried in full, as `make test-faults` does.
func allFaults() bool { return os.Getenv("POINTSMAN_FAULTS") == "full" }
