//go:build !linux

package plugins

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// command makes the command of a process. Here the checksum is compared just before the start: a file replaced in
// between is not noticed, and there are no limits.
func command(name string, plugin *Plugin, _ *program, _ string) (*exec.Cmd, *os.File, error) {
	if plugin == nil {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, fmt.Errorf("finding the gateway's binary: %w", err)
		}
		cmd := exec.Command(self)
		cmd.Env = []string{searchPath}
		return cmd, nil, nil
	}
	data, err := os.ReadFile(plugin.Path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the executable: %w", err)
	}
	hash := sha256.Sum256(data)
	if sum := hex.EncodeToString(hash[:]); !strings.EqualFold(sum, plugin.SHA256) {
		return nil, nil, fmt.Errorf("the checksum of %s is %s, not the configured %s", plugin.Path, sum, plugin.SHA256)
	}
	cmd := exec.Command(plugin.Path, plugin.Args...)
	cmd.Args[0] = "pointsman-plugin-" + name
	cmd.Env = append(allowedEnv(plugin.Env), searchPath)
	return cmd, nil, nil
}

// program is what is kept of an executable between starts: here nothing.
type program struct{}

func (*program) close() {}

// reap waits for the process and returns how it ended.
func (p *process) reap() error {
	err := p.cmd.Wait()
	p.mu.Lock()
	p.reaped = true
	p.mu.Unlock()
	return err
}

// killGroup ends the process.
func killGroup(p *os.Process) { _ = p.Kill() }
