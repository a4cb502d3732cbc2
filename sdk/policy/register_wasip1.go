//go:build wasip1

package policy

import (
	"unsafe"

	"github.com/pointsman/pointsman/sdk/abi"
)

// guest is the one instance of this module: WebAssembly exports are plain functions, so their state has to be here.
var guest struct {
	policy      Policy
	description []byte
	config      Config
	input       []byte
	output      []byte
	snapshot    Snapshot
	request     Request
	outcomes    []Outcome
	state       []byte
	plan        Plan
}

// Register makes p the policy of this module. Call it from an init function of the guest's main package.
func Register(p Policy) {
	guest.policy = p
	guest.description = []byte(p.Description)
}

// Status codes other than 0 make the host discard the instance; the numbers tell which call refused.
const (
	statusOK = iota
	statusConfig
	statusSnapshot
	statusState
)

//go:wasmexport pointsman_abi_version
func exportVersion() int32 { return abi.Version }

//go:wasmexport pointsman_describe
func exportDescribe() int64 { return span(guest.description) }

//go:wasmexport pointsman_needs
func exportNeeds() int32 { return int32(guest.policy.Needs) }

//go:wasmexport pointsman_buffer
func exportBuffer(size int32) int32 {
	if int(size) > len(guest.input) {
		guest.input = make([]byte, size)
	}
	return int32(uintptr(unsafe.Pointer(unsafe.SliceData(guest.input))))
}

//go:wasmexport pointsman_configure
func exportConfigure(length int32) int32 {
	config, err := ParseConfig(string(guest.input[:length]))
	if err == nil && guest.policy.Configure != nil {
		err = guest.policy.Configure(config)
	}
	if err != nil {
		logLine(err.Error())
		return statusConfig
	}
	guest.config = config
	return statusOK
}

//go:wasmexport pointsman_snapshot
func exportSnapshot(length int32) int32 {
	if DecodeSnapshot(guest.input[:length], &guest.snapshot) != nil {
		return statusSnapshot
	}
	if guest.policy.Learn != nil {
		guest.policy.Learn(&guest.snapshot)
	}
	return statusOK
}

//go:wasmexport pointsman_state
func exportState(length int32) int32 {
	guest.state = append(guest.state[:0], guest.input[:length]...)
	if guest.policy.Remember != nil {
		if err := guest.policy.Remember(guest.state); err != nil {
			logLine(err.Error())
			return statusState
		}
	}
	return statusOK
}

//go:wasmexport pointsman_route
func exportRoute(length int32) int64 {
	guest.plan.Reset()
	if err := DecodeRequest(guest.input[:length], &guest.request); err != nil {
		panic(err) // the host sent it: nothing sensible can be answered
	}
	guest.policy.Route(guest.config, &guest.snapshot, &guest.request, &guest.plan)
	return answer()
}

//go:wasmexport pointsman_next
func exportNext(length int32) int64 {
	guest.plan.Reset()
	takeOutcomes(length, &guest.request)
	guest.policy.Next(guest.config, &guest.snapshot, &guest.request, guest.outcomes, &guest.plan)
	return answer()
}

//go:wasmexport pointsman_observe
func exportObserve(length int32) int64 {
	takeOutcomes(length, nil)
	guest.output = guest.policy.Observe(guest.config, guest.output[:0], guest.state, guest.outcomes)
	return span(guest.output)
}

// takeOutcomes decodes the input; r is nil where no request comes with it.
func takeOutcomes(length int32, r *Request) {
	var err error
	if guest.outcomes, err = DecodeOutcomes(guest.input[:length], guest.outcomes, r); err != nil {
		panic(err) // as in exportRoute
	}
}

func answer() int64 {
	guest.output = AppendPlan(guest.output[:0], &guest.plan)
	return span(guest.output)
}

// span packs where bytes lie as the contract asks: address<<32 | length.
func span(b []byte) int64 {
	return int64(uintptr(unsafe.Pointer(unsafe.SliceData(b))))<<32 | int64(len(b))
}

//go:wasmimport pointsman_policy_v1 log
func hostLog(level int32, address unsafe.Pointer, length int32)

// logLine tells the operator why something was refused.
func logLine(text string) { hostLog(3, unsafe.Pointer(unsafe.StringData(text)), int32(len(text))) }
