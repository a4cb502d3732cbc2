package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pointsman/pointsman/sdk/provider/rpc"
)

// process is the operating system's side of an instance. It implements go-plugin's runner.Runner, whose own
// implementation leaves orphans, inherits the terminal's process group and reads unlimited logs.
type process struct {
	name     string
	dir      string // where its socket must be; set by prepare
	launcher *launcher
	log      *logWriter
	pid      int           // set by Start
	exited   chan struct{} // closed when the process has ended
	stopped  chan struct{} // closed when it was stopped by a signal, where the system tells

	cmd        *exec.Cmd
	executable *os.File  // to be closed after the start
	stdin      io.Closer // ours; the plugin ends when it closes, as it does when we die
	stdout     *os.File

	mu       sync.Mutex
	started  bool
	killed   bool // kill was called
	reaped   bool // its id may belong to another process
	notHello bool // its first line was not the handshake
	err      error
}

func newProcess(p *supervised) *process {
	return &process{
		name: p.name, launcher: p.host.launcher, log: newLogWriter(p.logger), exited: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// prepare makes the command; env is what go-plugin tells the process, dir where its socket must be.
func (p *process) prepare(of *supervised, env []string, dir string) error {
	p.dir = dir
	cmd, executable, err := command(of.name, of.plugin, &of.program, dir)
	if err != nil {
		return err
	}
	p.executable = executable
	cmd.Env = append(cmd.Env, env...)
	cmd.Env = append(cmd.Env, rpc.WatchKey+"=stdin")
	cmd.Stderr = p.log
	cmd.WaitDelay = time.Second // a child of the plugin that kept its standard error must not hold us up
	p.cmd = cmd
	return nil
}

// Start starts the process.
func (p *process) Start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.executable != nil {
		defer func() { _ = p.executable.Close() }()
	}
	if p.killed {
		return errors.New("the start was cancelled")
	}
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making its standard output: %w", err)
	}
	defer func() { _ = in.Close() }()
	p.stdout, p.cmd.Stdout = out, in
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		_ = out.Close()
		return fmt.Errorf("making its standard input: %w", err)
	}
	if err := p.launcher.start(p.cmd); err != nil {
		_ = out.Close()
		return fmt.Errorf("starting the process: %w", err)
	}
	p.started, p.pid = true, p.cmd.Process.Pid
	go p.await()
	return nil
}

func (p *process) await() {
	err := p.reap()
	p.log.flush()
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.exited)
	// go-plugin reads standard output to its end, which a child that left the group could put off for ever.
	time.AfterFunc(time.Second, func() { _ = p.stdout.Close() })
}

// kill ends the process group at once, or keeps the process from being started.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.started && !p.reaped {
		killGroup(p.cmd.Process)
	}
}

// hangUp ends its standard input, which every plugin takes for the end of the gateway.
func (p *process) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		_ = p.stdin.Close()
	}
}

// reason says how the process ended.
func (p *process) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// explain says in an operator's words why a start failed.
func (p *process) explain(ctx context.Context, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil && !errors.Is(ctxErr, context.DeadlineExceeded) {
		return ctxErr
	}
	if p.ID() == "" {
		return err
	}
	select {
	case <-p.exited: // only then has all it said been read
	case <-time.After(100 * time.Millisecond):
	}
	if ctx.Err() != nil {
		err = errors.New("no answer within the start timeout")
	} else if p.failedHandshake() {
		// go-plugin adds lines of advice that do not fit a gateway
		line, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "Unrecognized remote plugin message: "), "\n")
		said := fmt.Sprintf("it ended without the handshake line (%v)", p.reason())
		if line != "" {
			said = fmt.Sprintf("it printed %.100q instead of the handshake line", line)
		}
		err = errors.New(said + "; is it a provider plugin?")
	}
	if last := p.log.lastLine(); last != "" {
		return fmt.Errorf("%w (its last words: %.300q)", err, last)
	}
	return err
}

func (p *process) failedHandshake() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.notHello
}

// Wait waits for the end of the process.
func (p *process) Wait(context.Context) error {
	<-p.exited
	return p.reason()
}

// Kill ends the process at once.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

// Stdout returns what carries the handshake.
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr returns nothing: the log takes the standard error.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name returns the plugin's name.
func (p *process) Name() string { return p.name }

// ID returns the process id, "" before the start.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started {
		return ""
	}
	return fmt.Sprint(p.pid)
}

// Diagnose is called when the first line is not the handshake.
func (p *process) Diagnose(context.Context) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.notHello = true
	return ""
}

// PluginToHost refuses an address other than a unix socket in the plugin's own directory.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	inside, err := filepath.Rel(p.dir, address)
	if network != "unix" || err != nil || !filepath.IsLocal(inside) {
		return "", "", fmt.Errorf("it listens on %.10q %.100q, not on a unix socket in PLUGIN_UNIX_SOCKET_DIR", network, address)
	}
	return network, address, nil
}

// HostToPlugin changes nothing.
func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
