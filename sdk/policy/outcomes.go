package policy

import (
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
)

// OutcomesSize is the length of the encoding of outcomes, and of a request behind them unless r is nil.
func OutcomesSize(outcomes []Outcome, r *Request) int {
	size := abi.OutcomesHeaderSize + len(outcomes)*abi.OutcomeSize
	if r != nil {
		size += RequestSize(r)
	}
	for i := range outcomes {
		size += len(outcomes[i].Text)
	}
	return size
}

// AppendOutcomes appends the encoding of at most abi.MaxOutcomes outcomes, and of the request they are about unless r is
// nil. It does not allocate when dst has room for [OutcomesSize].
func AppendOutcomes(dst []byte, outcomes []Outcome, r *Request) []byte {
	outcomes = outcomes[:min(len(outcomes), abi.MaxOutcomes)]
	start := len(dst)
	request := abi.OutcomesHeaderSize + len(outcomes)*abi.OutcomeSize
	dst = grow(dst, request)
	if r != nil {
		dst = AppendRequest(dst, r)
	}
	blob := len(dst) - start
	for i := range outcomes {
		o, at := &outcomes[i], len(dst)-start-blob
		dst = append(dst, o.Text...)
		putOutcome(dst[start+abi.OutcomesHeaderSize+i*abi.OutcomeSize:], o, at)
	}
	b := dst[start:]
	put16(b, abi.OutcomesVersion, abi.Version)
	put16(b, abi.OutcomesHeader, abi.OutcomesHeaderSize)
	put16(b, abi.OutcomesCount, uint16(len(outcomes)))
	put16(b, abi.OutcomesStride, abi.OutcomeSize)
	if r != nil {
		put32(b, abi.OutcomesRequestOff, uint32(request))
		put32(b, abi.OutcomesRequestLen, uint32(blob-request))
	}
	put32(b, abi.OutcomesBlobOff, uint32(blob))
	put32(b, abi.OutcomesBlobLen, uint32(len(b)-blob))
	return dst
}

func putOutcome(r []byte, o *Outcome, text int) {
	put64(r, abi.OutcomeKey, o.Key)
	put64(r, abi.OutcomeCredits, uint64(o.Credits))
	put16(r, abi.OutcomeCandidate, o.Candidate)
	put16(r, abi.OutcomeHTTP, o.HTTP)
	put32(r, abi.OutcomeTag, o.Tag)
	put32(r, abi.OutcomeInput, o.Input)
	put32(r, abi.OutcomeOutput, o.Output)
	put32(r, abi.OutcomeTTFT, math.Float32bits(o.TTFT))
	put32(r, abi.OutcomeLatency, math.Float32bits(o.Latency))
	put32(r, abi.OutcomeFlags, o.Flags)
	put32(r, abi.OutcomeTextOff, uint32(text))
	put16(r, abi.OutcomeTextLen, uint16(len(o.Text)))
	r[abi.OutcomeRound] = o.Round
	r[abi.OutcomeKind] = o.Kind
	r[abi.OutcomeFailure] = o.Failure
	r[abi.OutcomeFinish] = o.Finish
	r[abi.OutcomeLevel] = o.Level
	r[abi.OutcomeTask] = o.Task
}

// DecodeOutcomes reads outcomes into dst, whose memory it reuses, and the request behind them into r unless that is nil.
// Texts point into b. The error wraps [ErrMalformed].
func DecodeOutcomes(b []byte, dst []Outcome, r *Request) ([]Outcome, error) {
	size, err := header("outcomes", b, abi.OutcomesHeaderSize)
	if err != nil {
		return dst, err
	}
	t, err := records("outcomes", b, size, get16(b, abi.OutcomesStride), get16(b, abi.OutcomesCount), abi.OutcomeSize)
	if err != nil {
		return dst, err
	}
	if t.count > abi.MaxOutcomes {
		return dst, malformed("# outcomes, more than #", t.count, abi.MaxOutcomes)
	}
	blob, err := part("texts", b, size, abi.OutcomesBlobOff, len(b))
	if err != nil {
		return dst, err
	}
	dst = slices.Grow(dst[:0], t.count)[:t.count]
	for i := range dst {
		if err := decodeOutcome(t.at(b, i), blob, &dst[i]); err != nil {
			return dst, err
		}
	}
	if r == nil {
		return dst, nil
	}
	request, err := part("request", b, size, abi.OutcomesRequestOff, len(b))
	if err != nil {
		return dst, err
	}
	return dst, DecodeRequest(request, r)
}

func decodeOutcome(r, blob []byte, o *Outcome) error {
	*o = Outcome{
		Key:       get64(r, abi.OutcomeKey),
		Credits:   int64(get64(r, abi.OutcomeCredits)),
		Candidate: get16(r, abi.OutcomeCandidate),
		HTTP:      get16(r, abi.OutcomeHTTP),
		Tag:       get32(r, abi.OutcomeTag),
		Input:     get32(r, abi.OutcomeInput),
		Output:    get32(r, abi.OutcomeOutput),
		TTFT:      getf(r, abi.OutcomeTTFT),
		Latency:   getf(r, abi.OutcomeLatency),
		Flags:     get32(r, abi.OutcomeFlags),
		Round:     r[abi.OutcomeRound],
		Kind:      r[abi.OutcomeKind],
		Failure:   r[abi.OutcomeFailure],
		Finish:    r[abi.OutcomeFinish],
		Level:     r[abi.OutcomeLevel],
		Task:      r[abi.OutcomeTask],
	}
	if length := uint64(get16(r, abi.OutcomeTextLen)); length > 0 {
		off := uint64(get32(r, abi.OutcomeTextOff))
		if off+length > uint64(len(blob)) {
			return malformed("text of # bytes at # of #", int(length), int(off), len(blob))
		}
		o.Text = blob[off : off+length]
	}
	return nil
}
