// Package confine starts a third-party provider plugin inside limits. The gateway starts its own binary once more as a
// shim, which sets the limits on itself and then becomes the plugin, so that the plugin runs no instruction without
// them. A plugin has no capabilities, whoever runs the gateway. On systems other than Linux there is no shim and there are no limits.
package confine

import (
	"encoding/json"
	"fmt"
	"os"
)

// EnvKey is the environment variable that makes a process the shim; it holds the [Limits] and does not reach the plugin.
const EnvKey = "POINTSMAN_PLUGIN_SHIM"

// FileDescriptor is the descriptor under which the shim finds the plugin's executable.
const FileDescriptor = 3

// Limits bound a plugin process.
type Limits struct {
	Files     uint64 `json:"files"`      // open descriptors
	DataBytes uint64 `json:"data_bytes"` // writable private memory; reserved address space does not count
	// Script says that the executable is a script, whose interpreter reads it through the descriptor.
	Script bool `json:"script,omitempty"`
	// Processes lets the plugin start others. Otherwise it has threads only, where the kernel can tell.
	Processes bool `json:"processes,omitempty"`
	// Landlock closes the file system but for the system's own directories, ReadPaths and WritePaths, and keeps the
	// process from looking into others or sending them signals, as far as the kernel can.
	Landlock   bool     `json:"landlock,omitempty"`
	ReadPaths  []string `json:"read_paths,omitempty"`
	WritePaths []string `json:"write_paths,omitempty"`
}

// Encode returns the environment entry for the shim.
func (l Limits) Encode() (string, error) {
	text, err := json.Marshal(l)
	if err != nil {
		return "", fmt.Errorf("encoding plugin limits: %w", err)
	}
	return EnvKey + "=" + string(text), nil
}

// IsShim reports whether this process was started as the shim.
func IsShim() bool { return os.Getenv(EnvKey) != "" }

// Run sets the limits and becomes the plugin. It returns only on failure.
func Run() error {
	var l Limits
	if err := json.Unmarshal([]byte(os.Getenv(EnvKey)), &l); err != nil {
		return fmt.Errorf("reading plugin limits: %w", err)
	}
	if err := os.Unsetenv(EnvKey); err != nil {
		return fmt.Errorf("reading plugin limits: %w", err)
	}
	return become(l)
}
