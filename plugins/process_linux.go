package plugins

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/pointsman/pointsman/plugins/confine"
)

// command makes the command of a process: the gateway's own binary, as the built-in adapters or as the shim that
// becomes a third-party plugin. /proc/self/exe stays the running binary even when the file was replaced by an upgrade.
// The file returned, if any, must stay open until the start.
func command(name string, plugin *Plugin, program *program, dir string) (*exec.Cmd, *os.File, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL, // also survives an exec
		// A session of its own: the terminal's Ctrl-C is the gateway's business, the group ends together, and a kernel with autogroups
		// shares the processors out by session, so that a plugin with many threads gets no more than one with few.
		Setsid: true,
	}
	if plugin == nil {
		cmd.Args = []string{"pointsman-providers"}
		cmd.Env = runtimeHints(defaultMemoryMB)
		return cmd, nil, nil
	}
	executable, script, err := program.open(plugin)
	if err != nil {
		return nil, nil, err
	}
	memory := plugin.MemoryMB
	if memory == 0 {
		memory = defaultMemoryMB
	}
	readPaths := slices.Clone(plugin.ReadPaths)
	if script {
		readPaths = append(readPaths, filepath.Dir(plugin.Path)) // its modules
	}
	limits, err := confine.Limits{
		Files: maxOpenFiles, DataBytes: uint64(memory) << 20, Script: script, Processes: plugin.Processes, Landlock: !plugin.Unconfined,
		ReadPaths: readPaths, WritePaths: append(slices.Clone(plugin.WritePaths), dir),
	}.Encode()
	if err != nil {
		_ = executable.Close()
		return nil, nil, err
	}
	cmd.Args = append([]string{"pointsman-plugin-" + name}, plugin.Args...)
	cmd.Env = append(runtimeHints(memory), searchPath, limits)
	cmd.Env = append(cmd.Env, allowedEnv(plugin.Env)...) // the last of a name counts: the operator's
	cmd.ExtraFiles = []*os.File{executable}              // descriptor confine.FileDescriptor
	return cmd, executable, nil
}

// runtimeHints are what a Go plugin's runtime reads: it collects its garbage before the limit stops it, and else seldom, as its
// heap is small; and it has half the processors, for what it does is wait, and waking an idle processor costs more than it
// brings.
func runtimeHints(memoryMB int) []string {
	return []string{
		fmt.Sprintf("GOMEMLIMIT=%dMiB", memoryMB*3/4), "GOGC=400", fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.NumCPU()/2)),
	}
}

// program is the sealed copy of a plugin's executable, kept for its restarts: reading and hashing a large file each time would take the
// processor from the requests that the others serve. It takes no memory beside that of the process that runs it. The zero value
// has none yet. It belongs to one goroutine.
type program struct{ sealed *os.File }

// open returns a descriptor of the checked executable, which the caller closes.
func (p *program) open(plugin *Plugin) (executable *os.File, script bool, err error) {
	if p.sealed == nil {
		if executable, script, err = openChecked(plugin); err != nil || script {
			return executable, script, err
		}
		p.sealed = executable
	}
	fd, err := unix.FcntlInt(p.sealed.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, false, fmt.Errorf("opening the executable: %w", err)
	}
	return os.NewFile(uintptr(fd), p.sealed.Name()), false, nil
}

// close lets go of the copy.
func (p *program) close() {
	if p.sealed != nil {
		_ = p.sealed.Close() // it was read only
		p.sealed = nil
	}
}

// openChecked returns a descriptor of the very bytes whose checksum was compared. A program is copied into sealed
// memory, so that overwriting the file between the check and the start changes nothing. A script is given as its file,
// for interpreters find its neighbours by the file's name; it is safe from replacement, not from overwriting.
func openChecked(plugin *Plugin) (_ *os.File, script bool, err error) {
	file, err := os.Open(plugin.Path)
	if err != nil {
		return nil, false, fmt.Errorf("opening the executable: %w", err)
	}
	keep := false
	defer func() {
		if !keep {
			_ = file.Close()
		}
	}()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("opening the executable: %s is not a regular file", plugin.Path)
	}
	first := make([]byte, 2)
	if _, err := file.ReadAt(first, 0); err == nil && bytes.Equal(first, []byte("#!")) {
		keep = true
		if err := checksum(file, io.Discard, plugin); err != nil {
			keep = false
			return nil, false, err
		}
		return file, true, nil
	}
	memory, err := sealable()
	if err != nil {
		return nil, false, err
	}
	if err := checksum(file, memory, plugin); err != nil {
		_ = memory.Close()
		return nil, false, err
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(memory.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		_ = memory.Close()
		return nil, false, fmt.Errorf("sealing the executable: %w", err)
	}
	return memory, false, nil
}

func checksum(file io.Reader, copyTo io.Writer, plugin *Plugin) error {
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(hash, copyTo), file); err != nil {
		return fmt.Errorf("reading the executable: %w", err)
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); !strings.EqualFold(sum, plugin.SHA256) {
		return fmt.Errorf("the checksum of %s is %s, not the configured %s", plugin.Path, sum, plugin.SHA256)
	}
	return nil
}

func sealable() (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("pointsman-plugin", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // kernels before 6.3 do not know MFD_EXEC and need none
		fd, err = unix.MemfdCreate("pointsman-plugin", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("making memory for the executable: %w", err)
	}
	return os.NewFile(uintptr(fd), "pointsman-plugin"), nil
}

// reap waits for the process and returns how it ended; meanwhile it notes that the process was stopped. The group is killed while the
// dead process still holds the number, so that children of the plugin end with it and no other process can be hit.
func (p *process) reap() error {
	const childStopped = 5 // CLD_STOPPED of siginfo_t
	stop := sync.OnceFunc(func() { close(p.stopped) })
	for {
		var what unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.pid, &what, unix.WEXITED|unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil && what.Code == childStopped {
			stop()
			_ = unix.Waitid(unix.P_PID, p.pid, nil, unix.WSTOPPED|unix.WNOHANG, nil) // so that it is not told again
		} else if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	p.mu.Lock()
	killGroup(p.cmd.Process)
	p.reaped = true
	p.mu.Unlock()
	return p.cmd.Wait()
}

// killGroup ends the process and those it started.
func killGroup(p *os.Process) { _ = unix.Kill(-p.Pid, unix.SIGKILL) }
