package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/pointsman/pointsman/cmd/pointsman/project"
	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/plugins"
)

type pluginCmd struct {
	New   pluginNew   `cmd:"" help:"Make a project: a plugin that works, and how to build and check it."`
	Check pluginCheck `cmd:"" help:"Run the conformance kit on a plugin, started as a gateway would."`
	Run   pluginRun   `cmd:"" help:"Let a plugin do one operation, and print what it answers."`
	Hash  pluginHash  `cmd:"" help:"Print the configuration of a plugin, with its checksum."`
	List  pluginList  `cmd:"" help:"List the plugins of a running gateway, or of a configuration file."`
}

// pluginFlags say which plugin a command is about, and what it may do.
type pluginFlags struct {
	Program    string   `arg:"" help:"An executable, or with --config the name of a plugin there."`
	Args       []string `arg:"" optional:"" help:"Its arguments; after -- if they begin with a hyphen."`
	Config     string   `help:"Configuration file whose plugin it is." type:"existingfile" env:"POINTSMAN_CONFIG"`
	Env        []string `help:"Variables of the environment that it gets." sep:","`
	ReadPath   []string `help:"What it may read beside the system's directories." type:"path"`
	WritePath  []string `help:"What it may write." type:"path"`
	MemoryMB   int      `name:"memory-mb" help:"Limit of its memory in MiB. Default: a gateway's."`
	Processes  bool     `help:"It may start processes of its own."`
	NoMTLS     bool     `name:"no-mtls" help:"Without mutual TLS on its socket, as mtls = false."`
	Unconfined bool     `help:"The whole file system is open to it."`
}

// open finds the plugin.
func (f pluginFlags) open() (name string, plugin plugins.Plugin, err error) {
	if f.Config != "" {
		cfg, err := loadConfig(f.Config)
		if err != nil {
			return "", plugin, err
		}
		if plugin, ok := pluginEntries(cfg)[f.Program]; ok {
			return f.Program, plugin, nil
		}
	}
	path, err := filepath.Abs(f.Program)
	if err != nil {
		return "", plugin, err
	}
	sum, err := fileSum(path)
	if errors.Is(err, os.ErrNotExist) && f.Config != "" {
		return "", plugin, fmt.Errorf("%s has no plugin %q, and there is no such file", f.Config, f.Program)
	}
	if err != nil {
		return "", plugin, err
	}
	return pluginName(path), plugins.Plugin{
		Path: path, SHA256: sum, Args: f.Args, Env: f.Env, MemoryMB: f.MemoryMB, ReadPaths: f.ReadPath, WritePaths: f.WritePath,
		Processes: f.Processes, PlainSocket: f.NoMTLS, Unconfined: f.Unconfined,
	}, nil
}

// pluginName makes a plugin's name of its file's, or of its directory's if the file has the name every project's has.
func pluginName(path string) string {
	base := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	if base == "plugin" || base == "main" {
		base = filepath.Base(filepath.Dir(path))
	}
	name := regexp.MustCompile(`[^a-z0-9-]+`).ReplaceAllString(strings.ToLower(base), "-")
	if name = strings.Trim(name[:min(len(name), 32)], "-"); name == "" || name == plugins.BuiltinName {
		return "plugin"
	}
	return name
}

func fileSum(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

type pluginHash struct {
	Program string `arg:"" help:"The executable." type:"existingfile"`
}

// Run prints the table for the configuration file.
func (p *pluginHash) Run(term terminal) error {
	name, plugin, err := pluginFlags{Program: p.Program}.open()
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "[plugins.%s]\npath = %q\nsha256 = %q\n", name, plugin.Path, plugin.SHA256)
	return nil
}

type pluginNew struct {
	Name string `arg:"" help:"Name of the adapter, and of the directory unless --dir is given: lower-case letters, digits, hyphens."`
	Lang string `help:"Language: go, python, node." default:"go"`
	Dir  string `help:"Directory to make." type:"path"`
}

// Run makes the project and says what comes next.
func (n *pluginNew) Run(term terminal) error {
	dir := n.Dir
	if dir == "" {
		dir = n.Name
	}
	p, err := project.NewPlugin(dir, n.Lang, n.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: a provider plugin in %s\n\n  cd %[1]s\n", dir, n.Lang)
	for _, step := range p.Steps {
		fmt.Fprintf(term.out, "  %s\n", strings.Join(step, " "))
	}
	fmt.Fprintf(term.out, "  pointsman plugin check ./%s\n  pointsman plugin hash ./%[1]s\n", p.Program)
	return nil
}

type pluginList struct {
	adminFlags
	Config string `help:"List the plugins of this file, and whether each is the one it names; no gateway is needed." type:"existingfile"`
	JSON   bool   `name:"json" help:"Print the list as JSON."`
}

// Run lists the plugins.
func (l *pluginList) Run(term terminal) error {
	if l.Config != "" {
		return l.configured(term)
	}
	c, err := l.client()
	if err != nil {
		return fmt.Errorf("%w; --config lists those of a file", err)
	}
	var status admin.Status
	if err := c.call("GET", "/api/v1/admin/status", nil, &status); err != nil {
		return err
	}
	if l.JSON {
		return writeJSON(term.out, map[string]any{"data": status.Plugins})
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PLUGIN\tSTATE\tPID\tADAPTERS\tRESTARTS\tUPGRADES\tSHA256")
	for _, p := range status.Plugins {
		var adapters []string
		for i, adapter := range p.Adapters {
			adapters = append(adapters, adapter+" "+p.Versions[i])
		}
		sum := p.SHA256
		if sum == "" {
			sum = "this binary"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%.12s\n", p.Name, p.State, p.PID, strings.Join(adapters, ", "), p.Restarts, p.Upgrades, sum)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range status.Plugins {
		if p.Error != "" {
			fmt.Fprintf(term.out, "%s: %s\n", p.Name, p.Error)
		}
	}
	return nil
}

// configuredPlugin is a plugin as a file names it.
type configuredPlugin struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	SHA256   string   `json:"sha256"`
	Adapters []string `json:"adapters"`
	File     string   `json:"file"` // "as configured", or what is wrong with it
}

// configured lists what a configuration file names.
func (l *pluginList) configured(term terminal) error {
	cfg, err := loadConfig(l.Config)
	if err != nil {
		return err
	}
	list := []configuredPlugin{}
	for _, p := range cfg.Plugins {
		entry := configuredPlugin{Name: p.Name, Path: p.Path, SHA256: p.SHA256, Adapters: p.Adapters, File: "as configured"}
		if sum, err := fileSum(p.Path); err != nil {
			entry.File = err.Error()
		} else if sum != p.SHA256 {
			entry.File = "has the checksum " + sum
		}
		list = append(list, entry)
	}
	if l.JSON {
		return writeJSON(term.out, map[string]any{"data": list})
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "PLUGIN\tADAPTERS\tSHA256\tPATH\tFILE")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s\t%.12s\t%s\t%s\n", p.Name, strings.Join(p.Adapters, ", "), p.SHA256, p.Path, p.File)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if slices.ContainsFunc(list, func(p configuredPlugin) bool { return p.File != "as configured" }) {
		return errors.New("not every plugin is the one that the configuration names")
	}
	return nil
}
