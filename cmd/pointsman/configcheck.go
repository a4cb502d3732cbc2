package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/depot"
)

type configCmd struct {
	Check configCheck `cmd:"" help:"Validate a configuration file and print the effective configuration, secrets masked."`
}

type configCheck struct {
	File string `arg:"" type:"existingfile" help:"The TOML file."`
}

// Run checks the file.
func (c *configCheck) Run(term terminal) error {
	cfg, err := config.Load(c.File, os.Getenv)
	if err != nil {
		return err
	}
	if _, err := catalog.Build(cfg.Models); err != nil {
		return err
	}
	for _, warning := range cfg.Warnings {
		fmt.Fprintf(term.err, "warning: %s\n", warning)
	}
	if err := checkPolicyFiles(cfg); err != nil {
		return err
	}
	return cfg.WriteEffective(term.out)
}

// checkPolicyFiles tries every policy that the configuration gives a file, parameters or limits, as a reload would.
func checkPolicyFiles(cfg *config.Config) error {
	nowhere, err := os.MkdirTemp("", "pointsman-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(nowhere)
	d, err := depot.Open(depot.Config{Dir: nowhere, Builtin: builtin.Modules(), Sandbox: func() (*policies.Host, error) {
		return policies.New(context.Background(), policies.Config{CacheDir: compiledDir()})
	}})
	if err != nil {
		return err
	}
	return d.Try(policyEntries(cfg), cfg.Trust)
}
