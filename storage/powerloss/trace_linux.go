package powerloss

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched are the calls that a tracer stops at.
var watched = []uint32{
	unix.SYS_OPENAT, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2,
	unix.SYS_UNLINKAT, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MSYNC, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
}

// Watched makes this process stop at the calls that [Record] wants to see. A child calls it before it works; without a tracer
// these calls fail from then on. It uses a filter for seccomp, so that all other calls go on at full speed. There are no queues of orders to
// the kernel (io_setup) any more: who would use one makes the calls that are watched.
func Watched() error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	}
	for i, nr := range watched {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(watched) - i), K: nr})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_TRACE})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("giving up privileges: %w", err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("filtering calls: %w", errno)
	}
	return nil
}

// tracer runs a process and stops it at the watched calls. It belongs to one thread.
type tracer struct {
	pid  int
	stop func(tid int, c *call) error // at the beginning of a call; it may let it finish
}

// call is a system call at which a thread has stopped.
type call struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	IP   uint64
	SP   uint64
	Nr   uint64 // at the end of the call: its result
	Args [6]uint64
	_    uint64
}

// start runs the command up to its first instruction.
func (x *tracer) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Ptrace = true
	if err := cmd.Start(); err != nil {
		return err
	}
	x.pid = cmd.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(x.pid, &status, unix.WALL, nil); err != nil {
		return fmt.Errorf("waiting for the process: %w", err)
	}
	if !status.Stopped() {
		return fmt.Errorf("the process ended with %d before it began", status)
	}
	return unix.PtraceSetOptions(x.pid, unix.PTRACE_O_EXITKILL|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_TRACESECCOMP|unix.PTRACE_O_TRACESYSGOOD)
}

// run lets the process work until it has ended, and returns how.
func (x *tracer) run() (status unix.WaitStatus, err error) {
	if err := unix.PtraceCont(x.pid, 0); err != nil {
		return 0, err
	}
	for {
		tid, err := wait(-1, &status)
		switch {
		case err != nil:
			return 0, fmt.Errorf("waiting for the process: %w", err)
		case !status.Stopped():
			if tid == x.pid { // it is the last of the threads
				return status, nil
			}
			continue
		case status.StopSignal() == unix.SIGTRAP && int(status)>>16 == unix.PTRACE_EVENT_SECCOMP:
			var c call
			if err = x.info(tid, &c); err == nil {
				err = x.stop(tid, &c)
			}
			if err == nil {
				err = unix.PtraceCont(tid, 0)
			}
		default:
			err = unix.PtraceCont(tid, passed(status))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) { // it is killed
			return 0, err
		}
	}
}

// finish lets the call under way end, and returns its result.
func (x *tracer) finish(tid int) (result int64, err error) {
	for signal := 0; ; {
		if err := unix.PtraceSyscall(tid, signal); err != nil {
			return 0, err
		}
		var status unix.WaitStatus
		if err := x.await(tid, &status); err != nil {
			return 0, err
		}
		if !status.Stopped() {
			return 0, unix.ESRCH
		}
		if status.StopSignal() == unix.SIGTRAP|0x80 {
			var c call
			if err := x.info(tid, &c); err != nil {
				return 0, err
			}
			if c.Op == unix.PTRACE_SYSCALL_INFO_EXIT {
				return int64(c.Nr), nil
			}
		}
		signal = passed(status)
	}
}

// await waits for one thread. The end of the first one is told after those of all others, for which nobody would ask meanwhile: so that one is asked
// again and again, and its process looked at.
func (x *tracer) await(tid int, status *unix.WaitStatus) error {
	if tid != x.pid {
		_, err := wait(tid, status)
		return err
	}
	for pause := 20 * time.Microsecond; ; pause = min(2*pause, time.Millisecond) {
		got, err := unix.Wait4(tid, status, unix.WALL|unix.WNOTHREAD|unix.WNOHANG, nil)
		switch {
		case got > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case pause == time.Millisecond && x.over():
			return unix.ESRCH
		}
		time.Sleep(pause)
	}
}

// over tells that the process has ended, though nobody has taken note of that.
func (x *tracer) over() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.pid))
	_, state, found := bytes.Cut(text, []byte(") ")) // behind its name
	return err == nil && found && state[0] == 'Z'
}

// passed is the signal that a stopped thread is to have; those of the tracing are none.
func passed(status unix.WaitStatus) int {
	switch s := status.StopSignal(); s {
	case unix.SIGTRAP, unix.SIGTRAP | 0x80, unix.SIGSTOP:
		return 0
	default:
		return int(s)
	}
}

// wait is wait4 for the threads that this one traces, so that nobody else's children are reaped.
func wait(tid int, status *unix.WaitStatus) (int, error) {
	for {
		got, err := unix.Wait4(tid, status, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return got, err
		}
	}
}

// info says at which call a thread has stopped.
func (x *tracer) info(tid int, c *call) error {
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(*c), uintptr(unsafe.Pointer(c)), 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// memory reads bytes of the process.
func (x *tracer) memory(at uint64, size int) ([]byte, error) {
	b := make([]byte, size)
	if size == 0 {
		return b, nil
	}
	local, remote := []unix.Iovec{{Base: &b[0]}}, []unix.RemoteIovec{{Base: uintptr(at), Len: size}}
	local[0].SetLen(size)
	n, err := unix.ProcessVMReadv(x.pid, local, remote, 0)
	return b[:max(n, 0)], err
}

// text reads a string that ends with a zero.
func (x *tracer) text(at uint64) (string, error) {
	var all []byte
	for {
		b, err := x.memory(at, pageSize-int(at%pageSize)) // the next page may not be there
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(b, 0); end >= 0 {
			return string(append(all, b[:end]...)), nil
		}
		all, at = append(all, b...), at+uint64(len(b))
	}
}

// path is that of an open file of the process.
func (x *tracer) path(fd uint64) (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", x.pid, int32(fd)))
}

// flags are those that a file was opened with.
func (x *tracer) flags(fd uint64) (flags int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", x.pid, int32(fd)))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(text, []byte("flags:"))
	_, err = fmt.Sscanf(string(rest), "%o", &flags)
	return flags, err
}

// mapped is the file that is mapped at an address, and where in the file that is.
func (x *tracer) mapped(at uint64) (path string, offset int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", x.pid))
	if err != nil {
		return "", 0, err
	}
	if len(maps) == 0 { // it is killed
		return "", 0, unix.ESRCH
	}
	for line := range bytes.Lines(maps) {
		var from, to, begin, inode uint64
		var mode, device string
		if _, err := fmt.Sscanf(string(line), "%x-%x %s %x %s %d", &from, &to, &mode, &begin, &device, &inode); err != nil {
			return "", 0, fmt.Errorf("reading %q: %w", line, err)
		}
		if from <= at && at < to {
			slash := bytes.IndexByte(line, '/')
			if slash < 0 {
				return "", 0, fmt.Errorf("no file is mapped at %x", at)
			}
			return string(bytes.TrimSpace(line[slash:])), int64(begin + at - from), nil
		}
	}
	return "", 0, fmt.Errorf("nothing is mapped at %x", at)
}
