// precision: the best quality.

import { defaults } from "./config";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_route, pointsman_snapshot,
} from "./core";

defaults(`level=precision
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
`);
