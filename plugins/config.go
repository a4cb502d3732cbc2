// Package plugins runs provider adapters in processes of their own: the built-in ones in one process, which is the
// gateway's binary started once more, and each third-party plugin in another. A process that dies or hangs is
// restarted; calls meanwhile fail at once with [provider.ErrUnavailable], so that the engine tries another candidate.
//
// A plugin sees no variable of the gateway's environment that the operator did not name, holds no credential but that
// of the call it performs, and on Linux can neither read the gateway's files nor outlive it.
package plugins

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// BuiltinName is the name of the built-in process in [Status].
const BuiltinName = "builtin"

const (
	defaultStartTimeout = 5 * time.Second
	defaultMemoryMB     = 2048
	maxOpenFiles        = 4096
)

// Config says which plugins to run. It creates nothing.
type Config struct {
	// Builtin starts the process of the built-in adapters. The binary's main must then begin with
	// `if builtin.IsProcess() { builtin.Serve(); return }`, and so it must for third-party plugins on Linux.
	Builtin bool
	// Plugins are the third-party plugins by name ([a-z0-9-]{1,32}, not "builtin").
	Plugins map[string]Plugin
	// Dir is where the private directory for sockets is made; "" means the system's directory for temporary files.
	Dir string
	// StartTimeout bounds the time from the start of a process to its first answer; 0 means 5 s.
	StartTimeout time.Duration
	// Logger receives what happens to plugins and what they print on standard error; nil means slog.Default().
	Logger *slog.Logger
}

// Plugin is one third-party plugin.
type Plugin struct {
	Path   string   // absolute path of the executable
	SHA256 string   // its checksum in hexadecimal; what is executed is what was checked
	Args   []string // arguments
	Env    []string // names of the variables of the gateway's environment that it gets; none by default
	// MemoryMB bounds its writable memory in MiB; 0 means 2048. Linux only.
	MemoryMB int
	// ReadPaths and WritePaths are the files and directories it may use besides the system's own. Linux only.
	ReadPaths, WritePaths []string
	// Processes lets it start processes of its own, which end with it. Otherwise it has threads only. Linux only.
	Processes bool
	// PlainSocket leaves out mutual TLS on its socket, for languages whose SDK cannot do it. The socket is in a
	// directory of mode 0700 and disappears once the gateway has connected.
	PlainSocket bool
	// Unconfined leaves the file system open to it. The other limits stay.
	Unconfined bool
}

// Validate says what is wrong with the configuration, naming the plugin and the field.
func (c Config) Validate() error {
	valid := regexp.MustCompile(`^[a-z0-9-]{1,32}$`)
	var errs []error
	for name, plugin := range c.Plugins {
		if !valid.MatchString(name) || name == BuiltinName {
			errs = append(errs, fmt.Errorf("plugin %q: the name must match [a-z0-9-]{1,32} and not be %q", name, BuiltinName))
		}
		if err := plugin.validate(); err != nil {
			errs = append(errs, fmt.Errorf("plugin %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (p Plugin) validate() error {
	if !filepath.IsAbs(p.Path) {
		return fmt.Errorf("path: %q is not absolute", p.Path)
	}
	if p.SHA256 == "" {
		return errors.New("sha256: missing; `sha256sum` of the executable you trust")
	}
	if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != 32 {
		return errors.New("sha256: not 64 hexadecimal digits")
	}
	if p.MemoryMB < 0 {
		return fmt.Errorf("memory_mb: %d is negative", p.MemoryMB)
	}
	return nil
}

func (c Config) withDefaults() Config {
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.Dir == "" {
		c.Dir = os.TempDir()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
