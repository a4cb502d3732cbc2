package plugins

import (
	"runtime"
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
