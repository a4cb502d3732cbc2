//go:build unix

package providertest

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup makes the process the first of a group, so that what it starts can be found.
func ownGroup(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = !cmd.SysProcAttr.Setsid // who leads a session leads a group
}

// killGroup ends all processes of the group and tells whether there were any beside a first that has ended.
func killGroup(p *os.Process) bool { return syscall.Kill(-p.Pid, syscall.SIGKILL) == nil }

// interrupt does what Ctrl-C in a terminal does. It returns false where that cannot be done.
func interrupt(p *os.Process) bool { return p.Signal(os.Interrupt) == nil }
