// Command careless is a policy that loads and starts, and plans with candidates it was told not to use.
package main

import "github.com/pointsman/pointsman/sdk/policy"

func init() {
	policy.Register(policy.Policy{
		Description: "careless",
		Route: func(_ policy.Config, s *policy.Snapshot, _ *policy.Request, plan *policy.Plan) {
			plan.Kind = 1
			for i := range min(len(s.Candidates), 3) {
				plan.Steps = append(plan.Steps, policy.Step{Candidate: uint16(i), Attempts: 1, Reason: 128})
			}
			if len(plan.Steps) == 0 {
				plan.Kind = 3
			}
			plan.Reason = 128
		},
	})
}

func main() {}
