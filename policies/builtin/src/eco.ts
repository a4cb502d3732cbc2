// eco: the cheapest that can do the job.

import { defaults } from "./config";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_route, pointsman_snapshot,
} from "./core";

defaults(`level=eco
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
`);
