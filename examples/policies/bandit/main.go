// Command bandit is a routing policy that learns: Thompson sampling over the candidates of the power level. For each
// candidate it keeps how often an answer came in time and how often not, fading slowly; a decision draws from these
// beliefs with the request's seed, so that the same request on the same state is decided the same.
//
// Needs the grant state. Parameters: slow_ms, an answer whose first token takes longer counts as a failure (default 5000);
// keep, how much of the old beliefs each observation keeps (default 0.998); max_tier (default 5).
package main

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/sdk/policy"
)

const (
	armSize = 16 // key u64, won f32, lost f32
	maxArms = 1024
)

// arm is the belief about one candidate.
type arm struct{ won, lost float32 }

// bandit holds the parameters and the last state.
type bandit struct {
	slow, keep float32
	maxTier    uint8
	arms       map[uint64]arm
}

func (b *bandit) configure(cfg policy.Config) error {
	slow, err := cfg.Number("slow_ms", 5000)
	keep, err2 := cfg.Number("keep", 0.998)
	tier, err3 := cfg.Number("max_tier", 5)
	b.slow, b.keep, b.maxTier = float32(slow), float32(keep), uint8(tier)
	return errors.Join(err, err2, err3)
}

func (b *bandit) remember(state []byte) error {
	if len(state)%armSize != 0 {
		return errors.New("the state is not this policy's")
	}
	clear(b.arms)
	for ; len(state) > 0; state = state[armSize:] {
		b.arms[binary.LittleEndian.Uint64(state)] = arm{
			math.Float32frombits(binary.LittleEndian.Uint32(state[8:])), math.Float32frombits(binary.LittleEndian.Uint32(state[12:])),
		}
	}
	return nil
}

func (b *bandit) observe(_ policy.Config, dst, state []byte, outcomes []policy.Outcome) []byte {
	dst = append(dst, state...)
	for i := range outcomes {
		o := &outcomes[i]
		if o.Failure == abi.FailureCancelled || o.Failure == abi.FailureBadRequest || o.Failure == abi.FailureUnaffordable {
			continue // says nothing of the candidate
		}
		at := 0
		for at < len(dst) && binary.LittleEndian.Uint64(dst[at:]) != o.Key {
			at += armSize
		}
		if at == len(dst) {
			if at == maxArms*armSize {
				continue
			}
			dst = binary.LittleEndian.AppendUint64(dst, o.Key)
			dst = append(dst, make([]byte, 8)...)
		}
		won, lost := at+8, at+12
		if o.Flags&abi.OutcomeOK != 0 && o.TTFT <= b.slow {
			won, lost = lost, won
		} // now `lost` is what grows
		fade(dst[won:], b.keep, 0)
		fade(dst[lost:], b.keep, 1)
	}
	return dst
}

// fade keeps a part of a count and adds to it.
func fade(at []byte, keep, more float32) {
	binary.LittleEndian.PutUint32(at, math.Float32bits(math.Float32frombits(binary.LittleEndian.Uint32(at))*keep+more))
}

func (b *bandit) route(_ policy.Config, s *policy.Snapshot, r *policy.Request, p *policy.Plan) {
	p.Rank(s, r, 4, abi.BecauseBand, func(i int) (float32, uint16) {
		x := &s.Candidates[i]
		if x.Tier > b.maxTier {
			return 0, abi.ReasonOutsideBand
		}
		return b.draw(x.Key, r.Seed), abi.ReasonNone
	})
}

// draw takes a sample of the belief in a candidate: a normal that has mean and variance of the Beta distribution, which is
// close to it once there are a few observations, and cheap. The sum of twelve uniform numbers less six is a standard normal
// to three digits (the central limit theorem).
func (b *bandit) draw(key, seed uint64) float32 {
	a := b.arms[key]
	won, lost := a.won+1, a.lost+1
	n := won + lost
	mean := won / n
	spread := float32(math.Sqrt(float64(won * lost / (n * n * (n + 1)))))
	normal := float32(-6)
	for x, i := key^seed, 0; i < 12; i++ {
		x += 0x9E3779B97F4A7C15 // SplitMix64
		z := (x ^ x>>30) * 0xBF58476D1CE4E5B9
		z = (z ^ z>>27) * 0x94D049BB133111EB
		normal += float32((z^z>>31)>>40) / (1 << 24)
	}
	return mean + spread*normal
}

func newPolicy() policy.Policy {
	b := &bandit{arms: map[uint64]arm{}}
	return policy.Policy{
		Description: "Thompson sampling over what became of earlier plans (Go)", Needs: abi.GrantState,
		Configure: b.configure, Route: b.route, Remember: b.remember, Observe: b.observe,
	}
}

func init() { policy.Register(newPolicy()) }

func main() {}
