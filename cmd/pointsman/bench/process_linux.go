package bench

import "syscall"

// childAttributes puts a process into a group of its own, so that Ctrl-C reaches it through this process only, and lets
// the kernel end it when this process dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
