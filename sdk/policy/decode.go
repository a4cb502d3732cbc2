package policy

import (
	"math"
	"slices"
	"unicode/utf8"

	"github.com/pointsman/pointsman/sdk/abi"
)

// table is where the records of an array lie in a buffer.
type table struct{ offset, stride, count int }

// header checks the fixed part that every buffer begins with and returns its size.
func header(what string, b []byte, least int) (int, error) {
	if len(b) < least {
		return 0, malformed(what+" of # bytes has no header", len(b))
	}
	if v := get16(b, 0); v != abi.Version {
		return 0, malformed(what+" of version #, not #", int(v), abi.Version)
	}
	size := int(get16(b, 2))
	if size < least || size > len(b) {
		return 0, malformed(what+" header of # bytes, of # in all", size, len(b))
	}
	return size, nil
}

// records checks that count records of a stride fit in the buffer from an offset on.
func records(what string, b []byte, offset int, stride, count uint16, least int) (table, error) {
	t := table{offset: offset, stride: int(stride), count: int(count)}
	if count > 0 && t.stride < least {
		return t, malformed(what+" stride of # bytes, less than #", int(stride), least)
	}
	if end := offset + t.stride*t.count; end > len(b) {
		return t, malformed("# "+what+" end at byte # of #", int(count), end, len(b))
	}
	return t, nil
}

func (t table) at(b []byte, i int) []byte { return b[t.offset+i*t.stride:] }
func (t table) end() int                  { return t.offset + t.stride*t.count }

// DecodePlan reads a plan about so many candidates into p and reuses the slices of p. It accepts exactly the plans the
// contract allows; the error wraps [ErrMalformed]. It does not allocate once the slices of p are large enough.
func DecodePlan(b []byte, candidates int, p *Plan) error {
	p.Reset()
	if len(b) > abi.MaxPlan {
		return malformed("plan of # bytes, more than #", len(b), abi.MaxPlan)
	}
	size, err := header("plan", b, abi.PlanHeaderSize)
	if err != nil {
		return err
	}
	steps, err := records("steps", b, size, get16(b, abi.PlanStepStride), get16(b, abi.PlanSteps), abi.StepSize)
	if err != nil {
		return err
	}
	verdicts, err := records("verdicts", b, steps.end(), get16(b, abi.PlanVerdictStride), get16(b, abi.PlanVerdicts), abi.VerdictSize)
	if err != nil {
		return err
	}
	p.Kind, p.Flags, p.Reason = b[abi.PlanKind], b[abi.PlanFlags], get16(b, abi.PlanReason)
	p.MaxOutput, p.Status = get32(b, abi.PlanMaxOutput), get16(b, abi.PlanStatus)
	if err := checkHead(b, p, steps.count); err != nil {
		return err
	}
	if err := decodeSteps(b, steps, candidates, p); err != nil {
		return err
	}
	if err := decodeVerdicts(b, verdicts, candidates, p); err != nil {
		return err
	}
	if p.Explanation, err = decodeText("explanation", b, size, abi.PlanExplainOff, abi.MaxExplanation, p.Explanation); err != nil {
		return err
	}
	return decodeRounds(b, size, p)
}

func checkHead(b []byte, p *Plan, steps int) error {
	tries := p.Kind == abi.KindAnswer || p.Kind == abi.KindAsk
	switch {
	case p.Flags&^abi.PlanReview != 0 || get16(b, abi.PlanReserved2) != 0:
		return malformed("plan with reserved bytes set")
	case p.Kind < abi.KindAnswer || p.Kind > abi.KindAccept:
		return malformed("plan of unknown kind #", int(p.Kind))
	case p.Flags != 0 && p.Kind != abi.KindAnswer:
		return malformed("plan of kind # to be reviewed", int(p.Kind))
	case steps > abi.MaxSteps:
		return malformed("plan of # steps, more than #", steps, abi.MaxSteps)
	case !tries && steps > 0:
		return malformed("plan of kind # with # steps", int(p.Kind), steps)
	case tries && steps == 0:
		return malformed("plan without a step")
	case p.Kind == abi.KindReject && p.Status != 0 && (p.Status < 400 || p.Status > 599):
		return malformed("reject plan with status #", int(p.Status))
	case p.Kind != abi.KindReject && p.Status != 0:
		return malformed("plan with status # that rejects nothing", int(p.Status))
	}
	return nil
}

func decodeSteps(b []byte, t table, candidates int, p *Plan) error {
	p.Steps = slices.Grow(p.Steps, t.count)[:t.count]
	for i := range p.Steps {
		r, s := t.at(b, i)[:abi.StepSize:abi.StepSize], &p.Steps[i]
		s.Candidate, s.Attempts, s.Reason = get16(r, abi.StepCandidate), r[abi.StepAttempts], get16(r, abi.StepReason)
		s.TimeoutMillis, s.HedgeMillis, s.Score = get32(r, abi.StepTimeout), get32(r, abi.StepHedge), getf(r, abi.StepScore)
		switch {
		case int(s.Candidate) >= candidates:
			return malformed("step # names candidate # of #", i, int(s.Candidate), candidates)
		case s.Attempts < 1 || s.Attempts > 3:
			return malformed("step # with # attempts", i, int(s.Attempts))
		case !finite(s.Score):
			return malformed("step # with a score that is no finite number", i)
		case r[abi.StepFlags] != 0 || get32(r, abi.StepReserved) != 0 || get16(r, abi.StepReserved+4) != 0:
			return malformed("step # with reserved bytes set", i)
		}
		for j := range i {
			if p.Steps[j].Candidate == s.Candidate {
				return malformed("steps # and # name candidate #", j, i, int(s.Candidate))
			}
		}
	}
	return nil
}

func decodeVerdicts(b []byte, t table, candidates int, p *Plan) error {
	if t.count == 0 {
		return nil
	}
	if t.count != candidates {
		return malformed("# verdicts about # candidates", t.count, candidates)
	}
	p.Verdicts = slices.Grow(p.Verdicts, t.count)[:t.count]
	readVerdicts(b, t, p.Verdicts)
	ranked := 0
	for i := range p.Verdicts { // the longest part of a decision on the host's side
		v := &p.Verdicts[i]
		if !finite(v.Score) {
			return malformed("verdict # with a score that is no finite number", i)
		}
		if v.Rank > 0 {
			if int(v.Rank) > len(p.Steps) || int(p.Steps[v.Rank-1].Candidate) != i {
				return malformed("verdict # claims rank # of the plan", i, int(v.Rank))
			}
			ranked++
		}
	}
	if ranked != len(p.Steps) {
		return malformed("# steps, # verdicts with a rank", len(p.Steps), ranked)
	}
	return nil
}

// decodeText reads a text whose offset and length stand at a field of the plan's header of so many bytes.
func decodeText(what string, b []byte, size, field, limit int, dst []byte) ([]byte, error) {
	off, length := uint64(get32(b, field)), uint64(get32(b, field+4))
	switch {
	case length == 0 && off == 0:
		return dst, nil
	case length > uint64(limit):
		return dst, malformed(what+" of # bytes, more than #", int(length), limit)
	case off < uint64(size) || off+length > uint64(len(b)):
		return dst, malformed(what+" of # bytes at # of #", int(length), int(off), len(b))
	}
	text := b[off : off+length]
	if !utf8.Valid(text) {
		return dst, malformed(what + " that is not UTF-8")
	}
	return append(dst, text...), nil
}

// decodeRounds reads the part of the header that only plans in rounds need.
func decodeRounds(b []byte, size int, p *Plan) (err error) {
	if size >= abi.PlanRoundsSize {
		p.Tag, p.AskInput, p.AskOutput = get32(b, abi.PlanTag), b[abi.PlanAskInput], get16(b, abi.PlanAskOutput)
		if b[abi.PlanReserved3] != 0 || get64(b, abi.PlanReserved4) != 0 || get64(b, abi.PlanReserved4+8) != 0 {
			return malformed("plan with reserved bytes set")
		}
		if p.Ask, err = decodeText("instruction", b, size, abi.PlanAskOff, abi.MaxAsk, p.Ask); err != nil {
			return err
		}
	}
	asks := p.Kind == abi.KindAsk
	switch {
	case asks && len(p.Ask) == 0:
		return malformed("side call without an instruction")
	case asks && (p.AskInput < abi.AskPrompt || p.AskInput > abi.AskBoth):
		return malformed("side call with input #", int(p.AskInput))
	case asks && p.AskOutput > abi.MaxAskOutput:
		return malformed("side call for # tokens, more than #", int(p.AskOutput), abi.MaxAskOutput)
	case !asks && (len(p.Ask) > 0 || p.AskInput != 0 || p.AskOutput != 0):
		return malformed("plan of kind # with an instruction", int(p.Kind))
	}
	return nil
}

func finite(f float32) bool { return math.Float32bits(f)&0x7F80_0000 != 0x7F80_0000 }

// DecodeSnapshot reads a snapshot into s and reuses its candidates, and their names where they did not change. The error
// wraps [ErrMalformed].
func DecodeSnapshot(b []byte, s *Snapshot) error {
	size, err := header("snapshot", b, abi.SnapshotHeaderSize)
	if err != nil {
		return err
	}
	t, err := records("candidates", b, size, get16(b, abi.SnapshotStride), get16(b, abi.SnapshotCount), abi.CandidateSize)
	if err != nil {
		return err
	}
	off, length := uint64(get32(b, abi.SnapshotBlobOff)), uint64(get32(b, abi.SnapshotBlobLen))
	switch {
	case t.count > abi.MaxCandidates:
		return malformed("snapshot of # candidates, more than #", t.count, abi.MaxCandidates)
	case off+length > uint64(len(b)):
		return malformed("names of # bytes at # of #", int(length), int(off), len(b))
	}
	blob := b[off : off+length]
	s.Generation = get64(b, abi.SnapshotGeneration)
	s.WallMillis = int64(get64(b, abi.SnapshotWallMillis))
	s.Candidates = slices.Grow(s.Candidates[:0], t.count)[:t.count]
	for i := range s.Candidates {
		if err := decodeCandidate(t.at(b, i), blob, &s.Candidates[i]); err != nil {
			return err
		}
	}
	return nil
}

func decodeCandidate(r, blob []byte, c *Candidate) error {
	model, err := name(blob, get32(r, abi.CandidateNameOff), get16(r, abi.CandidateNameLen), c.ModelName)
	if err != nil {
		return err
	}
	provider, err := name(blob, get32(r, abi.CandidateProviderOff), get16(r, abi.CandidateProviderLen), c.ProviderName)
	if err != nil {
		return err
	}
	*c = Candidate{
		Key:            get64(r, abi.CandidateKey),
		Model:          get16(r, abi.CandidateModel),
		Provider:       get16(r, abi.CandidateProvider),
		Tier:           r[abi.CandidateTier],
		Health:         r[abi.CandidateHealth],
		Mode:           r[abi.CandidateMode],
		Capabilities:   get32(r, abi.CandidateCapabilities),
		Strengths:      get32(r, abi.CandidateStrengths),
		ContextWindow:  get32(r, abi.CandidateContext),
		MaxOutput:      get32(r, abi.CandidateMaxOutput),
		CreditsPer1K:   int64(get64(r, abi.CandidateRate)),
		PriceIn:        int64(get64(r, abi.CandidatePriceIn)),
		PriceOut:       int64(get64(r, abi.CandidatePriceOut)),
		PriceCacheRead: int64(get64(r, abi.CandidatePriceCache)),
		Quality:        getf(r, abi.CandidateQuality),
		TTFT:           getf(r, abi.CandidateTTFT),
		TokensPerSec:   getf(r, abi.CandidateSpeed),
		ErrorRate:      getf(r, abi.CandidateErrorRate),
		Samples:        get32(r, abi.CandidateSamples),
		Flags:          get32(r, abi.CandidateFlags),
		ModelName:      model,
		ProviderName:   provider,
	}
	return nil
}

// name returns the text at an offset of the blob, and the old string when that is equal, so that nothing is allocated.
func name(blob []byte, off uint32, length uint16, old string) (string, error) {
	end := uint64(off) + uint64(length)
	if end > uint64(len(blob)) {
		return "", malformed("name of # bytes at # of #", int(length), int(off), len(blob))
	}
	text := blob[off:end]
	if string(text) == old {
		return old, nil
	}
	return string(text), nil
}

// DecodeRequest reads a request into r and reuses its options; its texts point into b. The error wraps [ErrMalformed].
func DecodeRequest(b []byte, r *Request) error {
	size, err := header("request", b, abi.RequestHeaderSize)
	if err != nil {
		return err
	}
	t, err := records("options", b, size, get16(b, abi.RequestStride), get16(b, abi.RequestCount), abi.OptionSize)
	if err != nil {
		return err
	}
	if t.count > abi.MaxCandidates {
		return malformed("request about # candidates, more than #", t.count, abi.MaxCandidates)
	}
	options := slices.Grow(r.Options[:0], t.count)[:t.count]
	decodeOptions(b, t, options)
	var text, metadata []byte
	if get64(b, abi.RequestTextOff)|get64(b, abi.RequestMetadataOff) != 0 { // few policies have either
		if text, err = part("text", b, size, abi.RequestTextOff, abi.MaxText); err != nil {
			return err
		}
		if metadata, err = part("metadata", b, size, abi.RequestMetadataOff, abi.MaxMetadata); err != nil {
			return err
		}
	}
	head := b[:abi.RequestHeaderSize:abi.RequestHeaderSize]
	*r = Request{
		Generation:  get64(head, abi.RequestGeneration),
		Seed:        get64(head, abi.RequestSeed),
		Level:       head[abi.RequestLevel],
		Task:        head[abi.RequestTask],
		Privacy:     head[abi.RequestPrivacy],
		Latency:     head[abi.RequestLatency],
		AccountTier: head[abi.RequestAccountTier],
		Flags:       head[abi.RequestFlags],
		Model:       get16(head, abi.RequestModel),
		Needs:       get32(head, abi.RequestNeeds),
		InputTokens: get32(head, abi.RequestInput),
		MaxOutput:   get32(head, abi.RequestMaxOutput),
		Messages:    get32(head, abi.RequestMessages),
		Credits:     int64(get64(head, abi.RequestCredits)),
		Session:     get64(head, abi.RequestSession),
		State:       get64(head, abi.RequestState),
		Options:     options,
		Text:        text,
		Metadata:    metadata,
	}
	return nil
}

// part is the piece of a buffer whose offset and length stand at a field of its header of so many bytes; nil if there is
// none.
func part(what string, b []byte, size, field, limit int) ([]byte, error) {
	off, length := uint64(get32(b, field)), uint64(get32(b, field+4))
	if length == 0 {
		return nil, nil
	}
	if length > uint64(limit) || off < uint64(size) || off+length > uint64(len(b)) {
		return nil, malformed(what+" of # bytes at # of #", int(length), int(off), len(b))
	}
	return b[off : off+length], nil
}

// eachOption reads options one by one, at whatever stride they lie.
func eachOption(b []byte, t table, options []Option) {
	for i := range options {
		o := get32(b, t.offset+i*t.stride)
		options[i] = Option{Excluded: uint8(o), Flags: uint8(o >> 8), Inflight: uint16(o >> 16)}
	}
}

// eachVerdict reads verdicts one by one, at whatever stride they lie.
func eachVerdict(b []byte, t table, verdicts []Verdict) {
	for i := range verdicts {
		r := get64(b, t.offset+i*t.stride)
		verdicts[i] = Verdict{Score: math.Float32frombits(uint32(r)), Reason: uint16(r >> 32), Rank: uint16(r >> 48)}
	}
}
