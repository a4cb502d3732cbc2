//go:build !wasip1

package policy

// Register makes p the policy of this module. Outside WebAssembly there is no host to answer, so it does nothing there.
func Register(p Policy) {}
