// Package record is the byte format of decision records and of the snapshot generations they refer to: all that is needed
// to explain a decision later and to repeat it bit for bit.
//
// # Decision, version 4
//
//	u8 version, u8 flags: 1 texts are withheld, 2 a wish stands at the end
//	string policy
//	digest           of the module: uvarint 1 and the 32 bytes of a SHA-256, or uvarint 2n and n bytes of another text
//	digest           of its configuration text (since version 4, as the next two)
//	uvarint needs, uvarint fuel of the last round
//	string failure
//	request          uvarint generation, u64 seed, u8 level, task, privacy, latency, account tier and flags,
//	                 uvarint model (65535: none named), needs, input tokens, max output and messages, varint credits,
//	                 u64 session, uvarint state, string text and metadata, then the options: uvarint count, and runs of
//	                 equal ones until that is reached, each uvarint length, u8 excluded, u8 flags, uvarint in flight
//	plans            uvarint count, one a round, each: u8 kind and flags, uvarint reason, status and max output, string
//	                 explanation, uvarint tag, u8 input and uvarint output of a side call, string instruction,
//	                 uvarint count, then per step uvarint candidate, u8 attempts, uvarint timeout and hedge in ms,
//	                 f32 score, uvarint reason; without verdicts: they follow from repeating the decision
//	outcomes         uvarint count, then per attempt: uvarint candidate, status and flags, u8 round, kind, failure and
//	                 finish, uvarint tag, input and output, f32 TTFT and latency in ms, varint credits, string text
//	wish             string, uvarint count, then uvarint candidate: the order in which it had the last plan's steps tried
//
// Strings are a uvarint length and the content; u64 and f32 are little-endian.
//
// # Generation, version 1
//
//	u8 version, u8 kind
//	kind 0, key frame:  policy.AppendSnapshot
//	kind 1, difference: uvarint base generation, varint milliseconds since the base,
//	                    uvarint count, then per changed candidate: uvarint number, u8 health, f32 TTFT, tokens per second and
//	                    error rate (little-endian), uvarint samples
//
// A key frame stands at the beginning of each run of the gateway and at every [KeyFrameEvery]th generation after.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/policy"
)

const version = 1 // of a generation

// KeyFrameEvery is the distance between key frames in generations: what a reader must go back at most.
const KeyFrameEvery = 256

const (
	keyFrame   = 0
	difference = 1
)

// ErrFormat: the bytes are not a record this package wrote.
var ErrFormat = errors.New("record is damaged or of an unknown version")

// AppendGeneration appends the record of next: its difference to previous, or all of it where previous is nil, differs in
// more than live facts, or a key frame is due. encoded is policy.AppendSnapshot of next.
func AppendGeneration(dst []byte, previous, next *policy.Snapshot, encoded []byte) []byte {
	dst = append(dst, version)
	if previous == nil || next.Generation%KeyFrameEvery == 0 || !sameCatalog(previous, next) {
		dst = append(dst, keyFrame)
		return append(dst, encoded...)
	}
	dst = append(dst, difference)
	dst = binary.AppendUvarint(dst, previous.Generation)
	dst = binary.AppendVarint(dst, next.WallMillis-previous.WallMillis)
	changed := 0
	for i := range next.Candidates {
		if next.Candidates[i] != previous.Candidates[i] {
			changed++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(changed))
	for i := range next.Candidates {
		c := &next.Candidates[i]
		if *c == previous.Candidates[i] {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(i))
		dst = append(dst, c.Health)
		dst = appendFloat(dst, c.TTFT)
		dst = appendFloat(dst, c.TokensPerSec)
		dst = appendFloat(dst, c.ErrorRate)
		dst = binary.AppendUvarint(dst, uint64(c.Samples))
	}
	return dst
}

// IsKeyFrame tells whether a generation's record stands alone.
func IsKeyFrame(data []byte) bool { return len(data) > 1 && data[0] == version && data[1] == keyFrame }

// ApplyGeneration moves s to the generation that data records. A key frame replaces s; a difference needs s at its base.
func ApplyGeneration(s *policy.Snapshot, generation uint64, data []byte) error {
	r := reader{rest: data}
	if r.byte() != version {
		return ErrFormat
	}
	switch r.byte() {
	case keyFrame:
		if err := policy.DecodeSnapshot(r.rest, s); err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		return nil
	case difference:
	default:
		return ErrFormat
	}
	if base := r.uvarint(); base != s.Generation {
		return fmt.Errorf("generation %d builds on %d, which is missing", generation, base)
	}
	s.Generation = generation
	s.WallMillis += r.varint()
	for range min(r.uvarint(), uint64(len(s.Candidates))) {
		i := r.uvarint()
		if i >= uint64(len(s.Candidates)) {
			return ErrFormat
		}
		c := &s.Candidates[i]
		c.Health, c.TTFT, c.TokensPerSec, c.ErrorRate, c.Samples = r.byte(), r.float(), r.float(), r.float(), uint32(r.uvarint())
	}
	if r.bad || len(r.rest) > 0 {
		return ErrFormat
	}
	return nil
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendFloat(dst []byte, f float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(f))
}

// reader takes values off the front; once something does not fit, bad is set and everything reads as zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) sized() []byte { return r.take(r.uvarint()) }

func (r *reader) float() float32 {
	if b := r.take(4); b != nil {
		return math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
	return 0
}

// sameCatalog tells whether two snapshots differ in live facts at most, which a difference can tell.
func sameCatalog(a, b *policy.Snapshot) bool {
	return slices.EqualFunc(a.Candidates, b.Candidates, func(a, b policy.Candidate) bool { return static(a) == static(b) })
}

// static is a candidate without its live facts.
func static(c policy.Candidate) policy.Candidate {
	c.Health, c.TTFT, c.TokensPerSec, c.ErrorRate, c.Samples = 0, 0, 0, 0, 0
	return c
}

// CloneSnapshot is a copy that shares nothing that changes.
func CloneSnapshot(s *policy.Snapshot) policy.Snapshot {
	c := *s
	c.Candidates = slices.Clone(s.Candidates)
	return c
}
