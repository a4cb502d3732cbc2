//go:build !unix

package providertest

import (
	"os"
	"os/exec"
)

// ownGroup does nothing: there are no process groups.
func ownGroup(*exec.Cmd) {}

// killGroup ends the process.
func killGroup(p *os.Process) bool {
	_ = p.Kill()
	return false
}

// interrupt returns false: it cannot be sent to one process.
func interrupt(*os.Process) bool { return false }
