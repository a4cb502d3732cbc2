package policy

// Published is one generation with its encoding, made once and shared by all requests. It is immutable.
type Published struct {
	Snapshot
	Bytes []byte // AppendSnapshot of the snapshot
}

// Publish encodes a snapshot, which must not change afterwards.
func Publish(s Snapshot) *Published {
	return &Published{Snapshot: s, Bytes: AppendSnapshot(nil, &s)}
}

// State is what a learning policy knows after some observation. It is immutable.
type State struct {
	Number uint64 // grows with each state of a policy
	Bytes  []byte // the policy's own encoding
}

// Ran is what was asked for a plan, and what that took.
type Ran struct {
	Digest string // hexadecimal SHA-256 of the module; "" if none was asked
	Config string // the same of its configuration text
	Needs  uint32 // abi.Grant* bits of what it was given beyond the plain facts
	Fuel   int64  // that the decision used
}

// Facts is all that a decision rests on: the same facts give the same plan.
type Facts struct {
	Snapshot *Published
	State    *State // nil: none; else its number is Request.State
	Request  *Request
	History  []Outcome // of the rounds before, oldest first; empty in the first
}
