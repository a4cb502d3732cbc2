package plugins

import (
	"crypto/rand"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hang takes all processors of the runtime for a minute, in system calls that it does not know of and does not interrupt.
func hang() {
	all := unix.Sigset_t{}
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	minute := unix.Timespec{Sec: 60}
	for range runtime.GOMAXPROCS(0) {
		go func() {
			runtime.LockOSThread()
			_ = unix.PthreadSigmask(unix.SIG_BLOCK, &all, nil)
			_, _, _ = syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&minute)), 0, 0)
		}()
	}
}

// garble writes random bytes into all connections of the process, in between what gRPC writes, and to its output.
func garble() error {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	junk := make([]byte, 64<<10)
	_, _ = rand.Read(junk)
	for _, entry := range open {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil {
			return err
		}
		if _, err := unix.Getpeername(fd); err == nil || fd == 1 {
			_, _ = unix.Write(fd, junk)
		}
	}
	return nil
}
