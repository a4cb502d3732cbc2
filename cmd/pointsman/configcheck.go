package main

import (
	"os"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine/catalog"
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
	return cfg.WriteEffective(term.out)
}
