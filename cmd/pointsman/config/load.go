package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/storage"
)

// maxFile is the largest configuration file that is read, in bytes.
const maxFile = 1 << 20

// Defaults.
const (
	DefaultListen       = "127.0.0.1:8084"
	DefaultAdminListen  = "127.0.0.1:8085"
	DefaultMaxBodyBytes = 32 << 20

	DefaultDrainLimit     = 30 * time.Second
	DefaultKeepAliveAfter = 10 * time.Second
	DefaultKeepAliveEvery = 15 * time.Second
	DefaultLogDays        = 30
)

// Default is the configuration without a file: the built-in catalog and whatever provider keys the environment holds.
// The error, an *Error, is about the environment.
func Default(env func(string) string) (*Config, error) { return Parse("", nil, env) }

// Load reads a configuration file. env looks up a variable and gives "" for one that is not set, as os.Getenv does.
// Faults in the file come as one *Error that lists all of them.
func Load(path string, env func(string) string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("reading the configuration: %s is larger than %d bytes", path, maxFile)
	}
	return Parse(path, data, env)
}

// Parse is [Load] on the bytes of a file; path is for messages and for the relative paths in it.
func Parse(path string, data []byte, env func(string) string) (*Config, error) {
	text := strings.TrimPrefix(string(data), "\xef\xbb\xbf")
	index, err := newIndex(text)
	if err != nil {
		return nil, &Error{[]Fault{{File: path, Line: 1, Column: 1, Message: err.Error()}}}
	}
	values, err := decode(text)
	if err != nil {
		return nil, &Error{[]Fault{syntaxFault(path, text, err)}}
	}
	d := &document{file: path, index: index, env: env, references: make(map[string]string)}
	c := d.read(&table{doc: d, title: "at the top level", values: values})
	if len(d.faults) == 0 {
		// What the checks above let through must build; a fault here has no better place than the whole file.
		if _, err := catalog.Build(c.Models); err != nil {
			d.faults = append(d.faults, Fault{File: path, Message: err.Error()})
		}
	}
	if len(d.faults) > 0 {
		sortFaults(d.faults)
		return nil, &Error{d.faults}
	}
	c.WholeLines = strings.HasSuffix(text, "\n")
	sortFaults(d.warnings)
	for _, w := range d.warnings {
		w.Excerpt = ""
		c.Warnings = append(c.Warnings, w.String())
	}
	return c, nil
}

// decode reads TOML into plain maps. The TOML package panics on what it holds for its own bugs; a file must not stop a
// running gateway that reloads it.
func decode(text string) (values map[string]any, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("reading TOML failed")
		}
	}()
	_, err = toml.Decode(text, &values)
	return values, err
}

func (d *document) read(root *table) *Config {
	c := &Config{File: d.file, references: d.references}
	c.server(root.child("server", "in [server]"))
	c.plugins(d, root)
	adapters := BuiltinAdapters()
	for _, p := range c.Plugins {
		adapters = append(adapters, p.Adapters...)
	}
	c.Providers = d.providers(root, adapters)
	c.tariff(root.child("tariff", "in [tariff]"))
	c.models(d, root)
	c.accounts(root.child("accounts", "in [accounts]"))
	budgets := root.child("budgets", "in [budgets]")
	c.Budgets.AlertAt = budgets.percents("alert_at", []int{80, 100})
	budgets.done()

	simulator := root.child("simulator", "in [simulator]")
	c.Simulator.Enabled = simulator.flag("enabled", true)
	simulator.done()

	c.policies(d, root)

	health := root.child("health", "in [health]")
	c.Health.Probe = health.oneOf("probe", "down", []string{"down", "unknown", "off"})
	health.done()

	retries := root.child("retries", "in [retries]")
	c.Retries = Retries{
		Attempts: int(retries.integer("attempts", 3, 1, 10)),
		Pause:    seconds(retries.number("pause", 0.1, 0.001, 60)),
		MaxPause: seconds(retries.number("max_pause", 2, 0.001, 60)),
		Percent:  int(retries.integer("percent", 20, 1, 100)),
	}
	retries.done()

	hedge := root.child("hedge", "in [hedge]")
	c.Hedge = Hedge{Mode: hedge.oneOf("mode", "plan", []string{"off", "plan", "always"}), Percent: int(hedge.integer("percent", 5, 1, 50))}
	hedge.done()

	c.limits(root.child("limits", "in [limits]"))
	c.overload(root.child("overload", "in [overload]"))
	c.cache(root.child("cache", "in [cache]"))
	c.stores(root)
	c.vault(root.child("vault", "in [vault]"))
	c.usage(root)
	root.done()
	return c
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }

func (c *Config) server(t *table) {
	c.Server = Server{
		Listen:         t.address("listen", DefaultListen),
		AdminListen:    t.address("admin_listen", DefaultAdminListen),
		MaxBodyBytes:   int(t.integer("max_body_bytes", DefaultMaxBodyBytes, 1, 1<<30)),
		TLSCert:        c.absolute(t.str("tls_cert", "")),
		TLSKey:         c.absolute(t.str("tls_key", "")),
		CORSOrigins:    t.origins("cors_origins"),
		KeepAliveAfter: seconds(t.number("keep_alive_after", DefaultKeepAliveAfter.Seconds(), 0.1, 3600)),
		KeepAliveEvery: seconds(t.number("keep_alive_every", DefaultKeepAliveEvery.Seconds(), 0.1, 3600)),
		Watch:          t.flag("watch", false),
		DrainDelay:     time.Duration(t.integer("drain_delay", 0, 0, 3600)) * time.Second,
		DrainLimit:     time.Duration(t.integer("drain_limit", int64(DefaultDrainLimit/time.Second), 0, 3600)) * time.Second,
	}
	if (c.Server.TLSCert == "") != (c.Server.TLSKey == "") {
		key := "tls_cert"
		if t.has("tls_key") {
			key = "tls_key"
		}
		t.fault(key, "tls_cert and tls_key belong together: the paths of a certificate and of its key")
	}
	if c.Server.Listen == c.Server.AdminListen && !strings.HasSuffix(c.Server.Listen, ":0") {
		key := "listen"
		if t.has("admin_listen") {
			key = "admin_listen"
		}
		t.fault(key, "listen and admin_listen are the same address")
	}
	t.done()
}

// address reads host:port.
func (t *table) address(key, otherwise string) string {
	before := len(t.doc.faults)
	text := t.str(key, otherwise)
	host, port, err := net.SplitHostPort(text)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if (err != nil || portErr != nil || strings.ContainsAny(host, " /@\t\n") || strconv.FormatUint(n, 10) != port) && len(t.doc.faults) == before {
		t.fault(key, "%s %.80q is not an address like 127.0.0.1:8084", key, t.raw(key))
	}
	return text
}

// origins reads the origins of web pages, as browsers send them.
func (t *table) origins(key string) []string {
	before := len(t.doc.faults)
	origins := t.strs(key)
	if len(t.doc.faults) > before {
		return nil
	}
	for i, origin := range origins {
		u, err := url.Parse(origin)
		switch {
		case origin == "*" && len(origins) > 1:
			t.faultAt(t.path.key(key).at(i), "\"*\" in %s stands for any origin and must stand alone", key)
		case origin != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != origin || strings.ToLower(origin) != origin):
			t.faultAt(t.path.key(key).at(i), "an element of %s must be an origin like https://app.example, in lower case and without a path, or \"*\"", key)
		}
	}
	return origins
}

func (c *Config) accounts(t *table) {
	tiers := []string{string(storage.TierFree), string(storage.TierStarter), string(storage.TierProfessional), string(storage.TierEnterprise)}
	c.Accounts = Accounts{
		DefaultCredits:    t.credits("default_credits", 1000*storage.CreditsPerCredit, 1_000_000_000*storage.CreditsPerCredit),
		DefaultTier:       storage.AccountTier(t.oneOf("default_tier", string(storage.TierEnterprise), tiers)),
		DefaultPowerLevel: t.oneOf("default_power_level", "balanced", []string{"eco", "balanced", "precision"}),
	}
	t.done()
}

func (c *Config) plugins(d *document, root *table) {
	tables := root.child("plugins", "in [plugins]")
	for _, name := range tables.keys() {
		before := len(d.faults)
		t := tables.child(name, "in [plugins."+name+"]")
		p := Plugin{Name: name, Path: c.absolute(t.str("path", "")), SHA256: strings.ToLower(t.str("sha256", "")), Args: t.hidden().strs("args"), Env: t.hidden().strs("env")}
		t.known = append(t.known, "args", "env")
		for i, variable := range p.Env {
			if !isVariable(variable) {
				t.hidden().faultAt(t.path.key("env").at(i), "env lists names of environment variables to pass on, and this is none")
			}
		}
		t.limits(c, &p)
		switch {
		case !validPlain(name, 32):
			t.missing("plugin name %.60q must be 1 to 32 lower-case letters, digits or -", name)
		case slices.Contains(BuiltinAdapters(), name) || name == "builtin":
			t.missing("plugin name %q is that of a built-in adapter", name)
		}
		if !t.has("path") || t.raw("path") == "" {
			t.missing("plugin %q has no path", name)
		}
		if !t.has("sha256") {
			t.missing("plugin %q has no sha256, the checksum of its executable in hexadecimal", name)
		} else if sum, err := hex.DecodeString(p.SHA256); err != nil || len(sum) != 32 {
			t.fault("sha256", "sha256 must be 64 hex digits")
		}
		t.done()
		if len(d.faults) == before {
			c.Plugins = append(c.Plugins, p)
		}
	}
}

// limits reads what a plugin may do.
func (t *table) limits(c *Config, p *Plugin) {
	p.Adapters = t.strs("adapters")
	for i, adapter := range p.Adapters {
		if !validPlain(adapter, 32) || slices.Contains(BuiltinAdapters(), adapter) {
			t.faultAt(t.path.key("adapters").at(i), "adapter name %.60q must be 1 to 32 lower-case letters, digits or -, and not that of a built-in adapter", adapter)
		}
	}
	if len(p.Adapters) == 0 {
		p.Adapters = []string{p.Name}
	}
	p.MemoryMB = int(t.integer("memory_mb", 0, 0, 1<<20))
	for _, path := range t.strs("read_paths") {
		p.ReadPaths = append(p.ReadPaths, c.absolute(path))
	}
	for _, path := range t.strs("write_paths") {
		p.WritePaths = append(p.WritePaths, c.absolute(path))
	}
	p.Processes = t.flag("processes", false)
	p.PlainSocket = !t.flag("mtls", true)
	p.Unconfined = t.flag("unconfined", false)
}

// absolute resolves a path against the directory of the configuration file.
func (c *Config) absolute(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	path = filepath.Join(filepath.Dir(c.File), path)
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// validPlain is the grammar of names that become adapters and policies.
func validPlain(name string, most int) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return name != "" && len(name) <= most
}
