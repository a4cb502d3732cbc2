//go:build !linux

package main

import (
	"context"
	"fmt"
	"io"
)

// policyCompiler returns nil, so that the gateway compiles all policies itself: the limits exist on Linux alone.
func policyCompiler() func(ctx context.Context, module []byte, dir string) error { return nil }

func compileProcess(_ []string, _ io.Reader, term terminal) int {
	fmt.Fprintln(term.err, "policies are compiled in a process of their own on Linux alone")
	return 1
}
