package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/admin"
)

type doctorCmd struct {
	adminFlags
	URL    string `help:"API of the running gateway." default:"http://127.0.0.1:8084" env:"POINTSMAN_URL"`
	Config string `help:"Configuration file to check; by default the running gateway's." type:"path" env:"POINTSMAN_CONFIG"`
	Start  bool   `help:"Start a gateway on the data directory for the checks, if none runs there."`
}

// examination is what the checks look at.
type examination struct {
	api, admin *client
	data       string
	config     string
	status     admin.Status
	statusErr  error
}

// check is one of the ten. run returns what it found; an error's text says what is wrong and fix how to mend it.
type check struct {
	name string
	fix  string
	run  func(*examination) (string, error)
}

// Run makes the ten checks and fails if one does.
func (d *doctorCmd) Run(term terminal) error {
	if d.Start {
		stop, err := d.startGateway()
		if err != nil {
			return err
		}
		defer stop()
	}
	x := &examination{api: newClient(d.URL, ""), data: d.Data, config: d.Config}
	if c, err := d.client(); err != nil {
		x.statusErr = err
	} else {
		x.admin = c
		x.statusErr = c.call("GET", "/api/v1/admin/status", nil, &x.status)
	}
	if x.status.DataDir != "" {
		x.data = x.status.DataDir
	}
	if x.config == "" {
		x.config = x.status.Config
	}
	return examine(x, term.out)
}

// startGateway runs a gateway on free ports for the length of the examination.
func (d *doctorCmd) startGateway() (stop func(), err error) {
	cfg, err := loadConfig(d.Config)
	if err != nil {
		return nil, err
	}
	cfg.Server.Listen, cfg.Server.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Server.TLSCert, cfg.Server.TLSKey = "", "" // the certificate is for another name than this address
	g, err := start(context.Background(), cfg, options{dataDir: d.Data, log: slog.New(slog.DiscardHandler), env: os.Getenv, dropNothing: true})
	if err != nil {
		return nil, err
	}
	d.URL, d.AdminURL = "http://"+g.listener.Addr().String(), "http://"+g.adminListn.Addr().String()
	return func() { g.stop(context.Background()) }, nil //nolint:errcheck // the examination is over
}

func examine(x *examination, w io.Writer) error {
	failed := 0
	for i, c := range checks {
		found, err := c.run(x)
		if err != nil {
			failed++
			fmt.Fprintf(w, "FAIL %2d  %-24s %v\n         %-24s fix: %s\n", i+1, c.name, err, "", c.fix)
			continue
		}
		fmt.Fprintf(w, "ok   %2d  %-24s %s\n", i+1, c.name, found)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	fmt.Fprintf(w, "all %d checks passed\n", len(checks))
	return nil
}

var checks = []check{
	{"records", "start the gateway with `pointsman serve`, then give --admin-url and --data; a key that does not open has to be stored again by its account", checkRecords},
	{"gateway health", "start the gateway with `pointsman serve`, or give its address with --url", checkHealth},
	{"provider configuration", "set a provider's key (OPENAI_API_KEY, GROQ_API_KEY, …) or leave [simulator] enabled = true", checkProviders},
	{"models listed", "see `pointsman config check FILE` for the effective catalog", checkModels},
	{"credits initialised", "create an account with `pointsman accounts create NAME`; a halted ledger: `pointsman ledger verify`", checkCredits},
	{"policies", "look for \"policy\" in the gateway's log; [policies.NAME] file = … replaces a module", checkPolicies},
	{"plugins", "look for \"plugin\" in the gateway's log; a plugin that keeps ending says why on its standard error", checkPlugins},
	{"provider connectivity", "check network, proxy and base_url; private addresses need allow_private = true", checkReach},
	{"configuration", "mend the places named, then `pointsman reload`", checkConfig},
	{"files and permissions", "chmod 700 the data directory and 600 the key files, owned by the gateway's user", checkFiles},
}

func checkRecords(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	var usage struct{ Data []any }
	if err := x.admin.call("GET", "/api/v1/admin/usage?limit=1", nil, &usage); err != nil {
		return "", fmt.Errorf("the usage log cannot be read: %w", err)
	}
	var keys struct{ Data []keyEntry }
	if err := x.admin.call("GET", "/api/v1/admin/keys", nil, &keys); err != nil {
		return "", fmt.Errorf("the keys cannot be read: %w", err)
	}
	if x.status.Vault != "ok" {
		return "", errors.New(x.status.Vault)
	}
	return fmt.Sprintf("%d accounts, %d keys, %d providers, usage log readable, vault ok", x.status.Accounts, len(keys.Data), len(x.status.Providers)), nil
}

func checkHealth(x *examination) (string, error) {
	resp, err := x.api.http.Get(x.api.base + "/health/ready")
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s/health/ready answers %s", x.api.base, resp.Status)
	}
	return x.api.base + " is ready", nil
}

func checkProviders(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	var configured, without []string
	for _, p := range x.status.Providers {
		switch {
		case p.Configured:
			configured = append(configured, p.Provider)
		case p.Status != "simulated":
			without = append(without, p.Provider)
		}
	}
	if len(configured) == 0 && x.status.Simulated == 0 {
		return "", fmt.Errorf("no provider can be used: no key for %s", strings.Join(without, ", "))
	}
	if len(configured) == 0 {
		return fmt.Sprintf("none configured; %d models are simulated", x.status.Simulated), nil
	}
	return fmt.Sprintf("%s; %d models are simulated", strings.Join(configured, ", "), x.status.Simulated), nil
}

func checkModels(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	cfg, err := loadConfig(x.config)
	if err != nil {
		return "", err
	}
	if x.status.Models != len(cfg.Models) {
		return "", fmt.Errorf("%d models are listed, the configuration has %d; a changed one is read by `pointsman reload`", x.status.Models, len(cfg.Models))
	}
	return fmt.Sprintf("%d", x.status.Models), nil
}

func checkCredits(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	if x.status.Ledger != "ok" {
		return "", errors.New(x.status.Ledger)
	}
	var list struct{ Data []accountEntry }
	if err := x.admin.call("GET", "/api/v1/admin/accounts", nil, &list); err != nil {
		return "", err
	}
	if len(list.Data) == 0 {
		return "", errors.New("there is no account")
	}
	return fmt.Sprintf("ledger ok, %d accounts with a balance", len(list.Data)), nil
}

func checkPolicies(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	var names []string
	for _, p := range x.status.Policies {
		if p.Failures > 0 && p.Failures*10 > p.Decisions {
			return "", fmt.Errorf("policy %s failed %d of %d times", p.Name, p.Failures, p.Decisions)
		}
		if p.Refused != "" {
			return "", fmt.Errorf("policy %s serves as it was, because a change was refused: %s", p.Name, p.Refused)
		}
		names = append(names, p.Name)
	}
	for _, level := range []string{"eco", "balanced", "precision", "custom"} {
		if !slices.Contains(names, level) {
			return "", fmt.Errorf("policy %s is not loaded", level)
		}
	}
	return strings.Join(names, ", "), nil
}

func checkPlugins(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	var alive []string
	for _, p := range x.status.Plugins {
		if p.State != "running" {
			return "", fmt.Errorf("plugin %s is %s: %s", p.Name, p.State, p.Error)
		}
		alive = append(alive, fmt.Sprintf("%s (%s)", p.Name, strings.Join(p.Adapters, ", ")))
	}
	return strings.Join(alive, ", "), nil
}

func checkReach(x *examination) (string, error) {
	if x.statusErr != nil {
		return "", x.statusErr
	}
	var list struct{ Data []engine.Reach }
	if err := x.admin.call("POST", "/api/v1/admin/reach", nil, &list); err != nil {
		return "", err
	}
	for _, p := range x.status.Providers {
		if p.Configured && p.Status == "down" {
			return "", fmt.Errorf("%s is down since %s: %s", p.Provider, p.Since.Format(time.RFC3339), p.Reason)
		}
	}
	var reached []string
	for _, r := range list.Data {
		if r.Error != "" {
			return "", fmt.Errorf("%s: %s", r.Provider, r.Error)
		}
		reached = append(reached, r.Provider)
	}
	if len(reached) == 0 {
		return "no provider is configured, so there is none to reach", nil
	}
	return strings.Join(reached, ", "), nil
}

func checkConfig(x *examination) (string, error) {
	cfg, err := loadConfig(x.config)
	if err != nil {
		return "", err
	}
	last := &x.status.Reload
	if last.Error != "" {
		return "", fmt.Errorf("at %s the gateway read its configuration again, by %s, and what held before holds on: %s", last.At.Format(time.RFC3339), last.By, last.Error)
	}
	found := []string{"defaults, no file"}
	if x.config != "" {
		found = []string{x.config + " is valid"}
	}
	for _, setting := range last.NeedsRestart {
		found = append(found, setting+" has changed and needs a restart")
	}
	return strings.Join(append(found, cfg.Warnings...), "; warning: "), nil
}

// checkFiles looks at the data directory and at the program itself, which must be startable for the plugin process.
func checkFiles(x *examination) (string, error) {
	for _, f := range []struct {
		path string
		mode fs.FileMode
	}{{"", 0o700}, {"root.key", 0o600}, {"vault.json", 0o600}, {"own.keys", 0o600}, {"master.key", 0o600}} {
		info, err := os.Stat(filepath.Join(x.data, f.path))
		if errors.Is(err, fs.ErrNotExist) && (f.path == "master.key" || f.path == "root.key") {
			continue // it is elsewhere then
		}
		if err != nil {
			return "", err
		}
		if extra := info.Mode().Perm() &^ f.mode; extra != 0 {
			return "", fmt.Errorf("%s has mode %04o, at most %04o is safe", filepath.Join(x.data, f.path), info.Mode().Perm(), f.mode)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the program to start plugins with: %w", err)
	}
	if info, err := os.Stat(self); err != nil || info.Mode().Perm()&0o111 == 0 {
		return "", fmt.Errorf("%s cannot be started for the plugin process", self)
	}
	return x.data + " and its keys are private", nil
}
