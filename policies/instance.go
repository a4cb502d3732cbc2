package policies

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// leastBuffer is what a guest is asked for at first, so that it is not asked again soon.
const leastBuffer = 4096

// fuelCandidates is how many candidates the configured fuel is meant for; larger snapshots get as many times more.
const fuelCandidates = 64

// instance is one running copy of a module. It serves one call at a time.
type instance struct {
	module   *module
	guest    api.Module
	memory   api.Memory
	fuel     api.MutableGlobal
	depth    api.Global
	buffer   api.Function
	snapshot api.Function
	route    api.Function
	address  uint32            // of the input buffer
	size     uint32            // of the input buffer
	known    *policy.Published // the generation it was given last
	stack    [1]uint64         // argument and result of a call
}

// start makes an instance and takes it through the contract up to its configuration.
func (m *module) start() (_ *instance, err error) {
	ctx := m.host.ctx
	// Nameless, so that there can be several; without start functions, because _start would run a whole program.
	guest, err := m.runtime.InstantiateModule(ctx, m.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("%w: starting: %w", ErrRefused, err)
	}
	inst := &instance{
		module: m, guest: guest, memory: guest.Memory(),
		fuel:     guest.ExportedGlobal(exportFuel).(api.MutableGlobal),
		depth:    guest.ExportedGlobal(exportDepth),
		buffer:   guest.ExportedFunction(abi.ExportBuffer),
		snapshot: guest.ExportedFunction(abi.ExportSnapshot),
		route:    guest.ExportedFunction(abi.ExportRoute),
	}
	defer func() {
		if err != nil {
			inst.close()
		}
	}()
	inst.refuel(m.host.config.StartFuel)
	if initialize := guest.ExportedFunction(abi.ExportStart); initialize != nil {
		if _, err := inst.call(initialize, 0); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrRefused, abi.ExportStart, err)
		}
	}
	version, err := inst.call(guest.ExportedFunction(abi.ExportVersion), 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrRefused, abi.ExportVersion, err)
	}
	if uint32(version) != abi.Version {
		return nil, refused("it is written for version %d of the contract, this is %d", uint32(version), abi.Version)
	}
	if err := inst.configure(m.config); err != nil {
		return nil, err
	}
	return inst, nil
}

func (i *instance) close() {
	_ = i.guest.Close(i.module.host.ctx) // releases memory only
}

func (i *instance) refuel(units int64) { i.fuel.Set(uint64(units)) }

// call runs an export that takes at most one number, and sorts its failures.
func (i *instance) call(f api.Function, argument uint64) (uint64, error) {
	i.stack[0] = argument
	err := f.CallWithStack(context.Background(), i.stack[:])
	switch {
	case int64(i.fuel.Get()) < 0: // also when it returned, after calls to the host that it could not pay
		return 0, ErrFuel
	case err == nil:
		return i.stack[0], nil
	case uint32(i.depth.Get()) > maxDepth:
		return 0, ErrDepth
	default:
		return 0, fmt.Errorf("%w: %w", ErrTrap, err)
	}
}

// input returns the first n bytes of the guest's buffer, as they lie in its memory: what is written there arrives.
func (i *instance) input(n int) ([]byte, error) {
	if uint32(n) > i.size {
		size := max(leastBuffer, uint32(1)<<bits.Len32(uint32(n)))
		address, err := i.call(i.buffer, uint64(size))
		if err != nil {
			return nil, err
		}
		i.address, i.size = uint32(address), size
		if _, ok := i.memory.Read(i.address, i.size); !ok || i.address == 0 {
			i.size = 0
			return nil, fmt.Errorf("%w: no buffer of %d bytes", ErrStatus, size)
		}
	}
	view, _ := i.memory.Read(i.address, uint32(n)) // read again each time: the memory may have moved
	return view, nil
}

func (i *instance) configure(text string) error {
	view, err := i.input(len(text))
	if err == nil {
		copy(view, text)
		var status uint64
		if status, err = i.call(i.guest.ExportedFunction(abi.ExportConfigure), uint64(len(text))); err == nil && uint32(status) != 0 {
			err = fmt.Errorf("%w: status %d %s", ErrConfigure, uint32(status), i.module.lastLine())
		}
	}
	if err != nil && !errors.Is(err, ErrConfigure) {
		err = fmt.Errorf("%w: %w", ErrConfigure, err)
	}
	return err
}

// describe asks the module what it is; "" if it does not say.
func (i *instance) describe() (string, error) {
	describe := i.guest.ExportedFunction(abi.ExportDescribe)
	if describe == nil {
		return "", nil
	}
	span, err := i.call(describe, 0)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", ErrRefused, abi.ExportDescribe, err)
	}
	text, ok := i.memory.Read(uint32(span>>32), uint32(span))
	if !ok || len(text) > abi.MaxExplanation || !utf8.Valid(text) {
		return "", refused("%s returned no UTF-8 text of at most %d bytes", abi.ExportDescribe, abi.MaxExplanation)
	}
	return string(text), nil
}

// decide gets a plan from the guest, and tells the guest first if the snapshot is a new one. The fuel is what the decision
// itself used.
func (i *instance) decide(snap *policy.Published, req *policy.Request, plan *policy.Plan) (fuel int64, err error) {
	budget := i.module.host.config.Fuel * int64(1+len(req.Options)/fuelCandidates)
	if i.known != snap {
		i.refuel(budget)
		if err := i.learn(snap); err != nil {
			return budget - int64(i.fuel.Get()), err
		}
	}
	i.refuel(budget)
	size := policy.RequestSize(len(req.Options))
	view, err := i.input(size)
	if err != nil {
		return 0, err
	}
	policy.AppendRequest(view[:0:size], req)
	span, err := i.call(i.route, uint64(size))
	fuel = budget - int64(i.fuel.Get())
	if err != nil {
		return fuel, err
	}
	answer, ok := i.memory.Read(uint32(span>>32), uint32(span))
	if !ok {
		return fuel, fmt.Errorf("%w: it lies outside the memory", ErrBadPlan)
	}
	if err := policy.DecodePlan(answer, len(req.Options), plan); err != nil {
		return fuel, fmt.Errorf("%w: %w", ErrBadPlan, err)
	}
	if plan.Kind == abi.KindAsk {
		return fuel, fmt.Errorf("%w: this version does not ask on behalf of a policy", ErrBadPlan)
	}
	return fuel, nil
}

func (i *instance) learn(snap *policy.Published) error {
	view, err := i.input(len(snap.Bytes))
	if err != nil {
		return err
	}
	copy(view, snap.Bytes)
	status, err := i.call(i.snapshot, uint64(len(snap.Bytes)))
	if err != nil {
		return err
	}
	if uint32(status) != 0 {
		return fmt.Errorf("%w: %s returned %d", ErrStatus, abi.ExportSnapshot, uint32(status))
	}
	i.known = snap
	return nil
}
