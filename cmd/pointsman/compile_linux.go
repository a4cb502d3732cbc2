package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/plugins/confine"
	"github.com/pointsman/pointsman/policies"
)

// Limits of the process that compiles one policy. The example in Go, of 2 MB, takes 1 second and 63 MB for 8 MB of code; the
// worst that the limits on modules allow some seconds and 270 MB.
const (
	compileSeconds  = 10       // of processor time
	compileMemory   = 1 << 30  // bytes of writable memory
	compileFile     = 32 << 20 // bytes of the code
	compilePatience = 2 * time.Minute
)

// policyCompiler returns what compiles policies that others wrote.
func policyCompiler() func(ctx context.Context, module []byte, dir string) error {
	return compilePolicy
}

// compilePolicy compiles a policy in a process of its own, with limits: this binary, started once more.
func compilePolicy(ctx context.Context, module []byte, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, compilePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", compileCommand, dir) // the same version, also when the file was replaced
	cmd.Env = []string{}                                                   // none: what the gateway's holds is no business of a compiler's
	cmd.Stdin = bytes.NewReader(module)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the kernel sends that signal when the thread ends that started the process
	err := cmd.Run()
	runtime.UnlockOSThread()
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
	used := time.Duration(0)
	if cmd.ProcessState != nil {
		used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it took more than %v", compilePatience)
	case used >= (compileSeconds-1)*time.Second:
		return fmt.Errorf("it took more than %d s of processor time", compileSeconds)
	case strings.Contains(text, "out of memory"), strings.Contains(text, "cannot allocate memory"):
		return fmt.Errorf("it took more than %d MiB of memory", compileMemory>>20)
	case strings.Contains(text, "file too large"):
		return fmt.Errorf("its code takes more than %d MiB", compileFile>>20)
	case text == "":
		return fmt.Errorf("the process that compiles: %w", err)
	}
	return errors.New(text)
}

// compileProcess is the main function of that process. It returns the exit status.
func compileProcess(args []string, in io.Reader, term terminal) int {
	err := limitCompiling()
	if err == nil && len(args) != 1 {
		err = errors.New("the directory for the code is missing")
	}
	var module []byte
	if err == nil {
		module, err = io.ReadAll(in)
	}
	if err == nil {
		err = policies.CompileInto(context.Background(), module, args[0])
	}
	if err != nil {
		fmt.Fprintln(term.err, err)
		return 1
	}
	return 0
}

// limitCompiling sets the limits on this process. Time beyond the limit is a SIGKILL, memory a failed allocation.
func limitCompiling() error {
	if err := confine.Apply(confine.Limits{Files: 64, DataBytes: compileMemory}); err != nil {
		return err
	}
	for resource, limit := range map[int]uint64{syscall.RLIMIT_CPU: compileSeconds, syscall.RLIMIT_FSIZE: compileFile} {
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
			return fmt.Errorf("limiting resource %d: %w", resource, err)
		}
	}
	debug.SetMemoryLimit(compileMemory * 3 / 4)
	return syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10) // requests come first
}
