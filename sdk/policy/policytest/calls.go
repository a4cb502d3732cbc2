package policytest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// referenceCalls are recorded calls of the reference policy, which sdk/templates has in every language.
//
//go:embed testdata/reference.calls.gz
var referenceCalls []byte

// Kinds of calls.
const (
	CallConfigure = 'c' // of a new instance; the output is 0, or 1 if the parameters are refused
	CallSnapshot  = 's' // no output
	CallState     = 't' // the output is 0, or 1 if the state is refused: then follows CallConfigure
	CallRoute     = 'r' // the output is a plan
	CallNext      = 'n' // the output is a plan
	CallObserve   = 'o' // the output is a state
)

// Call is one call of an export with what went in and what has to come out, byte for byte as sdk/abi lays it out.
type Call struct {
	Kind   byte // Call*
	Input  []byte
	Output []byte
}

// ReferenceCalls is what the reference policy has to answer: a few hundred calls of several instances, one after the other.
// Whoever writes a library for another language, or another host, can replay them.
func ReferenceCalls() ([]Call, error) { return ReadCalls(bytes.NewReader(referenceCalls)) }

// ReadCalls reads calls: gzip; of each the kind, then input and output, each with its length as a varint before it.
func ReadCalls(r io.Reader) ([]Call, error) {
	unzipped, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("reading recorded calls: %w", err)
	}
	in := bufio.NewReader(unzipped)
	part := func() []byte {
		var size uint64
		if size, err = binary.ReadUvarint(in); err != nil || size > 1<<24 {
			return nil
		}
		b := make([]byte, size)
		_, err = io.ReadFull(in, b)
		return b
	}
	var calls []Call
	for {
		kind, end := in.ReadByte()
		if errors.Is(end, io.EOF) {
			return calls, nil
		}
		c := Call{Kind: kind, Input: part()}
		if err == nil {
			c.Output = part()
		}
		if err = errors.Join(end, err); err != nil {
			return nil, fmt.Errorf("reading recorded call %d: %w", len(calls), err)
		}
		calls = append(calls, c)
	}
}

// WriteCalls writes what [ReadCalls] reads.
func WriteCalls(w io.Writer, calls []Call) error {
	zipped, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return fmt.Errorf("writing recorded calls: %w", err)
	}
	for _, c := range calls {
		b := binary.AppendUvarint([]byte{c.Kind}, uint64(len(c.Input)))
		b = append(binary.AppendUvarint(append(b, c.Input...), uint64(len(c.Output))), c.Output...)
		if _, err := zipped.Write(b); err != nil {
			return fmt.Errorf("writing recorded calls: %w", err)
		}
	}
	if err := zipped.Close(); err != nil {
		return fmt.Errorf("writing recorded calls: %w", err)
	}
	return nil
}

// Subject is a policy under test. Each method is given bytes as the contract lays them out; the answer of Route and Next
// is a plan, that of Observe a state.
type Subject interface {
	Start(config []byte) error // a new instance, and its parameters
	Snapshot(b []byte) error
	State(b []byte) error
	Decide(b []byte, further bool) ([]byte, error) // pointsman_route, or pointsman_next if further
	Observe(b []byte) ([]byte, error)
}

// Replay makes recorded calls and compares what comes out.
func Replay(calls []Call, s Subject) error {
	for n, c := range calls {
		var got []byte
		var err error
		switch c.Kind {
		case CallConfigure:
			got, err = status(s.Start(c.Input)), nil
		case CallSnapshot:
			err = s.Snapshot(c.Input)
		case CallState:
			got, err = status(s.State(c.Input)), nil
		case CallRoute, CallNext:
			got, err = s.Decide(c.Input, c.Kind == CallNext)
		case CallObserve:
			got, err = s.Observe(c.Input)
		default:
			err = errors.New("unknown kind")
		}
		if err != nil {
			return fmt.Errorf("call %d, %c: %w", n, c.Kind, err)
		}
		if !bytes.Equal(got, c.Output) {
			return fmt.Errorf("call %d, %c: got %x, want %x\n%s", n, c.Kind, got, c.Output, difference(c, got))
		}
	}
	return nil
}

func status(err error) []byte {
	if err != nil {
		return []byte{1}
	}
	return []byte{0}
}

// difference shows two plans as they read.
func difference(c Call, got []byte) string {
	if c.Kind != CallRoute && c.Kind != CallNext {
		return ""
	}
	count := func(b []byte) int {
		if n := binary.LittleEndian.Uint16(b[abi.PlanVerdicts:]); n > 0 {
			return int(n)
		}
		return abi.MaxCandidates
	}
	text := ""
	for _, b := range [][]byte{got, c.Output} {
		var p policy.Plan
		if len(b) < abi.PlanHeaderSize {
			continue
		}
		err := policy.DecodePlan(b, count(b), &p)
		text += fmt.Sprintf("%+v %q %v\n", p, p.Explanation, err)
	}
	return text
}

// Record makes calls of a policy and writes down what came out: the way in which recorded calls come to be.
type Record struct {
	Subject Subject
	Calls   []Call
}

// Do makes one call.
func (r *Record) Do(kind byte, input []byte) ([]byte, error) {
	var out []byte
	var err error
	switch kind {
	case CallConfigure:
		out = status(r.Subject.Start(input))
	case CallSnapshot:
		err = r.Subject.Snapshot(input)
	case CallState:
		out = status(r.Subject.State(input))
	case CallRoute, CallNext:
		out, err = r.Subject.Decide(input, kind == CallNext)
	case CallObserve:
		out, err = r.Subject.Observe(input)
	}
	r.Calls = append(r.Calls, Call{kind, bytes.Clone(input), bytes.Clone(out)})
	return out, err
}
