package policy

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/pointsman/pointsman/sdk/abi"
)

// AppendSnapshot appends the snapshot's encoding to dst. Candidates beyond abi.MaxCandidates and names beyond 65,535
// bytes are left out.
func AppendSnapshot(dst []byte, s *Snapshot) []byte {
	count := min(len(s.Candidates), abi.MaxCandidates)
	start := len(dst)
	blob := abi.SnapshotHeaderSize + count*abi.CandidateSize
	dst = grow(dst, blob)
	b := dst[start:]
	put16(b, abi.SnapshotVersion, abi.Version)
	put16(b, abi.SnapshotHeader, abi.SnapshotHeaderSize)
	put16(b, abi.SnapshotCount, uint16(count))
	put16(b, abi.SnapshotStride, abi.CandidateSize)
	put64(b, abi.SnapshotGeneration, s.Generation)
	put64(b, abi.SnapshotWallMillis, uint64(s.WallMillis))
	for i := range s.Candidates[:count] {
		c := &s.Candidates[i]
		model, provider := clip(c.ModelName), clip(c.ProviderName)
		nameOff := len(dst) - start - blob
		dst = append(dst, model...)
		providerOff := len(dst) - start - blob
		dst = append(dst, provider...)
		r := dst[start+abi.SnapshotHeaderSize+i*abi.CandidateSize:]
		putCandidate(r, c)
		put32(r, abi.CandidateNameOff, uint32(nameOff))
		put16(r, abi.CandidateNameLen, uint16(len(model)))
		put16(r, abi.CandidateProviderLen, uint16(len(provider)))
		put32(r, abi.CandidateProviderOff, uint32(providerOff))
	}
	put32(dst[start:], abi.SnapshotBlobOff, uint32(blob))
	put32(dst[start:], abi.SnapshotBlobLen, uint32(len(dst)-start-blob))
	return dst
}

func putCandidate(r []byte, c *Candidate) {
	put64(r, abi.CandidateKey, c.Key)
	put16(r, abi.CandidateModel, c.Model)
	put16(r, abi.CandidateProvider, c.Provider)
	r[abi.CandidateTier] = c.Tier
	r[abi.CandidateHealth] = c.Health
	r[abi.CandidateMode] = c.Mode
	put32(r, abi.CandidateCapabilities, c.Capabilities)
	put32(r, abi.CandidateStrengths, c.Strengths)
	put32(r, abi.CandidateContext, c.ContextWindow)
	put32(r, abi.CandidateMaxOutput, c.MaxOutput)
	put64(r, abi.CandidateRate, uint64(c.CreditsPer1K))
	put64(r, abi.CandidatePriceIn, uint64(c.PriceIn))
	put64(r, abi.CandidatePriceOut, uint64(c.PriceOut))
	put64(r, abi.CandidatePriceCache, uint64(c.PriceCacheRead))
	put32(r, abi.CandidateQuality, math.Float32bits(c.Quality))
	put32(r, abi.CandidateTTFT, math.Float32bits(c.TTFT))
	put32(r, abi.CandidateSpeed, math.Float32bits(c.TokensPerSec))
	put32(r, abi.CandidateErrorRate, math.Float32bits(c.ErrorRate))
	put32(r, abi.CandidateSamples, c.Samples)
	put32(r, abi.CandidateFlags, c.Flags)
}

// RequestSize is the length of a request's encoding.
func RequestSize(r *Request) int {
	return abi.RequestHeaderSize + min(len(r.Options), abi.MaxCandidates)*abi.OptionSize + len(r.Text) + len(r.Metadata)
}

// AppendRequest appends the request's encoding to dst. It does not allocate when dst has room for [RequestSize].
func AppendRequest(dst []byte, r *Request) []byte {
	count := min(len(r.Options), abi.MaxCandidates)
	texts := abi.RequestHeaderSize + count*abi.OptionSize
	dst = slices.Grow(dst, texts)
	b := dst[len(dst) : len(dst)+texts]
	dst = dst[:len(dst)+texts]
	head := b[:abi.RequestHeaderSize:abi.RequestHeaderSize]
	clear(head)
	put16(head, abi.RequestVersion, abi.Version)
	put16(head, abi.RequestHeader, abi.RequestHeaderSize)
	put16(head, abi.RequestCount, uint16(count))
	put16(head, abi.RequestStride, abi.OptionSize)
	put64(head, abi.RequestGeneration, r.Generation)
	put64(head, abi.RequestSeed, r.Seed)
	head[abi.RequestLevel] = r.Level
	head[abi.RequestTask] = r.Task
	head[abi.RequestPrivacy] = r.Privacy
	head[abi.RequestLatency] = r.Latency
	head[abi.RequestAccountTier] = r.AccountTier
	head[abi.RequestFlags] = r.Flags
	put16(head, abi.RequestModel, r.Model)
	put32(head, abi.RequestNeeds, r.Needs)
	put32(head, abi.RequestInput, r.InputTokens)
	put32(head, abi.RequestMaxOutput, r.MaxOutput)
	put32(head, abi.RequestMessages, r.Messages)
	put64(head, abi.RequestCredits, uint64(r.Credits))
	put64(head, abi.RequestSession, r.Session)
	put64(head, abi.RequestState, r.State)
	if len(r.Text) > 0 {
		put32(head, abi.RequestTextOff, uint32(texts))
		put32(head, abi.RequestTextLen, uint32(len(r.Text)))
	}
	if len(r.Metadata) > 0 {
		put32(head, abi.RequestMetadataOff, uint32(texts+len(r.Text)))
		put32(head, abi.RequestMetadataLen, uint32(len(r.Metadata)))
	}
	putOptions(b[abi.RequestHeaderSize:], r.Options[:count])
	return append(append(dst, r.Text...), r.Metadata...)
}

// AppendPlan appends the plan's encoding to dst: header, steps, verdicts, explanation, instruction. It does not check the
// plan: [DecodePlan] does.
func AppendPlan(dst []byte, p *Plan) []byte {
	start := len(dst)
	steps := abi.PlanHeaderSize
	rounds := p.Tag != 0 || p.AskInput != 0 || p.AskOutput != 0 || len(p.Ask) > 0
	if rounds {
		steps = abi.PlanRoundsSize
	}
	verdicts := steps + len(p.Steps)*abi.StepSize
	explain := verdicts + len(p.Verdicts)*abi.VerdictSize
	dst = grow(dst, explain)
	b := dst[start:][:explain]
	head := b[:abi.PlanHeaderSize:abi.PlanHeaderSize]
	put16(head, abi.PlanVersion, abi.Version)
	put16(head, abi.PlanHeader, uint16(steps))
	head[abi.PlanKind] = p.Kind
	head[abi.PlanFlags] = p.Flags
	put16(head, abi.PlanReason, p.Reason)
	put16(head, abi.PlanSteps, uint16(len(p.Steps)))
	put16(head, abi.PlanStepStride, abi.StepSize)
	put16(head, abi.PlanVerdicts, uint16(len(p.Verdicts)))
	put16(head, abi.PlanVerdictStride, abi.VerdictSize)
	put32(head, abi.PlanMaxOutput, p.MaxOutput)
	put16(head, abi.PlanStatus, p.Status)
	if len(p.Explanation) > 0 {
		put32(head, abi.PlanExplainOff, uint32(explain))
		put32(head, abi.PlanExplainLen, uint32(len(p.Explanation)))
	}
	if rounds {
		put32(b, abi.PlanTag, p.Tag)
		b[abi.PlanAskInput] = p.AskInput
		put16(b, abi.PlanAskOutput, p.AskOutput)
		if len(p.Ask) > 0 {
			put32(b, abi.PlanAskOff, uint32(explain+len(p.Explanation)))
			put32(b, abi.PlanAskLen, uint32(len(p.Ask)))
		}
	}
	for i := range p.Steps {
		s, r := &p.Steps[i], b[steps+i*abi.StepSize:][:abi.StepSize:abi.StepSize]
		put16(r, abi.StepCandidate, s.Candidate)
		r[abi.StepAttempts] = s.Attempts
		put32(r, abi.StepTimeout, s.TimeoutMillis)
		put32(r, abi.StepHedge, s.HedgeMillis)
		put32(r, abi.StepScore, math.Float32bits(s.Score))
		put16(r, abi.StepReason, s.Reason)
	}
	putVerdicts(b[verdicts:], p.Verdicts)
	return append(append(dst, p.Explanation...), p.Ask...)
}

// grow extends b by n zero bytes, within its capacity where that is enough.
func grow(b []byte, n int) []byte {
	b = slices.Grow(b, n)
	end := len(b)
	b = b[:end+n]
	clear(b[end:])
	return b
}

func clip(name string) string { return name[:min(len(name), math.MaxUint16)] }

func put16(b []byte, at int, v uint16) { binary.LittleEndian.PutUint16(b[at:], v) }
func put32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }
func put64(b []byte, at int, v uint64) { binary.LittleEndian.PutUint64(b[at:], v) }
func get16(b []byte, at int) uint16    { return binary.LittleEndian.Uint16(b[at:]) }
func get32(b []byte, at int) uint32    { return binary.LittleEndian.Uint32(b[at:]) }
func get64(b []byte, at int) uint64    { return binary.LittleEndian.Uint64(b[at:]) }
func getf(b []byte, at int) float32    { return math.Float32frombits(get32(b, at)) }
