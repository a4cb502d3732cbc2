package textrun

import "golang.org/x/sys/cpu"

var fast = cpu.X86.HasAVX2 && cpu.X86.HasPOPCNT

// run is Of for n bytes at p, all in one piece of memory.
//
//go:noescape
func run(p *byte, n int) (passed, wide int)
