package policies

import (
	"context"
	"runtime"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// largeMemory is from when on a guest's memory comes in pages of 2 MiB, if the system has them: one that touches all it has would wait
// longer for pages of 4 KiB than it may run.
const largeMemory = 4 << 20

// withMemory lets guests that are started with this context have their memory outside the heap: it grows where it is, takes little more
// than what was touched, and is the system's again when the instance ends, not when the collector comes by. In the heap each step of
// its growth would leave a copy behind, and each instance that failed all it had.
func withMemory(ctx context.Context) context.Context {
	return experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(reserve))
}

// mapping is a guest's memory: an address range of the most that it may have, of which the beginning can be used.
type mapping struct {
	all     []byte
	usable  int
	forgone runtime.Cleanup // gives it back if the guest was never closed, as one that could not be started
}

func reserve(first, most uint64) experimental.LinearMemory {
	all, err := unix.Mmap(-1, 0, int(max(most, 1)), unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return &heapMemory{} // no address range is free: slower, and as good
	}
	m := &mapping{all: all}
	m.forgone = runtime.AddCleanup(m, unmap, all)
	if m.Reallocate(first) == nil { // a guest could be told later, not that it has nothing to begin with
		m.Free()
		return &heapMemory{}
	}
	return m
}

func unmap(all []byte) {
	_ = unix.Munmap(all) // it fails for what is no mapping alone
}

// Reallocate makes that many bytes usable, without moving those that are; nil if the system has no more.
func (m *mapping) Reallocate(size uint64) []byte {
	if n := int(size); n > m.usable {
		if err := unix.Mprotect(m.all[:n], unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return nil
		}
		if n >= largeMemory && m.usable < largeMemory {
			_ = unix.Madvise(m.all, unix.MADV_HUGEPAGE) // without it is slower, and as good
		}
		m.usable = n
	}
	return m.all[:size:size]
}

// Free ends its use.
func (m *mapping) Free() {
	m.forgone.Stop()
	unmap(m.all)
	m.all = nil
}

// heapMemory is memory of the heap.
type heapMemory struct{ bytes []byte }

func (m *heapMemory) Reallocate(size uint64) []byte {
	m.bytes = append(m.bytes, make([]byte, size-uint64(len(m.bytes)))...)
	return m.bytes
}

func (m *heapMemory) Free() { m.bytes = nil }
