package confine

import "golang.org/x/sys/unix"

const (
	nativeArch   = unix.AUDIT_ARCH_AARCH64
	foreignCalls = 0x40000000 // there are none
)

// forkCalls are the system calls that make nothing but processes: this architecture has only clone.
func forkCalls() []uint32 { return nil }
