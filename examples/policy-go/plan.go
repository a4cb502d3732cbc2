package main

import (
	"slices"
	"strconv"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

// ranking keeps the best candidates so far, best first, and a verdict on each.
type ranking struct {
	verdicts []policy.Verdict
	limit    int
	chosen   int
	entries  [abi.MaxSteps]entry
}

type entry struct {
	candidate int
	rank      uint8
	score     float32
	reason    uint16
}

func (b *ranking) begin(p *policy.Plan, candidates, steps int) {
	p.Verdicts = slices.Grow(p.Verdicts[:0], candidates)[:candidates]
	b.verdicts, b.limit, b.chosen = p.Verdicts, steps, 0
}

// exclude notes why a candidate is out.
func (b *ranking) exclude(i int, why uint16) { b.verdicts[i] = policy.Verdict{Reason: why} }

// consider takes a candidate into the plan if it is among the best: by the lower rank, then by the higher score, then by
// order.
func (b *ranking) consider(i int, rank uint8, score float32, reason uint16) {
	b.verdicts[i] = policy.Verdict{Score: score, Reason: abi.ReasonOutranked}
	at := b.chosen
	for at > 0 {
		e := &b.entries[at-1]
		if rank > e.rank || rank == e.rank && !(score > e.score) {
			break
		}
		at--
	}
	if at == b.limit {
		return
	}
	b.chosen = min(b.chosen+1, b.limit)
	copy(b.entries[at+1:b.chosen], b.entries[at:])
	b.entries[at] = entry{candidate: i, rank: rank, score: score, reason: reason}
}

// answer writes the plan of what was chosen.
func (r *router) answer(p *policy.Plan) {
	for n, e := range r.best.entries[:r.best.chosen] {
		p.Steps = append(p.Steps, policy.Step{
			Candidate: uint16(e.candidate), Attempts: uint8(r.whole(attempts)), TimeoutMillis: uint32(r.whole(timeoutMs)),
			HedgeMillis: uint32(r.whole(hedgeMs)), Score: e.score, Reason: e.reason,
		})
		p.Verdicts[e.candidate].Reason, p.Verdicts[e.candidate].Rank = abi.ReasonNone, uint16(n+1)
	}
	p.Kind, p.Reason, p.MaxOutput = abi.KindAnswer, r.best.entries[0].reason, uint32(r.whole(maxOutput))
	first := r.best.entries[0].candidate
	c := &r.snapshot.Candidates[first]
	text := append(append(p.Explanation, r.level...), ": "...)
	text = append(append(text, cut(c.ModelName)...), " at "...)
	text = append(append(text, cut(c.ProviderName)...), ", "...)
	text = append(appendCredits(text, (r.cost(c.CreditsPer1K, r.request.Options[first])+999)/1000), " credits, quality "...)
	p.Explanation = appendHundredths(text, c.Quality)
}

// reject writes a plan that refuses the request.
func (r *router) reject(p *policy.Plan, reason, status uint16, text string) {
	p.Kind, p.Reason, p.Status = abi.KindReject, reason, status
	p.Explanation = append(append(append(p.Explanation, r.level...), ": "...), text...)
}

// cut shortens a name that is too long, before the character that would make it so.
func cut(name string) string {
	n := 160
	if len(name) <= n {
		return name
	}
	for n > 0 && name[n]&0xC0 == 0x80 {
		n--
	}
	return name[:n]
}

func appendCredits(text []byte, micro int64) []byte {
	if micro < 0 {
		text, micro = append(text, '-'), -micro
	}
	text = strconv.AppendInt(text, micro/million, 10)
	rest := micro % million
	if rest == 0 {
		return text
	}
	text = append(text, '.')
	for place := int64(million / 10); rest > 0; place /= 10 {
		text = append(text, byte('0'+rest/place))
		rest %= place
	}
	return text
}

func appendHundredths(text []byte, value float32) []byte {
	bounded := 0.0
	if value > 0 {
		bounded = min(float64(value), 1)
	}
	n := uint32(float64(bounded*100) + 0.5)
	return append(text, byte('0'+n/100), '.', byte('0'+n/10%10), byte('0'+n%10))
}
