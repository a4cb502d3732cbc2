package record

import (
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const (
	decisionVersion = 4
	withoutConfig   = 3 // the version before, without the digest of the configuration, needs and fuel
)

// Decision is one decision, in one round or several, with what became of it.
type Decision struct {
	Policy   string
	Ran      policy.Ran // in the last round
	Failure  string     // why the policy failed in its last round and the engine went on without it, "" if it did not
	Withheld bool       // the policy was given texts that are not kept here: it cannot be asked again
	Request  *policy.Request
	Earlier  []policy.Plan    // of the rounds before the last, oldest first
	Plan     *policy.Plan     // the last
	Wish     string           // what the caller wanted of models and providers, "" for nothing
	Tried    []uint16         // the candidates in the order that the wish made of the last plan; only with a wish
	Outcomes []policy.Outcome // of all attempts, oldest first. Key, level and task are those of the snapshot and the request
}

// Flags of a record.
const (
	flagWithheld = 1 << iota
	flagWish     // a wish and the order that came of it stand at the end
)

// Bounds of what the parts of a record take at most, so that one allocation is enough for nearly all of them.
const (
	decisionRoom = 210 // everything of a fixed number
	runRoom      = 16  // most requests have two or three runs of options
	planRoom     = 40
	stepRoom     = 28
	outcomeRoom  = 64
)

// AppendDecision appends a decision's record to dst, growing it once at most for a usual decision. Verdicts of plans are
// left out, and if texts are withheld, those.
func AppendDecision(dst []byte, d *Decision) []byte {
	dst = slices.Grow(dst, decisionRoom+len(d.Policy)+len(d.Failure)+len(d.Plan.Explanation)+
		8*runRoom+len(d.Plan.Steps)*stepRoom+len(d.Outcomes)*outcomeRoom)
	flags := byte(0)
	if d.Withheld {
		flags |= flagWithheld
	}
	if d.Wish != "" {
		flags |= flagWish
	}
	dst = append(dst, decisionVersion, flags)
	dst = appendString(dst, d.Policy)
	dst = appendDigest(dst, d.Ran.Digest)
	dst = appendDigest(dst, d.Ran.Config)
	dst = binary.AppendUvarint(dst, uint64(d.Ran.Needs))
	dst = binary.AppendUvarint(dst, uint64(max(0, d.Ran.Fuel)))
	dst = appendString(dst, d.Failure)
	dst = appendRequest(dst, d.Request, d.Withheld)
	dst = binary.AppendUvarint(dst, uint64(len(d.Earlier))+1)
	for i := range d.Earlier {
		dst = appendPlan(dst, &d.Earlier[i])
	}
	dst = appendPlan(dst, d.Plan)
	dst = binary.AppendUvarint(dst, uint64(len(d.Outcomes)))
	for i := range d.Outcomes {
		dst = appendOutcome(dst, &d.Outcomes[i], d.Withheld)
	}
	if d.Wish != "" {
		dst = appendString(dst, d.Wish)
		dst = binary.AppendUvarint(dst, uint64(len(d.Tried)))
		for _, candidate := range d.Tried {
			dst = binary.AppendUvarint(dst, uint64(candidate))
		}
	}
	return dst
}

// DecodeDecision reads a decision's record. The result shares no memory with data. Errors: ErrFormat.
func DecodeDecision(data []byte) (*Decision, error) {
	d := new(Decision)
	return d, d.Decode(data)
}

// Decode reads a decision's record into d, whose memory is used again: what points into an earlier content of d is overwritten. d
// shares no memory with data. Errors: ErrFormat, after which d holds nothing of use.
func (d *Decision) Decode(data []byte) error {
	r := reader{rest: data}
	version := r.byte()
	if version != decisionVersion && version != withoutConfig {
		return ErrFormat
	}
	flags := r.byte()
	d.Withheld = flags&flagWithheld != 0
	d.Policy = r.again(d.Policy)
	d.Ran.Digest, d.Ran.Needs, d.Ran.Fuel = r.digest(d.Ran.Digest), 0, 0
	if version == withoutConfig {
		d.Ran.Config = ""
	} else {
		d.Ran.Config, d.Ran.Needs, d.Ran.Fuel = r.digest(d.Ran.Config), r.uint32(), int64(r.below(1<<63))
	}
	d.Failure = r.again(d.Failure)
	if d.Request == nil {
		d.Request = new(policy.Request)
	}
	r.request(d.Request)
	candidates := uint64(len(d.Request.Options))
	rounds := r.count(1)
	d.Earlier = d.Earlier[:0]
	for range max(rounds, 1) - 1 {
		d.Earlier = extended(d.Earlier)
		r.plan(&d.Earlier[len(d.Earlier)-1], candidates)
	}
	if d.Plan == nil {
		d.Plan = new(policy.Plan)
	}
	r.plan(d.Plan, candidates)
	d.Outcomes = d.Outcomes[:0]
	for range r.count(20) {
		d.Outcomes = extended(d.Outcomes)
		o := &d.Outcomes[len(d.Outcomes)-1]
		r.outcome(o, candidates)
		o.Level, o.Task = d.Request.Level, d.Request.Task
	}
	d.Wish, d.Tried = "", d.Tried[:0]
	if flags&flagWish != 0 {
		d.Wish = r.text()
		for range r.count(1) {
			d.Tried = append(d.Tried, uint16(r.below(candidates)))
		}
	}
	if r.bad || rounds == 0 || len(r.rest) > 0 {
		return ErrFormat
	}
	return nil
}

// extended is s with one more element: the one that stood there before, if there is room, whose memory can be used.
func extended[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var fresh T
	return append(s, fresh)
}

// appendDigest keeps 64 lower-case hexadecimal digits as 32 bytes and any other text as it is.
func appendDigest(dst []byte, digest string) []byte {
	var raw [32]byte
	if len(digest) == 2*len(raw) {
		other := byte(0)
		for i := range raw {
			high, low := digitValues[digest[2*i]], digitValues[digest[2*i+1]]
			raw[i] = high<<4 | low
			other |= high | low
		}
		if other < 16 {
			return append(append(dst, 1), raw[:]...)
		}
	}
	return append(binary.AppendUvarint(dst, 2*uint64(len(digest))), digest...)
}

// digitValues are the values of the lower-case hexadecimal digits, and 16 for any other byte.
var digitValues = func() (values [256]byte) {
	for c := range values {
		values[c] = 16
	}
	for value, c := range []byte("0123456789abcdef") {
		values[c] = byte(value)
	}
	return values
}()

// digest reads what appendDigest wrote. before is returned if it is that.
func (r *reader) digest(before string) string {
	n := r.uvarint()
	if n == 1 {
		var digits [64]byte
		hex.Encode(digits[:], r.take(32))
		return same(before, digits[:])
	}
	if n%2 != 0 {
		r.bad = true
	}
	return same(before, r.take(n/2))
}

// again reads a text, and returns before if it is that.
func (r *reader) again(before string) string { return same(before, r.sized()) }

func same(before string, text []byte) string {
	if before == string(text) {
		return before
	}
	return string(text)
}

func appendRequest(dst []byte, q *policy.Request, withheld bool) []byte {
	dst = binary.AppendUvarint(dst, q.Generation)
	dst = binary.LittleEndian.AppendUint64(dst, q.Seed)
	dst = append(dst, q.Level, q.Task, q.Privacy, q.Latency, q.AccountTier, q.Flags)
	for _, n := range [...]uint64{uint64(q.Model), uint64(q.Needs), uint64(q.InputTokens), uint64(q.MaxOutput), uint64(q.Messages)} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = binary.AppendVarint(dst, q.Credits)
	dst = binary.LittleEndian.AppendUint64(dst, q.Session)
	dst = binary.AppendUvarint(dst, q.State)
	dst = appendText(dst, q.Text, withheld)
	dst = appendText(dst, q.Metadata, withheld)
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

func (r *reader) request(q *policy.Request) {
	options, text, metadata := q.Options[:0], q.Text[:0], q.Metadata[:0]
	*q = policy.Request{
		Generation: r.uvarint(), Seed: r.fixed64(),
		Level: r.byte(), Task: r.byte(), Privacy: r.byte(), Latency: r.byte(), AccountTier: r.byte(), Flags: r.byte(),
		Model: uint16(r.below(1 << 16)), Needs: r.uint32(), InputTokens: r.uint32(), MaxOutput: r.uint32(), Messages: r.uint32(),
		Credits: r.varint(), Session: r.fixed64(), State: r.uvarint(), Text: append(text, r.sized()...), Metadata: append(metadata, r.sized()...),
	}
	count := r.below(abi.MaxCandidates + 1)
	q.Options = slices.Grow(options, int(count))
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
}

func appendPlan(dst []byte, p *policy.Plan) []byte {
	dst = append(dst, p.Kind, p.Flags)
	dst = binary.AppendUvarint(dst, uint64(p.Reason))
	dst = binary.AppendUvarint(dst, uint64(p.Status))
	dst = binary.AppendUvarint(dst, uint64(p.MaxOutput))
	dst = appendText(dst, p.Explanation, false)
	dst = binary.AppendUvarint(dst, uint64(p.Tag))
	dst = append(dst, p.AskInput)
	dst = binary.AppendUvarint(dst, uint64(p.AskOutput))
	dst = appendText(dst, p.Ask, false)
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
func (r *reader) plan(p *policy.Plan, candidates uint64) {
	p.Reset()
	p.Kind, p.Flags, p.Reason, p.Status, p.MaxOutput = r.byte(), r.byte(), uint16(r.below(1<<16)), uint16(r.below(1<<16)), r.uint32()
	p.Explanation, p.Tag = append(p.Explanation, r.sized()...), r.uint32()
	p.AskInput, p.AskOutput, p.Ask = r.byte(), uint16(r.below(1<<16)), append(p.Ask, r.sized()...)
	for range r.count(9) {
		p.Steps = append(p.Steps, policy.Step{
			Candidate: uint16(r.below(candidates)), Attempts: r.byte(), TimeoutMillis: r.uint32(), HedgeMillis: r.uint32(),
			Score: r.float(), Reason: uint16(r.below(1 << 16)),
		})
	}
}

func appendOutcome(dst []byte, o *policy.Outcome, withheld bool) []byte {
	for _, n := range [...]uint64{uint64(o.Candidate), uint64(o.HTTP), uint64(o.Flags)} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = append(dst, o.Round, o.Kind, o.Failure, o.Finish)
	for _, n := range [...]uint64{uint64(o.Tag), uint64(o.Input), uint64(o.Output)} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = appendFloat(appendFloat(dst, o.TTFT), o.Latency)
	dst = binary.AppendVarint(dst, o.Credits)
	return appendText(dst, o.Text, withheld)
}

func (r *reader) outcome(o *policy.Outcome, candidates uint64) {
	text := o.Text[:0]
	*o = policy.Outcome{
		Candidate: uint16(r.below(candidates)), HTTP: uint16(r.below(1 << 16)), Flags: r.uint32(),
		Round: r.byte(), Kind: r.byte(), Failure: r.byte(), Finish: r.byte(),
		Tag: r.uint32(), Input: r.uint32(), Output: r.uint32(), TTFT: r.float(), Latency: r.float(), Credits: r.varint(),
		Text: append(text, r.sized()...),
	}
}

// appendText keeps a text, or that there is none if it is withheld.
func appendText(dst, text []byte, withheld bool) []byte {
	if withheld {
		text = nil
	}
	dst = binary.AppendUvarint(dst, uint64(len(text)))
	return append(dst, text...)
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
