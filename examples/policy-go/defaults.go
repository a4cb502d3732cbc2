package main

// defaults is the configuration text that a level starts from; false if there is no such level.
func defaults(level string) (string, bool) {
	switch level {
	case "eco":
		return ecoDefaults, true
	case "balanced":
		return balancedDefaults, true
	case "precision":
		return precisionDefaults, true
	case "custom":
		return customDefaults, true
	}
	return "", false
}

const ecoDefaults = `level=eco
band=0,1
own_key_tiers=0,1,2
providers=local,groq,huggingface
min_quality=0.6
max_credits=0.001
max_output=2000
latency=normal
instant_tokens=8000
free_accounts=1
named=0
max_steps=4
attempts=1
timeout_ms=0
hedge_ms=0
spend_share=0.1
prior_latency=0.5
load_half=8
weight_quality=0.2
weight_price=0.45
weight_latency=0.15
weight_errors=0.3
weight_load=0.1
weight_provider=0.15
weight_warm=0.05
weight_task=0.1
penalty_degraded=0.3
`

const balancedDefaults = `level=balanced
band=2
own_key_tiers=2,3
providers=together,fireworks,openrouter,deepinfra
min_quality=0.8
max_credits=0.01
max_output=4000
latency=fast
instant_tokens=8000
free_accounts=1
named=0
max_steps=4
attempts=1
timeout_ms=0
hedge_ms=0
spend_share=0.1
prior_latency=0.5
load_half=8
weight_quality=0.4
weight_price=0.25
weight_latency=0.2
weight_errors=0.4
weight_load=0.1
weight_provider=0.1
weight_warm=0.1
weight_task=0.15
penalty_degraded=0.3
`

const precisionDefaults = `level=precision
band=3
own_key_tiers=3,4
providers=anthropic,openai,openrouter
min_quality=0.95
max_credits=0.1
max_output=16000
latency=instant
instant_tokens=8000
free_accounts=1
named=0
max_steps=4
attempts=1
timeout_ms=0
hedge_ms=0
spend_share=0.1
prior_latency=0.5
load_half=8
weight_quality=0.6
weight_price=0.1
weight_latency=0.15
weight_errors=0.5
weight_load=0.1
weight_provider=0.1
weight_warm=0.1
weight_task=0.2
penalty_degraded=0.4
`

const customDefaults = `level=custom
band=
own_key_tiers=
eco_band=0,1
balanced_band=2
precision_band=3
providers=
min_quality=0
max_credits=0.1
max_output=4000
latency=fast
instant_tokens=0
free_accounts=0
named=1
max_steps=4
attempts=1
timeout_ms=0
hedge_ms=0
spend_share=0.1
prior_latency=0.5
load_half=8
weight_quality=0.3
weight_price=0.3
weight_latency=0.3
weight_errors=0.5
weight_load=0.2
weight_provider=0
weight_warm=0.2
weight_task=0.1
penalty_degraded=0.4
`
