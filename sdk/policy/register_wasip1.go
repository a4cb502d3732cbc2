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
)

//go:wasmexport pointsman_abi_version
func exportVersion() int32 { return abi.Version }

//go:wasmexport pointsman_describe
func exportDescribe() int64 { return span(guest.description) }

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

//go:wasmexport pointsman_route
func exportRoute(length int32) int64 {
	guest.plan.Reset()
	if err := DecodeRequest(guest.input[:length], &guest.request); err != nil {
		panic(err) // the host sent it: nothing sensible can be answered
	}
	guest.policy.Route(guest.config, &guest.snapshot, &guest.request, &guest.plan)
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
