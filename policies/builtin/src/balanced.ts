// balanced: quality for money.

import { defaults } from "./config";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_route, pointsman_snapshot,
} from "./core";

defaults(`level=balanced
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
`);
