// Package builtin holds the four routing policies that ship with the gateway, as WebAssembly modules. Their source is in
// src, one AssemblyScript program with four sets of parameters; build.sh builds them, and a test compares.
package builtin

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
)

//go:embed eco.wasm
var eco []byte

//go:embed balanced.wasm
var balanced []byte

//go:embed precision.wasm
var precision []byte

//go:embed custom.wasm
var custom []byte

// Modules returns the modules by the name of their power level. They must not be changed.
func Modules() map[string][]byte {
	return map[string][]byte{"eco": eco, "balanced": balanced, "precision": precision, "custom": custom}
}

// Digests returns the hexadecimal SHA-256 of each module.
func Digests() []string {
	var all []string
	for _, module := range Modules() {
		sum := sha256.Sum256(module)
		all = append(all, hex.EncodeToString(sum[:]))
	}
	return all
}
