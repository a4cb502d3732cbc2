// custom: the model that was named, at the best of its deployments.

import { defaults } from "./config";

export {
  pointsman_abi_version, pointsman_buffer, pointsman_configure, pointsman_describe, pointsman_route, pointsman_snapshot,
} from "./core";

defaults(`level=custom
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
`);
