package policy

// Policy is what a Go author writes: a description, and the functions that decide. See examples/policy-go.
//
//	func init() { // a guest's main never runs: the host calls exports of an initialized module
//		policy.Register(policy.Policy{Description: "first fit", Route: route})
//	}
//
//	func route(cfg policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
//		for i := range s.Candidates {
//			if r.Options[i].Excluded == 0 {
//				p.Kind = abi.KindAnswer
//				p.Steps = append(p.Steps, policy.Step{Candidate: uint16(i), Attempts: 1})
//				return
//			}
//		}
//		p.Kind, p.Reason = abi.KindReject, abi.BecauseNothing
//	}
//
// Build it with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w". Elsewhere the same code is tested
// with plain go test, by calling its functions.
type Policy struct {
	// Description is one line of UTF-8 that says what the policy does and in which language it is written.
	Description string

	// Needs are the abi.Grant* bits it cannot do without. Without abi.GrantState neither Remember nor Observe is called.
	Needs uint32

	// Configure, if set, is called once before anything else with the policy's parameters. An error refuses them.
	Configure func(cfg Config) error

	// Learn, if set, is called with each new snapshot, before the first request about it: the place to compute what
	// depends on the snapshot alone.
	Learn func(s *Snapshot)

	// Route decides. The plan comes empty, with the memory of the last one. What it allocates is collected at the expense
	// of the fuel of some later request, so it should allocate nothing.
	Route Func

	// Next, if set, decides what comes after a round: after a plan of abi.KindAsk, or one with abi.PlanReview. The outcomes
	// are all of this request, oldest first; like Route it must depend on nothing that earlier calls left behind.
	Next NextFunc

	// Remember, if set, is called with each new state before the first decision on it: the place to decode it. The bytes
	// are valid during the call. An error drops the state.
	Remember func(state []byte) error

	// Observe, if set, appends to dst the state that follows from the current one and from what became of some attempts.
	Observe func(cfg Config, dst, state []byte, outcomes []Outcome) []byte
}

// Func decides one request: it reads the facts and fills the plan. r.Options has one entry per candidate of s.
type Func func(cfg Config, s *Snapshot, r *Request, p *Plan)

// NextFunc decides one further round of a request.
type NextFunc func(cfg Config, s *Snapshot, r *Request, outcomes []Outcome, p *Plan)
