package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/project"
)

type policyNew struct {
	Name string `arg:"" help:"Name of the policy, and of the directory unless --dir is given: lower-case letters, digits, hyphens."`
	Lang string `help:"Language: ${languages}." default:"go"`
	Dir  string `help:"Directory to make." type:"path"`
}

// Run makes the project and says what comes next.
func (n *policyNew) Run(term terminal) error {
	dir := n.Dir
	if dir == "" {
		dir = n.Name
	}
	p, err := project.New(dir, n.Lang, n.Name)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: a policy in %s\n\n", p.Dir, n.Lang)
	fmt.Fprintf(term.out, "  cd %s\n  pointsman policy build\n  pointsman policy test\n  pointsman policy run\n", dir)
	return nil
}

// languageNames are the languages that there are templates for, for the help text.
func languageNames() string {
	var names []string
	for _, l := range project.Languages() {
		names = append(names, l.Name)
	}
	return strings.Join(names, ", ")
}

type policyBuild struct {
	Dir string `arg:"" optional:"" help:"The project's directory. Default: the project around the current directory." type:"path"`
}

// Run builds the module.
func (b *policyBuild) Run(term terminal) error {
	dir := b.Dir
	if dir == "" {
		dir = "."
	}
	p, err := project.Find(dir)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	began := time.Now()
	if err := p.Make(ctx, term.err); err != nil {
		return err
	}
	info, err := os.Stat(p.Module)
	if err != nil {
		return err
	}
	shown := p.Module
	if wd, err := os.Getwd(); err == nil {
		if relative, err := filepath.Rel(wd, p.Module); err == nil {
			shown = relative
		}
	}
	fmt.Fprintf(term.out, "%s: %s bytes in %v\n", shown, group(info.Size()), time.Since(began).Round(10*time.Millisecond))
	return nil
}
