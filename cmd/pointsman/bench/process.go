package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 2 * time.Minute  // for a process to say where it listens
	proofLimit = 15 * time.Minute // for a gateway to prove a ledger of a million accounts beside its other work
	stopLimit  = 10 * time.Second // after SIGTERM, before it is killed
)

// process is one process of the run, known by where it listens.
type process struct {
	cmd     *exec.Cmd
	cancel  context.CancelFunc
	ended   chan struct{}
	output  *output // what it wrote
	address string  // http://host:port
	admin   string  // of a gateway: where its admin API is
	key     string  // bearer key for requests, "" if it wants none
	shape   shape   // of requests to it
}

// launch starts the binary. It is ended by stop, when ctx ends, and on Linux also when this process dies.
func launch(ctx context.Context, binary string, env []string, args ...string) (*process, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &process{cancel: cancel, ended: make(chan struct{}), output: &output{grown: make(chan struct{}, 1)}}
	p.cmd = exec.CommandContext(ctx, binary, args...)
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopLimit
	p.cmd.SysProcAttr = childAttributes()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Linux ends the process with the thread that started it
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() //nolint:errcheck // ended by a signal, as a rule; what went wrong is in its output
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		cancel()
		return nil, fmt.Errorf("starting %s: %w", strings.Join(args, " "), err)
	}
	return p, nil
}

// startPart starts the upstream or the bare proxy.
func startPart(ctx context.Context, binary, part, upstream string) (*process, error) {
	p, err := launch(ctx, binary, environment(), "bench", "--part", part, "--upstream", upstream)
	if err != nil {
		return nil, err
	}
	found, err := p.await(ctx, partAddress)
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("starting the %s: %w%s", part, err, p.output.excerpt())
	}
	p.address = found[1]
	return p, nil
}

var partAddress = regexp.MustCompile(`(?m)^(http://\S+)$`)

// await waits until the process has written what the pattern matches, and returns the groups.
func (p *process) await(ctx context.Context, pattern *regexp.Regexp) ([]string, error) {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	for {
		if found := pattern.FindStringSubmatch(p.output.String()); found != nil {
			return found, nil
		}
		select {
		case <-p.output.grown:
		case <-p.ended:
			return nil, errors.New("the process ended")
		case <-limit.C:
			return nil, fmt.Errorf("the process did not come up within %s", startLimit)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// stop ends the process and returns when it is gone.
func (p *process) stop() {
	p.cancel()
	<-p.ended
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) hostPort() string { return strings.TrimPrefix(p.address, "http://") }

// environment is what the processes see of this one's environment: no provider keys, no settings of another gateway.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// output keeps the beginning of what a process writes.
type output struct {
	grown chan struct{}
	mu    sync.Mutex
	text  []byte
}

const maxOutput = 64 << 10

// Write keeps p as far as there is room; it never fails, so that the process can go on writing.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.text = append(o.text, p[:min(len(p), maxOutput-len(o.text))]...)
	o.mu.Unlock()
	select {
	case o.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

// String is what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text)
}

// excerpt is the end of what was written, for an error message; "" if that is nothing.
func (o *output) excerpt() string {
	text := strings.TrimSpace(o.String())
	if text == "" {
		return ""
	}
	return "; it wrote:\n" + text[max(0, len(text)-2000):]
}
