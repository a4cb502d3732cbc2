//go:build linux && (amd64 || arm64)

package confine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offsetNumber   = 0
	offsetArch     = 4
	offsetArgument = 16 // the low half of the first argument
)

// noProcesses keeps the thread, and what it becomes, from making processes; threads it may make. That ends fork bombs and
// orphans together. A kernel without seccomp is no error.
func noProcesses() error {
	refuse := func(errno unix.Errno) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)}
	}
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// jump skips no instruction if the comparison holds, else one.
	jump := func(compare uint16, value uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | compare | unix.BPF_K, Jf: 1, K: value}
	}
	filter := []unix.SockFilter{
		load(offsetArch),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: nativeArch},
		refuse(unix.EPERM), // another numbering of system calls would be a way around
		load(offsetNumber),
	}
	for _, number := range forkCalls() {
		filter = append(filter, jump(unix.BPF_JEQ, number), refuse(unix.EPERM))
	}
	filter = append(filter,
		jump(unix.BPF_JGE, foreignCalls), refuse(unix.EPERM),
		jump(unix.BPF_JEQ, unix.SYS_CLONE3), refuse(unix.ENOSYS), // its flags cannot be seen; libraries then use clone
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: unix.SYS_CLONE},
		load(offsetArgument),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 1, K: unix.CLONE_THREAD},
		refuse(unix.EPERM),
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("forbidding processes: %w", err)
	}
	return nil
}
