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
	compileMemory   = 1 << 30  // bytes of writable memory
	compileFile     = 32 << 20 // bytes of the code
	compilePatience = 2 * time.Minute
)

// compileSeconds is how much processor time a module of so many bytes may take to compile: 2 to 10 s. A policy takes half a second for a MB, on a slow machine
// twice as much; small ones that take longer mean harm.
func compileSeconds(size int) int { return min(max(2, (4*size+1<<20-1)>>20), 10) }

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
	limit, used := time.Duration(compileSeconds(len(module)))*time.Second, time.Duration(0)
	if cmd.ProcessState != nil {
		used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it took more than %v", compilePatience)
	case cmd.ProcessState != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL && used > limit-time.Second/2: // the kernel counts in ticks
		return fmt.Errorf("it took more than %.0f s of processor time", limit.Seconds())
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
		err = limitResource(syscall.RLIMIT_CPU, uint64(compileSeconds(len(module))))
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

// limitCompiling sets the limits on this process, but for that of time. Memory beyond its limit is a failed allocation.
func limitCompiling() error {
	if err := confine.Apply(confine.Limits{Files: 64, DataBytes: compileMemory}); err != nil {
		return err
	}
	if err := limitResource(syscall.RLIMIT_FSIZE, compileFile); err != nil {
		return err
	}
	debug.SetMemoryLimit(compileMemory * 3 / 4)
	return syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10) // requests come first
}

// limitResource sets a limit that cannot be raised again. Time beyond it is a SIGKILL.
func limitResource(resource int, limit uint64) error {
	if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit}); err != nil {
		return fmt.Errorf("limiting resource %d: %w", resource, err)
	}
	return nil
}
