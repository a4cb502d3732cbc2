// Package sdk holds the source of the Go SDK, so that `pointsman policy new` and `pointsman plugin new` can put it beside a
// new project: that builds before the module is published anywhere, a policy also without a network.
package sdk

import (
	"embed"
	"io/fs"
)

//go:embed abi/*.go policy/*.go
var source embed.FS

// Source is the source of sdk/abi and sdk/policy, at abi and policy, tests included.
func Source() fs.FS { return source }

//go:embed provider/*.go provider/providertest/*.go provider/rpc/*.go provider/rpc/v1/*.go provider/rpc/v1/provider.proto
var providerSource embed.FS

// ProviderSource is the source of sdk/provider and the packages below it, at provider, tests included.
func ProviderSource() fs.FS { return providerSource }
