package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// forbidDumps keeps what is in this process's memory in it: it leaves no core file, nor do the processes it starts, and other
// processes of its user can neither attach to it nor read its memory and environment. Root can.
func forbidDumps() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core files: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("closing the process to others: %w", err)
	}
	return nil
}

// forbidInheritedDumps closes the process of the built-in adapters, through which keys pass, if the gateway that started it is
// closed: the limit on core files is inherited, and the rest is not.
func forbidInheritedDumps() {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err == nil && limit.Max == 0 {
		_ = forbidDumps() // the gateway has said if it cannot
	}
}
