package confine

import "golang.org/x/sys/unix"

const (
	nativeArch   = unix.AUDIT_ARCH_X86_64
	foreignCalls = 0x40000000 // the x32 numbering begins here
)

// forkCalls are the system calls that make nothing but processes.
func forkCalls() []uint32 { return []uint32{unix.SYS_FORK, unix.SYS_VFORK} }
