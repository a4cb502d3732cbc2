package catalog

import (
	"math/bits"

	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// Tiers of models.
const (
	TierFree         = 0
	TierStarter      = 1
	TierBalanced     = 2
	TierProfessional = 3
	TierPremium      = 4
	TierSpecialized  = 5
	MaxTier          = TierSpecialized
)

// MaxRate is the highest rate a model may have, in micro-credits per 1,000 tokens: 1,000,000 credits.
const MaxRate = 1_000_000 * storage.CreditsPerCredit

// Charge is the tariff: tokens/1000 x rate, rounded up to the next micro-credit. A negative count charges nothing; an
// amount beyond int64 gives the largest one, which no balance covers. It does not allocate.
func (m *Model) Charge(tokens int64) storage.Credits {
	if tokens <= 0 || m.Rate <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(tokens), uint64(m.Rate))
	lo, carry := bits.Add64(lo, 999, 0)
	return storage.Credits(quotient(hi+carry, lo, 1000))
}

// Markup is what is added to the cost of a provider where users are charged by it, in percent.
type Markup uint32

// MaxMarkup is the highest one.
const MaxMarkup Markup = 10_000

// Markups are those of the account tiers, poorest first.
type Markups [4]Markup

// DefaultMarkups are the markups of an operator who gives none.
func DefaultMarkups() Markups { return Markups{0, 40, 60, 80} }

// Per1K is what 1,000 tokens are charged, for policies and lists, before a markup: the model's rate, and where users are
// charged by the cost, that of one token written for three that are read.
func (d *Deployment) Per1K() storage.Credits {
	m := d.Model
	if m.CostRate == 0 {
		return m.Rate
	}
	cost, _ := d.Price.Cost(Usage{Input: 750, Output: 250})
	return m.Rate + m.ChargeUnits(0, cost, 0)
}

// TierBand is the band of rates of a tier in micro-credits per 1,000 tokens. Tier 5 has none of its own: its band is
// everything. An unknown tier has an empty band (lo > hi).
func TierBand(tier uint8) (lo, hi storage.Credits) {
	switch tier {
	case TierFree:
		return 0, 0
	case TierStarter:
		return 1_000, 3_000
	case TierBalanced:
		return 10_000, 30_000
	case TierProfessional:
		return 50_000, 150_000
	case TierPremium:
		return 500_000, 2_000_000
	case TierSpecialized:
		return 0, MaxRate
	}
	return 1, 0
}

// LevelTiers is the band of tiers of a power level (abi.Level*), both ends included. An unknown level has an empty band
// (lo > hi).
func LevelTiers(level uint8) (lo, hi uint8) {
	switch level {
	case abi.LevelEco:
		return TierFree, TierStarter
	case abi.LevelBalanced:
		return TierBalanced, TierBalanced
	case abi.LevelPrecision:
		return TierProfessional, TierProfessional
	case abi.LevelCustom:
		return TierFree, MaxTier
	}
	return 1, 0
}

// AccountTierAllows says whether accounts of a tier may use every model of a model tier. [Model.AllowedFor] also knows
// the exception of cheap specialized models. An unknown account tier may use nothing.
func AccountTierAllows(account storage.AccountTier, tier uint8) bool {
	switch account {
	case storage.TierFree:
		return tier == TierFree
	case storage.TierStarter:
		return tier <= TierStarter
	case storage.TierProfessional:
		return tier <= TierProfessional || tier == TierSpecialized
	case storage.TierEnterprise:
		return tier <= MaxTier
	}
	return false
}

// AllowedFor says whether accounts of a tier may use the model. A starter account may also use a specialized model that
// costs no more than tier 1 does, which can be said of models charged by tokens alone.
func (m *Model) AllowedFor(account storage.AccountTier) bool {
	if AccountTierAllows(account, m.Tier) {
		return true
	}
	_, top := TierBand(TierStarter)
	return account == storage.TierStarter && m.Tier == TierSpecialized && m.Rate <= top && !m.ByUnit()
}

// QualityPrior is the quality assumed of a model until the operator or recorded outcomes say better: by tier, and for
// specialized models by what they are for.
func QualityPrior(tier, mode uint8, strengths uint32) float32 {
	switch tier {
	case TierFree:
		return 0.60
	case TierStarter:
		return 0.70
	case TierBalanced:
		return 0.82
	case TierProfessional:
		return 0.95
	case TierPremium:
		return 0.98
	}
	switch {
	case strengths&(1<<abi.TaskCode) != 0:
		return 0.90
	case mode == abi.ModeEmbedding:
		return 0.85
	}
	return 0.80
}
