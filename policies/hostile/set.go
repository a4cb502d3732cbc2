package hostile

import (
	"bytes"
	"encoding/binary"
	"math"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// Outcome is what must come of a hostile policy. The names are those of the errors of package policies.
type Outcome string

// The outcomes.
const (
	Refused Outcome = "refused" // it is not loaded
	Fuel    Outcome = "fuel"
	Depth   Outcome = "depth"
	Trap    Outcome = "trap"
	BadPlan Outcome = "bad plan"
	Status  Outcome = "status"
	State   Outcome = "state"
	Served  Outcome = "served"  // it is loaded and gains nothing
	Bounded Outcome = "bounded" // refused, or served: in either case within the limits of compiling
)

// Occasion is when a hostile policy does its worst.
type Occasion string

// The occasions.
const (
	AtLoad    Occasion = "load"
	AtRoute   Occasion = "route" // with a request whose seed is not zero
	AtNext    Occasion = "next"  // after a round that gave no answer
	AtObserve Occasion = "observe"
)

// Attack is one hostile policy. It needs no grants but those of Grants.
type Attack struct {
	Name   string
	When   Occasion
	Want   Outcome
	Grants uint32 // abi.Grant* bits it must be given to be loaded
	Module []byte
}

// Code that the attacks are made of.
func call(f int) []byte { return []byte{0x10, byte(f)} }

func loop(body ...[]byte) []byte {
	return Cat([]byte{0x03, 0x40}, Cat(body...), []byte{0x0C, 0, 0x0B})
}
func ret(span []byte) []byte { return Cat(span, []byte{0x0F}) }

func drop() []byte { return []byte{0x1A} }

// Set is every attack but the compile bombs, in a fixed order.
func Set() []Attack {
	all := append(endless(), greedy()...)
	all = append(all, broken()...)
	all = append(all, plans()...)
	return append(all, liars()...)
}

// endless are attacks on the processor.
func endless() []Attack {
	route := func(name string, want Outcome, s Source) Attack {
		return Attack{Name: name, When: AtRoute, Want: want, Module: s.Module()}
	}
	tree := Policy(call(FirstFree))
	for n := range 34 { // 2^34 calls and no loop
		next := []byte(nil)
		if n < 33 {
			next = Cat(call(FirstFree+n+1), call(FirstFree+n+1))
		}
		tree.Functions = append(tree.Functions, Function{Type: TypeNothing, Code: next})
	}
	ring := Policy(Cat(I32(0), []byte{0x11, TypeNothing, 0}))
	for n := range 3 {
		ring.Functions = append(ring.Functions, Function{Type: TypeNothing, Code: Cat(I32(int64((n+1)%3)), []byte{0x11, TypeNothing, 0})})
	}
	ring.Tables = []byte{1, 0x70, 0, 3}
	ring.Elements = Cat([]byte{1, 0}, I32(0), []byte{0x0B, 3, FirstFree, FirstFree + 1, FirstFree + 2})

	spin := func(name string, body ...[]byte) Attack { return route(name, Fuel, Policy(loop(body...))) }
	load, store := Cat(I32(0), []byte{0x29, 3, 0}), []byte{0x37, 3, 0}
	again := Function{Type: TypeNothing, Code: call(FirstFree)}
	wide := again
	wide.Locals = []byte{1, 0xD0, 0x0F, 0x7E} // 2,000 locals
	return []Attack{
		spin("endless loop"),
		route("tree of calls without a loop", Fuel, tree),
		route("recursion", Depth, Policy(call(FirstFree), again)),
		route("recursion with many locals", Depth, Policy(call(FirstFree), wide)),
		route("ring of indirect calls", Depth, ring),
		spin("branch table", I32(1), []byte{0x0E, 2, 0, 0, 0}),
		spin("divisions", I32(0), load, bytes.Repeat(Cat(I64(-3), []byte{0x7F}), 64), store),
		spin("square roots", I32(0), load, []byte{0xBF}, bytes.Repeat([]byte{0x9F}, 64), []byte{0xBD}, store),
		spin("counting bits", I32(0), load, bytes.Repeat([]byte{0x7B}, 64), store),
		route("wandering through memory", Fuel, wander()),
	}
}

// wander fills the memory with a cycle of addresses that are far from each other, and follows it: every step waits for the
// memory.
func wander() Source {
	const size = 200 << 16
	first := FirstFree
	load := bytes.Repeat([]byte{0x28, 2, 0}, 64)
	follow := loop([]byte{0x20, 0}, load, []byte{0x21, 0})
	// for (i = size-4; i > 0; i -= 64) memory[i] = (i * 1103515245 + 12345) & mask
	fill := Cat(I32(size-64), []byte{0x21, 0, 0x03, 0x40, 0x20, 0, 0x20, 0}, I32(1103515245), []byte{0x6C}, I32(12345), []byte{0x6A},
		I32((8<<20-1)&^63), []byte{0x71}, []byte{0x36, 2, 0, 0x20, 0}, I32(64), []byte{0x6B, 0x22, 0}, I32(1<<16), []byte{0x4A, 0x0D, 0, 0x0B})
	s := Policy(call(first), Function{Type: TypeNothing, Locals: []byte{1, 1, 0x7F}, Code: Cat(fill, I32(1<<20), []byte{0x21, 0}, follow)})
	s.Memory = []byte{1, 0, 0xC8, 1}
	return s
}

// greedy are attacks on the memory, and on the host's patience.
func greedy() []Attack {
	large := []byte{1, 0, 0xC8, 1} // memory of 200 pages
	straight := func(name string, op ...byte) Attack {
		once := Cat(I32(1<<16), I32(1<<17), I32(4<<20), op)
		s := Policy(bytes.Repeat(once, 200))
		s.Memory = large
		return Attack{Name: name, When: AtRoute, Want: Fuel, Module: s.Module()}
	}
	whole := Policy(Cat(I32(1<<16), I32(7), I32(12<<20), []byte{0xFC, 11, 0}))
	whole.Memory = large
	flood := func(name, module, function string, typ byte, arguments []byte, after ...byte) Attack {
		s := Policy(loop(arguments, call(0), after))
		s.Imports, s.Imported = Cat(Name(module), Name(function), []byte{0, typ}), 1
		return Attack{Name: name, When: AtRoute, Want: Fuel, Module: s.Module()}
	}
	page := Cat([]byte{0x3F, 0}, I32(1), []byte{0x6B}, I32(16), []byte{0x74}) // the last one's address
	filling := Policy(loop(I32(1), []byte{0x40, 0}, drop(), page, I32(7), I32(1<<16), []byte{0xFC, 11, 0}))
	full := Policy([]byte{0}, Function{Type: TypeNothing}) // what the start may burn is enough for all of the memory
	for n := range int64(4) {
		full.Functions[FirstFree].Code = Cat(full.Functions[FirstFree].Code, I32(n<<22+1<<16), I32(7), I32(4<<20-1<<16), []byte{0xFC, 11, 0})
	}
	full.Start, full.Memory = []byte{FirstFree}, []byte{1, 0, 0x80, 2}
	tables := Policy(loop([]byte{0xD0, 0x70}, I32(30000), []byte{0xFC, 15, 0}, drop(), I32(0), []byte{0xD0, 0x70}, I32(30000), []byte{0xFC, 17, 0}))
	tables.Tables = []byte{1, 0x70, 0, 0}
	atLoad := func(name string, change func(s *Source)) Attack {
		s := Policy(nil)
		change(&s)
		return Attack{Name: name, When: AtLoad, Want: Refused, Module: s.Module()}
	}
	return []Attack{
		straight("straight memory.fill", 0xFC, 11, 0),
		straight("straight memory.copy", 0xFC, 10, 0, 0),
		{Name: "memory.fill of everything", When: AtRoute, Want: Trap, Module: whole.Module()},
		{Name: "memory.grow", When: AtRoute, Want: Fuel, Module: Policy(loop(I32(1), []byte{0x40, 0}, drop())).Module()},
		{Name: "memory.grow and memory.fill", When: AtRoute, Want: Fuel, Module: filling.Module()},
		{Name: "all memory at the start, and a trap", When: AtRoute, Want: Trap, Module: full.Module()},
		{Name: "table.grow and table.fill", When: AtRoute, Want: Fuel, Module: tables.Module()},
		flood("flood of log lines", abi.HostModule, abi.ImportLog, TypeLog, Cat(I32(0), I32(0), I32(256))),
		flood("flood of random bytes", "wasi_snapshot_preview1", "random_get", TypeTwo, Cat(I32(0), I32(4096)), 0x1A),
		atLoad("memory bomb", func(s *Source) { s.Memory = []byte{1, 0, 0x80, 0x80, 4} }),
		atLoad("table bomb", func(s *Source) { s.Tables = []byte{1, 0x70, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F} }),
		atLoad("bomb of elements", func(s *Source) { s.Elements = []byte("\x01\x01\x00\xFF\xFF\xFF\x7F") }),
		atLoad("bomb of types", func(s *Source) { s.Functions[0].Type = math.MaxUint8 }),
		{Name: "bomb of names", When: AtLoad, Want: Served, Module: append(Policy(nil).Module(), "\x00\x0C\x04name\x01\x05\xFF\xFF\xFF\xFF\x0F"...)},
		atLoad("many tables", func(s *Source) { s.Tables = Cat([]byte{100}, bytes.Repeat([]byte{0x70, 0, 0xFF, 0xFF, 3}, 100)) }),
		atLoad("global bomb", func(s *Source) {
			s.Globals = Cat(binary.AppendUvarint(nil, 100_000), bytes.Repeat([]byte{0x7E, 1, 0x42, 0, 0x0B}, 100_000))
		}),
	}
}

// broken are policies that fail in ordinary ways, which is no excuse.
func broken() []Attack {
	route := func(name string, want Outcome, code ...[]byte) Attack {
		return Attack{Name: name, When: AtRoute, Want: want, Module: Policy(Cat(code...)).Module()}
	}
	buffer := func(name string, address int64) Attack {
		s := Policy(nil)
		s.Functions[1].Code = I32(address)
		return Attack{Name: name, When: AtRoute, Want: Status, Module: s.Module()}
	}
	exit := Policy(Cat(I32(0), call(0)))
	exit.Imports, exit.Imported = Cat(Name("wasi_snapshot_preview1"), Name("proc_exit"), []byte{0, TypeTake}), 1
	unwilling := Policy(nil)
	unwilling.Functions[3].Code = I32(1)
	return []Attack{
		route("unreachable", Trap, []byte{0}),
		{Name: "exit", When: AtRoute, Want: Trap, Module: exit.Module()},
		route("read out of bounds", Trap, I32(-8), []byte{0x28, 0, 0}, drop()),
		route("division by zero", Trap, I32(1), I32(0), []byte{0x6D}, drop()),
		buffer("buffer at zero", 0),
		buffer("buffer behind the memory", 2<<16),
		buffer("buffer across the end", 2<<16-16),
		buffer("buffer at the end of all addresses", -1),
		{Name: "snapshot refused", When: AtRoute, Want: Status, Module: unwilling.Module()},
	}
}

// plans are attacks on who reads the plan. They lie at NextAt.
func plans() []Attack {
	bad := func(name string, bytes []byte, span []byte) Attack {
		s := Policy(ret(span))
		s.Next = bytes
		return Attack{Name: name, When: AtRoute, Want: BadPlan, Module: s.Module()}
	}
	fat := Policy(ret(Span(NextAt, 4<<20)))
	fat.Memory = []byte{1, 0, 0x80, 1}
	huge := Attack{Name: "huge plan", When: AtRoute, Want: BadPlan, Module: fat.Module()}
	sized := func(name string, bytes []byte) Attack { return bad(name, bytes, Span(NextAt, uint32(len(bytes)))) }
	good := policy.AppendPlan(nil, &policy.Plan{Kind: abi.KindAnswer, Steps: []policy.Step{{Candidate: 0, Attempts: 1, Score: 1}}, Explanation: []byte("because")})
	with := func(name string, at int, value ...byte) Attack {
		plan := bytes.Clone(good)
		copy(plan[at:], value)
		return sized(name, plan)
	}
	nan := binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(math.NaN())))
	garbage := make([]byte, 4096)
	state := uint64(88172645463325252)
	for i := range garbage {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		garbage[i] = byte(state)
	}
	return []Attack{
		bad("plan nowhere", nil, I64(-1)),
		bad("no plan", nil, I64(0)),
		bad("plan across the end", nil, Span(2<<16-8, 64)),
		bad("plan of all addresses", nil, Span(0, math.MaxUint32)),
		bad("plan whose end wraps around", nil, Span(math.MaxUint32-16, 64)),
		huge,
		bad("plan cut short", good, Span(NextAt, abi.PlanHeaderSize+3)),
		sized("garbage", garbage),
		with("not a number as score", abi.PlanHeaderSize+abi.StepScore, nan...),
		with("candidate that is not there", abi.PlanHeaderSize+abi.StepCandidate, 0xFF, 0xFF),
		with("too many attempts", abi.PlanHeaderSize+abi.StepAttempts, 255),
		with("unknown kind", abi.PlanKind, 9),
		with("another version", abi.PlanVersion, 2),
		with("too many steps", abi.PlanSteps, 0xFF, 0xFF),
		with("stride of nothing", abi.PlanStepStride, 0, 0),
		with("explanation nowhere", abi.PlanExplainOff, 0xFF, 0xFF, 0xFF, 0xFF),
		with("explanation that is not UTF-8", len(good)-4, 0xFF, 0xFE),
	}
}

// liars are policies that use the rest of the contract against the host.
func liars() []Attack {
	describe := func(name string, want Outcome, code []byte) Attack {
		return Attack{Name: name, When: AtLoad, Want: want, Module: Policy(nil, Function{Type: TypeDescribe, Code: code, Export: abi.ExportDescribe}).Module()}
	}
	next := func(name string, want Outcome, grants uint32, code []byte, plan *policy.Plan) Attack {
		s := Policy(nil,
			Function{Type: TypeGive, Code: I32(int64(grants)), Export: abi.ExportNeeds},
			Function{Type: TypeRoute, Code: code, Export: abi.ExportNext})
		if plan != nil {
			s.Next = policy.AppendPlan(nil, plan)
			s.Functions[len(s.Functions)-1].Code = Span(NextAt, uint32(len(s.Next)))
		}
		return Attack{Name: name, When: AtNext, Want: want, Grants: grants, Module: s.Module()}
	}
	learn := func(name string, want Outcome, code []byte) Attack {
		return Attack{Name: name, When: AtObserve, Want: want, Grants: abi.GrantState, Module: Policy(nil,
			Function{Type: TypeGive, Code: I32(abi.GrantState), Export: abi.ExportNeeds},
			Function{Type: TypeMap, Code: I32(0), Export: abi.ExportState},
			Function{Type: TypeRoute, Code: code, Export: abi.ExportObserve}).Module()}
	}
	changing := Policy(nil, Function{Type: TypeGive, Export: abi.ExportNeeds, Code: []byte{0x23, 0, 0x23, 0, 0x41, 15, 0x6A, 0x24, 0}})
	changing.Globals = []byte{1, 0x7F, 1, 0x41, 0, 0x0B}
	greedy := Policy(nil, Function{Type: TypeGive, Code: I32(abi.GrantText | abi.GrantMetadata), Export: abi.ExportNeeds})
	start := Policy(nil, Function{Type: TypeNothing, Code: loop()})
	start.Start = []byte{FirstFree}
	initialize := Policy(nil, Function{Type: TypeNothing, Code: loop(), Export: abi.ExportStart})
	ask := &policy.Plan{Kind: abi.KindAsk, Steps: []policy.Step{{Attempts: 1}}, Ask: []byte("Which?"), AskInput: abi.AskAnswer}
	return []Attack{
		describe("description nowhere", Refused, I64(-1)),
		describe("description that is not UTF-8", Refused, Span(PlanAt-1, 8)),
		describe("endless description", Refused, Cat(loop(), I64(0))),
		describe("description that lies", Served, Span(PlanAt-16, 0)),
		{Name: "endless start", When: AtLoad, Want: Refused, Module: start.Module()},
		{Name: "endless _initialize", When: AtLoad, Want: Refused, Module: initialize.Module()},
		{Name: "needs that change", When: AtRoute, Want: Served, Module: changing.Module()},
		{Name: "needs that are not granted", When: AtLoad, Want: Refused, Module: greedy.Module()},
		next("endless next", Fuel, 0, Cat(loop(), I64(0)), nil),
		next("next nowhere", BadPlan, 0, I64(-1), nil),
		next("accepting an answer that is not held", BadPlan, 0, nil, &policy.Plan{Kind: abi.KindAccept, Reason: abi.BecauseHeld}),
		next("asking about an answer that is not held", BadPlan, abi.GrantSideCalls, nil, ask),
		next("asking without the grant", BadPlan, 0, nil, ask),
		learn("endless observe", Fuel, Cat(loop(), I64(0))),
		learn("state too large", State, Span(0, abi.MaxState+1)),
		learn("state nowhere", State, I64(-1)),
	}
}
