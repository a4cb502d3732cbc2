// Package sdk holds the source of the Go SDK for policies, so that `pointsman policy new` can put it beside a new project:
// that builds at once, without a network and before the module is published anywhere.
package sdk

import (
	"embed"
	"io/fs"
)

//go:embed abi/*.go policy/*.go
var source embed.FS

// Source is the source of sdk/abi and sdk/policy, at abi and policy, tests included.
func Source() fs.FS { return source }
