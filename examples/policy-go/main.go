// Command policy-go is a routing policy in Go: the gateway's built-in power levels, written with sdk/policy. The parameter
// "level" says which one it is; every other parameter overrides a default of that level.
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags="-s -w" -o policy.wasm ./examples/policy-go
package main

import "github.com/pointsman/pointsman/sdk/policy"

// init registers the policy: in a module whose exports are called, main never runs.
func init() {
	var r router
	policy.Register(policy.Policy{
		Description: "power levels; Go",
		Configure:   r.configure,
		Learn:       r.learn,
		Route:       r.route,
	})
}

func main() {}
