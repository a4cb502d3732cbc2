package policies

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"strings"
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
	left     int64             // of the fuel at hand, after a call
	fuel     api.MutableGlobal // of the slice at hand
	reserve  api.MutableGlobal // beside it
	depth    api.Global
	buffer   api.Function
	snapshot api.Function
	route    api.Function
	next     api.Function      // nil if it is not exported
	needs    uint32            // abi.Grant* bits of what it is given
	address  uint32            // of the input buffer
	size     uint32            // of the input buffer
	known    *policy.Published // the generation it was given last
	state    uint64            // number of the state it was given last
	stack    [1]uint64         // argument and result of a call
}

// start makes an instance and takes it through the contract up to its configuration.
func (m *module) start() (_ *instance, err error) {
	ctx := m.host.ctx
	// Nameless, so that there can be several; without start functions, because _start would run a whole program.
	guest, err := m.runtime.InstantiateModule(withMemory(ctx), m.compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("%w: starting: %w", ErrRefused, err)
	}
	inst := &instance{
		module: m, guest: guest, memory: guest.Memory(),
		fuel:     guest.ExportedGlobal(exportFuel).(api.MutableGlobal),
		reserve:  guest.ExportedGlobal(exportReserve).(api.MutableGlobal),
		depth:    guest.ExportedGlobal(exportDepth),
		buffer:   guest.ExportedFunction(abi.ExportBuffer),
		snapshot: guest.ExportedFunction(abi.ExportSnapshot),
		route:    guest.ExportedFunction(abi.ExportRoute),
		next:     guest.ExportedFunction(abi.ExportNext),
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
	if err := inst.learnNeeds(); err != nil {
		return nil, err
	}
	if err := inst.configure(m.config); err != nil {
		return nil, err
	}
	return inst, nil
}

// learnNeeds asks what the policy needs, which must be granted.
func (i *instance) learnNeeds() error {
	needs := uint32(0)
	if ask := i.guest.ExportedFunction(abi.ExportNeeds); ask != nil {
		answer, err := i.call(ask, 0)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrRefused, abi.ExportNeeds, err)
		}
		needs = uint32(answer)
	}
	const all = abi.GrantText | abi.GrantMetadata | abi.GrantSideCalls | abi.GrantState
	exported := func(name string) bool { return i.guest.ExportedFunction(name) != nil }
	switch {
	case needs&^all != 0:
		return refused("it needs grants that this version does not know: 0x%x", needs)
	case needs&^i.module.settings.Grants != 0:
		return fmt.Errorf("%w: %s", ErrGrant, strings.Join(policy.GrantNames(needs&^i.module.settings.Grants), ", "))
	case needs&abi.GrantSideCalls != 0 && !exported(abi.ExportNext):
		return refused("it needs side_calls and does not export %s", abi.ExportNext)
	case needs&abi.GrantState != 0 && !(exported(abi.ExportState) && exported(abi.ExportObserve)):
		return refused("it needs state and does not export %s and %s", abi.ExportState, abi.ExportObserve)
	}
	i.needs = needs
	return nil
}

func (i *instance) close() {
	_ = i.guest.Close(i.module.host.ctx) // releases memory only
}

// refuel gives the guest so much fuel, and no more.
func (i *instance) refuel(units int64) {
	i.left = min(units, slice)
	i.fuel.Set(uint64(i.left))
	i.reserve.Set(uint64(units - i.left))
}

// exhausted tells whether the guest burnt more than it was given.
func (i *instance) exhausted() bool {
	i.left = int64(i.fuel.Get())
	return i.left < 0 && i.left+int64(i.reserve.Get()) < 0
}

// used is what the guest burnt of a budget until the end of its last call.
func (i *instance) used(budget int64) int64 {
	return budget - i.left - int64(i.reserve.Get())
}

// call runs an export that takes at most one number, and sorts its failures.
func (i *instance) call(f api.Function, argument uint64) (uint64, error) {
	i.stack[0] = argument
	err := f.CallWithStack(context.Background(), i.stack[:])
	switch {
	case i.exhausted(): // also when it returned, after calls to the host that it could not pay
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

// budget is the fuel of one call about so many records.
func (i *instance) budget(records int) int64 {
	return i.module.settings.Fuel * int64(1+records/fuelCandidates)
}

// decide gets a plan from the guest, and tells the guest first of a snapshot or a state that is new. The fuel is what the
// decision itself used.
func (i *instance) decide(f *policy.Facts, plan *policy.Plan) (fuel int64, err error) {
	budget := i.budget(len(f.Request.Options))
	if i.known != f.Snapshot {
		i.refuel(budget)
		if err := i.learn(f.Snapshot); err != nil {
			return i.used(budget), err
		}
	}
	if err := i.remember(f.State, budget); err != nil {
		return i.used(budget), err
	}
	span, fuel, err := i.ask(f, budget)
	if err != nil {
		return fuel, err
	}
	answer, ok := i.memory.Read(uint32(span>>32), uint32(span))
	if !ok {
		return fuel, fmt.Errorf("%w: it lies outside the memory", ErrBadPlan)
	}
	if err := policy.DecodePlan(answer, len(f.Request.Options), plan); err != nil {
		return fuel, fmt.Errorf("%w: %w", ErrBadPlan, err)
	}
	return fuel, i.allowed(f, plan)
}

// ask calls the guest with the request, or with the history of its rounds: with what it needs and nothing else.
func (i *instance) ask(f *policy.Facts, budget int64) (span uint64, fuel int64, err error) {
	seen, needs := *f.Request, i.needs
	if needs&abi.GrantText == 0 {
		seen.Text = nil
	}
	if needs&abi.GrantMetadata == 0 {
		seen.Metadata = nil
	}
	if needs&abi.GrantState == 0 {
		seen.State = 0
	}
	i.refuel(budget)
	call, size := i.route, policy.RequestSize(&seen)
	if len(f.History) > 0 {
		if call, size = i.next, policy.OutcomesSize(f.History, &seen); call == nil {
			return 0, 0, fmt.Errorf("%w: it asked for a further round and does not export %s", ErrBadPlan, abi.ExportNext)
		}
	}
	view, err := i.input(size)
	if err != nil {
		return 0, i.used(budget), err
	}
	if len(f.History) > 0 {
		policy.AppendOutcomes(view[:0:size], f.History, &seen)
	} else {
		policy.AppendRequest(view[:0:size], &seen)
	}
	span, err = i.call(call, uint64(size))
	return span, i.used(budget), err
}

// allowed checks what a plan may be in its place: which kinds depends on the rounds before and on the grants.
func (i *instance) allowed(f *policy.Facts, plan *policy.Plan) error {
	round, held := 0, false
	for n := range f.History {
		o := &f.History[n]
		round = int(o.Round) + 1
		held = held || o.Kind == abi.KindAnswer && o.Flags&abi.OutcomeOK != 0
	}
	switch {
	case plan.Kind == abi.KindAccept && !held:
		return fmt.Errorf("%w: it accepts an answer, and none is held", ErrBadPlan)
	case plan.Kind == abi.KindAsk && i.needs&abi.GrantSideCalls == 0:
		return fmt.Errorf("%w: it asks a model and did not say that it needs side_calls", ErrBadPlan)
	case plan.Kind == abi.KindAsk && plan.AskInput != abi.AskPrompt && !held:
		return fmt.Errorf("%w: it asks about an answer, and none is held", ErrBadPlan)
	case (plan.Kind == abi.KindAnswer || plan.Kind == abi.KindAsk) && round >= abi.MaxRounds:
		return fmt.Errorf("%w: round %d, of %d at most", ErrBadPlan, round+1, abi.MaxRounds)
	}
	return nil
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

// remember gives the guest a state that it was not given last.
func (i *instance) remember(state *policy.State, budget int64) error {
	number, bytes := uint64(0), []byte(nil)
	if state != nil {
		number, bytes = state.Number, state.Bytes
	}
	if i.needs&abi.GrantState == 0 || i.state == number {
		return nil
	}
	i.refuel(budget)
	view, err := i.input(len(bytes))
	if err != nil {
		return err
	}
	copy(view, bytes)
	status, err := i.call(i.guest.ExportedFunction(abi.ExportState), uint64(len(bytes)))
	if err != nil {
		return err
	}
	if uint32(status) != 0 {
		return fmt.Errorf("%w: %s returned %d %s", ErrState, abi.ExportState, uint32(status), i.module.lastLine())
	}
	i.state = number
	return nil
}

// observe gets the state that follows from outcomes.
func (i *instance) observe(state *policy.State, outcomes []policy.Outcome, dst []byte) (fuel int64, next []byte, err error) {
	if i.needs&abi.GrantState == 0 {
		return 0, dst, fmt.Errorf("%w: it keeps none", ErrState)
	}
	budget := i.budget(len(outcomes))
	if err := i.remember(state, budget); err != nil {
		return i.used(budget), dst, err
	}
	i.refuel(budget)
	size := policy.OutcomesSize(outcomes, nil)
	view, err := i.input(size)
	if err != nil {
		return i.used(budget), dst, err
	}
	policy.AppendOutcomes(view[:0:size], outcomes, nil)
	span, err := i.call(i.guest.ExportedFunction(abi.ExportObserve), uint64(size))
	fuel = i.used(budget)
	if err != nil {
		return fuel, dst, err
	}
	bytes, ok := i.memory.Read(uint32(span>>32), uint32(span))
	if !ok || len(bytes) > abi.MaxState {
		return fuel, dst, fmt.Errorf("%w: %s returned %d bytes at %d; at most %d in its memory", ErrState, abi.ExportObserve,
			uint32(span), uint32(span>>32), abi.MaxState)
	}
	return fuel, append(dst, bytes...), nil
}
