package rollout

import "math"

const stakeCount = 6

// stakes are the parts of the most that may be staked without ever losing all.
func stakes() [stakeCount]float64 {
	return [stakeCount]float64{0.02, 0.06, 0.15, 0.3, 0.5, 0.8}
}

// maxWealth keeps the wealth a number that can be written down; nothing is decided above it.
const maxWealth = 1e300

// bet is the wealth of who does not believe that numbers are not above 0 on average, by stake.
type bet [stakeCount]float64

func newBet() (b bet) {
	for i := range b {
		b[i] = 1
	}
	return b
}

// add is one more number, which cannot be below least, a negative number.
func (b *bet) add(z, least float64) {
	z /= -least
	for i, stake := range stakes() {
		b[i] = math.Min(b[i]*(1+stake*z), maxWealth)
	}
}

// wealth is the mean over the stakes.
func (b *bet) wealth() (mean float64) {
	for _, w := range b {
		mean += w / stakeCount
	}
	return mean
}

// chance bounds the probability that an innocent candidate ever looks this guilty: the always valid p-value.
func (b *bet) chance() float64 { return math.Min(1, 1/b.wealth()) }
