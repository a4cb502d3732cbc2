//go:build !amd64

package textrun

const fast = false

func run(*byte, int) (passed, wide int) { panic("no processor of this kind has it") }
