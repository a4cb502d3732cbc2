//go:build !(386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64 || wasm)

package policy

import (
	"math"

	"github.com/pointsman/pointsman/sdk/abi"
)

func putOptions(b []byte, options []Option) {
	for i, o := range options {
		put32(b, i*abi.OptionSize, uint32(o.Excluded)|uint32(o.Flags)<<8|uint32(o.Inflight)<<16)
	}
}

func putVerdicts(b []byte, verdicts []Verdict) {
	for i, v := range verdicts {
		put64(b, i*abi.VerdictSize, uint64(math.Float32bits(v.Score))|uint64(v.Reason)<<32|uint64(v.Rank)<<48)
	}
}

func decodeOptions(b []byte, t table, options []Option) { eachOption(b, t, options) }

func readVerdicts(b []byte, t table, verdicts []Verdict) { eachVerdict(b, t, verdicts) }
