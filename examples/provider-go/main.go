// Command provider-go is the smallest provider plugin in Go: two adapters in one process, one for each mode.
package main

import "github.com/pointsman/pointsman/sdk/provider/rpc"

func main() {
	rpc.Serve(acme{}, parrot{})
}
