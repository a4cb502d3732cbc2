package main

import (
	"errors"
	"strings"

	"github.com/pointsman/pointsman/sdk/policy"
)

// Numeric parameters. They are kept in millionths, exactly, and as floating-point numbers.
const (
	minQuality    = iota // least quality of a candidate, 0..1
	maxCredits           // credits a request should not exceed; dearer candidates come after the others
	maxOutput            // output tokens that are reserved for when the request gives no limit
	maxSteps             // candidates in a plan
	attempts             // of each step
	timeoutMs            // of each step, 0: the gateway's default
	hedgeMs              // of each step, 0: never
	instantTokens        // an instant answer is given by a free model if it is shorter than this
	spendShare           // of the credits left that a request should not exceed
	freeAccounts         // 1: accounts of the free tier get free models only
	named                // 1: the request names its model
	priorLatency         // how fast a candidate counts that was never measured, 0..1
	loadHalf             // requests under way at which the load counts half
	weightQuality
	weightPrice
	weightLatency
	weightErrors
	weightLoad
	weightProvider
	weightWarm
	weightTask
	penaltyDegraded
	numberCount
)

func numberNames() [numberCount]string {
	return [...]string{
		"min_quality", "max_credits", "max_output", "max_steps", "attempts", "timeout_ms", "hedge_ms", "instant_tokens",
		"spend_share", "free_accounts", "named", "prior_latency", "load_half", "weight_quality", "weight_price",
		"weight_latency", "weight_errors", "weight_load", "weight_provider", "weight_warm", "weight_task", "penalty_degraded",
	}
}

// Sets of tiers.
const (
	tiersBand   = iota // of the power level
	tiersOwnKey        // in which an own key is preferred
	tiersEco           // where a named model may fall back to, by the level of the request
	tiersBalanced
	tiersPrecision
	tiersCount
)

func tierNames() [tiersCount]string {
	return [...]string{"band", "own_key_tiers", "eco_band", "balanced_band", "precision_band"}
}

const million = 1_000_000

var errParameter = errors.New("bad parameter")

// params are the parameters of one level.
type params struct {
	level     string
	targetMs  float64 // latency objective of requests that have none
	micros    [numberCount]int64
	floats    [numberCount]float64
	wholes    [numberCount]int64
	tiers     [tiersCount]uint32
	providers []string // the best first
}

// newParams takes the defaults of the level that cfg names, and overrides them by cfg.
func newParams(cfg policy.Config) (*params, error) {
	text, ok := defaults(cfg.Text("level", "balanced"))
	if !ok {
		return nil, errors.New("level must be eco, balanced, precision or custom")
	}
	base, err := policy.ParseConfig(text)
	if err != nil {
		return nil, err
	}
	p := &params{}
	for _, layer := range []policy.Config{base, cfg} {
		for _, key := range layer.Keys() {
			if !p.set(key, layer.Text(key, "")) {
				return nil, errors.Join(errParameter, errors.New(key+"="+layer.Text(key, "")))
			}
		}
	}
	return p, nil
}

func (p *params) set(key, value string) bool {
	for n, name := range numberNames() {
		if key == name {
			return p.setNumber(n, value)
		}
	}
	for n, name := range tierNames() {
		if key == name {
			return p.setTiers(n, value)
		}
	}
	switch key {
	case "providers":
		return p.setProviders(value)
	case "level":
		p.level = value
		return len(value) <= 64
	case "latency":
		code, ok := policy.ParseLatency(value)
		if ok && code != 0 {
			p.targetMs = objective(code)
		}
		return ok && code != 0
	}
	return false
}

// setNumber reads digits, of which at most 9 before and 6 behind a point.
func (p *params) setNumber(n int, text string) bool {
	before, behind, point := strings.Cut(text, ".")
	if before == "" || len(before) > 9 || len(behind) > 6 || point && behind == "" {
		return false
	}
	value := int64(0)
	for _, c := range []byte(before + behind + "000000"[len(behind):]) {
		if c < '0' || c > '9' {
			return false
		}
		value = value*10 + int64(c-'0')
	}
	if n == maxSteps && (value < million || value > 8*million) || n == attempts && (value < million || value > 3*million) {
		return false
	}
	p.micros[n], p.floats[n], p.wholes[n] = value, float64(value)/million, value/million
	return true
}

// setTiers reads digits of 0..7 with commas between them, or nothing.
func (p *params) setTiers(n int, text string) bool {
	mask := uint32(0)
	if text != "" {
		for tier := range strings.SplitSeq(text, ",") {
			if len(tier) != 1 || tier[0] < '0' || tier[0] > '7' {
				return false
			}
			mask |= 1 << (tier[0] - '0')
		}
	}
	p.tiers[n] = mask
	return true
}

func (p *params) setProviders(text string) bool {
	p.providers = nil
	if text == "" {
		return true
	}
	for name := range strings.SplitSeq(text, ",") {
		if name == "" || len(name) > 64 || len(p.providers) == 16 {
			return false
		}
		p.providers = append(p.providers, name)
	}
	return true
}

// preference is how much a provider is preferred: 1 for the first of the list, 0 for one that is not on it.
func (p *params) preference(provider string) float64 {
	for i, name := range p.providers {
		if name == provider {
			return float64(len(p.providers)-i) / float64(len(p.providers))
		}
	}
	return 0
}

func (p *params) whole(n int) int64 { return p.wholes[n] }

func (p *params) has(set int, tier uint8) bool { return in(p.tiers[set], tier) }

func in(mask uint32, tier uint8) bool { return mask>>tier&1 != 0 }
