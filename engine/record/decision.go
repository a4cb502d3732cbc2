package record

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const decisionVersion = 2

// Decision is one decision with what became of it.
type Decision struct {
	Policy   string
	Digest   string // hexadecimal SHA-256 of the policy's module
	Failure  string // why the policy failed and the engine's own order was used, "" if it did not
	Request  *policy.Request
	Plan     *policy.Plan
	Attempts []Attempt
}

// Attempt is one try of a candidate. Class is "" for an answer, else the kind of failure. Times are kept to the microsecond.
type Attempt struct {
	Candidate uint16
	Status    uint16 // the provider's HTTP status, 0 if none came
	Class     string
	TTFT      time.Duration
	Latency   time.Duration
}

// Bounds of what the parts of a record take at most, so that one allocation is enough for nearly all of them.
const (
	decisionRoom = 160 // everything of a fixed number
	runRoom      = 16  // most requests have two or three runs of options
	stepRoom     = 28
	attemptRoom  = 24
)

// AppendDecision appends a decision's record to dst, growing it once at most for a usual decision. The plan's verdicts are
// left out.
func AppendDecision(dst []byte, d *Decision) []byte {
	dst = slices.Grow(dst, decisionRoom+len(d.Policy)+len(d.Failure)+len(d.Plan.Explanation)+
		8*runRoom+len(d.Plan.Steps)*stepRoom+len(d.Attempts)*attemptRoom)
	dst = append(dst, decisionVersion)
	dst = appendString(dst, d.Policy)
	dst = appendDigest(dst, d.Digest)
	dst = appendString(dst, d.Failure)
	dst = appendRequest(dst, d.Request)
	dst = appendPlan(dst, d.Plan)
	dst = binary.AppendUvarint(dst, uint64(len(d.Attempts)))
	for i := range d.Attempts {
		a := &d.Attempts[i]
		dst = binary.AppendUvarint(dst, uint64(a.Candidate))
		dst = binary.AppendUvarint(dst, uint64(a.Status))
		dst = binary.AppendUvarint(dst, uint64(max(a.TTFT, 0).Microseconds()))
		dst = binary.AppendUvarint(dst, uint64(max(a.Latency, 0).Microseconds()))
		dst = appendString(dst, a.Class)
	}
	return dst
}

// DecodeDecision reads a decision's record. The result shares no memory with data. Errors: ErrFormat.
func DecodeDecision(data []byte) (*Decision, error) {
	r := reader{rest: data}
	if r.byte() != decisionVersion {
		return nil, ErrFormat
	}
	d := &Decision{Policy: r.text(), Digest: r.digest(), Failure: r.text()}
	d.Request = r.request()
	candidates := uint64(len(d.Request.Options))
	d.Plan = r.plan(candidates)
	for range r.count(4) {
		d.Attempts = append(d.Attempts, Attempt{
			Candidate: uint16(r.below(candidates)), Status: uint16(r.below(1 << 16)),
			TTFT: r.micros(), Latency: r.micros(), Class: r.text(),
		})
	}
	if r.bad || len(r.rest) > 0 {
		return nil, ErrFormat
	}
	return d, nil
}

// appendDigest keeps 64 lower-case hexadecimal digits as 32 bytes and any other text as it is.
func appendDigest(dst []byte, digest string) []byte {
	var raw [32]byte
	packed := len(digest) == 2*len(raw)
	for i := 0; packed && i < len(digest); i++ {
		c := digest[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			packed = false
		}
		raw[i/2] = raw[i/2]<<4 | c
	}
	if packed {
		return append(append(dst, 1), raw[:]...)
	}
	return append(binary.AppendUvarint(dst, 2*uint64(len(digest))), digest...)
}

func (r *reader) digest() string {
	n := r.uvarint()
	if n == 1 {
		return hex.EncodeToString(r.take(32))
	}
	if n%2 != 0 {
		r.bad = true
	}
	return string(r.take(n / 2))
}

func appendRequest(dst []byte, q *policy.Request) []byte {
	dst = binary.AppendUvarint(dst, q.Generation)
	dst = binary.LittleEndian.AppendUint64(dst, q.Seed)
	dst = append(dst, q.Level, q.Task, q.Privacy, q.Latency, q.AccountTier, q.Flags)
	for _, n := range [...]uint64{uint64(q.Model), uint64(q.Needs), uint64(q.InputTokens), uint64(q.MaxOutput), uint64(q.Messages)} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = binary.AppendVarint(dst, q.Credits)
	dst = binary.LittleEndian.AppendUint64(dst, q.Session)
	dst = binary.AppendUvarint(dst, uint64(len(q.Options)))
	for rest := q.Options; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n] == rest[0] {
			n++
		}
		dst = binary.AppendUvarint(dst, uint64(n))
		dst = append(dst, rest[0].Excluded, rest[0].Flags)
		dst = binary.AppendUvarint(dst, uint64(rest[0].Inflight))
		rest = rest[n:]
	}
	return dst
}

func (r *reader) request() *policy.Request {
	q := &policy.Request{
		Generation: r.uvarint(), Seed: r.fixed64(),
		Level: r.byte(), Task: r.byte(), Privacy: r.byte(), Latency: r.byte(), AccountTier: r.byte(), Flags: r.byte(),
		Model: uint16(r.below(1 << 16)), Needs: r.uint32(), InputTokens: r.uint32(), MaxOutput: r.uint32(), Messages: r.uint32(),
		Credits: r.varint(), Session: r.fixed64(),
	}
	count := r.below(abi.MaxCandidates + 1)
	q.Options = make([]policy.Option, 0, count)
	for uint64(len(q.Options)) < count && !r.bad {
		n := r.below(count - uint64(len(q.Options)) + 1)
		o := policy.Option{Excluded: r.byte(), Flags: r.byte(), Inflight: uint16(r.below(1 << 16))}
		if n == 0 {
			r.bad = true
		}
		for range n {
			q.Options = append(q.Options, o)
		}
	}
	return q
}

func appendPlan(dst []byte, p *policy.Plan) []byte {
	dst = append(dst, p.Kind)
	dst = binary.AppendUvarint(dst, uint64(p.Reason))
	dst = binary.AppendUvarint(dst, uint64(p.Status))
	dst = binary.AppendUvarint(dst, uint64(p.MaxOutput))
	dst = binary.AppendUvarint(dst, uint64(len(p.Explanation)))
	dst = append(dst, p.Explanation...)
	dst = binary.AppendUvarint(dst, uint64(len(p.Steps)))
	for i := range p.Steps {
		s := &p.Steps[i]
		dst = append(binary.AppendUvarint(dst, uint64(s.Candidate)), s.Attempts)
		dst = binary.AppendUvarint(dst, uint64(s.TimeoutMillis))
		dst = binary.AppendUvarint(dst, uint64(s.HedgeMillis))
		dst = appendFloat(dst, s.Score)
		dst = binary.AppendUvarint(dst, uint64(s.Reason))
	}
	return dst
}

// plan reads a plan whose steps are among so many candidates.
func (r *reader) plan(candidates uint64) *policy.Plan {
	p := &policy.Plan{
		Kind: r.byte(), Reason: uint16(r.below(1 << 16)), Status: uint16(r.below(1 << 16)), MaxOutput: r.uint32(),
	}
	p.Explanation = append(p.Explanation, r.sized()...)
	for range r.count(9) {
		p.Steps = append(p.Steps, policy.Step{
			Candidate: uint16(r.below(candidates)), Attempts: r.byte(), TimeoutMillis: r.uint32(), HedgeMillis: r.uint32(),
			Score: r.float(), Reason: uint16(r.below(1 << 16)),
		})
	}
	return p
}

// below reads a number that must be less than limit.
func (r *reader) below(limit uint64) uint64 {
	v := r.uvarint()
	if v >= limit {
		r.bad = true
		return 0
	}
	return v
}

// count reads a number of items of at least size bytes each, which must be there.
func (r *reader) count(size int) uint64 { return r.below(uint64(len(r.rest)/size) + 1) }

func (r *reader) uint32() uint32 { return uint32(r.below(1 << 32)) }

func (r *reader) fixed64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) text() string { return string(r.sized()) }

func (r *reader) micros() time.Duration { return time.Duration(r.below(1<<53)) * time.Microsecond }
