//go:build 386 || amd64 || arm || arm64 || loong64 || mips64le || mipsle || ppc64le || riscv64 || wasm

package policy

import (
	"unsafe"

	"github.com/pointsman/pointsman/sdk/abi"
)

// Options and verdicts, of which there is one a candidate, lie in memory as the contract lays them out wherever numbers are
// little-endian. They are copied in one piece: one by one they took a Go guest longer than its decision.

func optionBytes(o []Option) []byte {
	const _ = uint(unsafe.Sizeof(Option{})-abi.OptionSize) + uint(unsafe.Offsetof(Option{}.Inflight)-abi.OptionInflight)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(o))), len(o)*abi.OptionSize)
}

func verdictBytes(v []Verdict) []byte {
	const _ = uint(unsafe.Sizeof(Verdict{})-abi.VerdictSize) + uint(unsafe.Offsetof(Verdict{}.Rank)-abi.VerdictRank)
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*abi.VerdictSize)
}

func putOptions(b []byte, options []Option)    { copy(b, optionBytes(options)) }
func putVerdicts(b []byte, verdicts []Verdict) { copy(b, verdictBytes(verdicts)) }

func decodeOptions(b []byte, t table, options []Option) {
	if t.stride == abi.OptionSize {
		copy(optionBytes(options), b[t.offset:])
		return
	}
	eachOption(b, t, options)
}

func readVerdicts(b []byte, t table, verdicts []Verdict) {
	if t.stride == abi.VerdictSize {
		copy(verdictBytes(verdicts), b[t.offset:])
		return
	}
	eachVerdict(b, t, verdicts)
}
