package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/redact"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type serveCmd struct {
	Config      string `help:"TOML configuration file; without one the gateway runs on its defaults." type:"existingfile" env:"POINTSMAN_CONFIG"`
	Data        string `help:"Data directory: ledger, keys, logs." default:"${data}" env:"POINTSMAN_DATA"`
	Listen      string `help:"Address of the API, in place of the configured one." env:"POINTSMAN_LISTEN"`
	AdminListen string `help:"Address of the admin API, in place of the configured one." env:"POINTSMAN_ADMIN_LISTEN"`
	Log         string `help:"Least level that is logged." enum:"debug,info,warn,error" default:"info" env:"POINTSMAN_LOG"`
	AllowDumps  bool   `help:"For debugging: let core files be written and debuggers attach. The memory holds keys." env:"POINTSMAN_ALLOW_DUMPS"`
	CPUProfile  string `name:"cpu-profile" help:"Write a CPU profile to this file." type:"path" hidden:""`
}

// Run serves until SIGTERM or SIGINT; a second one ends at once.
func (s *serveCmd) Run(term terminal) error {
	collect := collectLater()
	cfg, err := loadConfig(s.Config)
	if err != nil {
		return err
	}
	s.adjust(cfg)
	if s.CPUProfile != "" {
		stop, err := profileCPU(s.CPUProfile)
		if err != nil {
			return err
		}
		defer stop() //nolint:errcheck // a profile that could not be written whole shows when it is read
	}
	data, err := filepath.Abs(s.Data)
	if err != nil {
		return err
	}
	known := redact.New(append(cfg.Secrets(), os.Getenv("POINTSMAN_MASTER_KEY"))...)
	log := newLogger(known.Writer(term.err), s.Log)
	if s.AllowDumps {
		log.Warn("core files and debuggers are allowed, and with them whatever keys are in the memory")
	} else if err := forbidDumps(); err != nil {
		log.Warn("the memory of this process, with the keys in it, may be dumped or read by other processes of its user", "error", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	g, err := start(ctx, cfg, options{dataDir: data, log: log, env: os.Getenv, adjust: s.adjust, secrets: known.Add})
	if err != nil {
		return errors.New(known.String(err.Error())) // which may be what a policy says of its parameters
	}
	collect()
	go tendHeap(ctx, time.Minute, largeHeap)
	badgerdb.ShareProcessors() // from here on: what was made at the start counted the processors
	g.banner(term.out)
	g.reloadOnHangup(ctx)
	cancel() // from here a second signal ends the process
	holding, _ := g.reloads.held()
	log.Info("stopping: finishing the requests under way", "after", holding.Server.DrainDelay.String(), "at most", holding.Server.DrainLimit.String())
	g.engine.Drain()
	time.Sleep(holding.Server.DrainDelay)
	ending, done := context.WithTimeout(context.Background(), holding.Server.DrainLimit)
	defer done()
	return g.stop(ending)
}

// adjust puts what the command line says in the place of what the configuration does.
func (s *serveCmd) adjust(cfg *config.Config) {
	cfg.Server.Listen = cmp.Or(s.Listen, cfg.Server.Listen)
	cfg.Server.AdminListen = cmp.Or(s.AdminListen, cfg.Server.AdminListen)
}

// reloadOnHangup waits for the end, and meanwhile for SIGHUP, at which the configuration is read again. After the end SIGHUP does
// nothing.
func (g *gateway) reloadOnHangup(ctx context.Context) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			g.reload(ctx, "SIGHUP") //nolint:errcheck // it is logged
		}
	}
}

// loadConfig reads a configuration file, or the defaults, with the environment of the process.
func loadConfig(path string) (*config.Config, error) {
	if path == "" {
		return config.Default(os.Getenv)
	}
	return config.Load(path, os.Getenv)
}

func newLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l}))
}

// defaultDataDir is where a gateway keeps its data if it is not told.
func defaultDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "pointsman")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "pointsman-data"
	}
	return filepath.Join(home, ".local", "share", "pointsman")
}

// banner says what is running, on which policies and providers, and what to try first.
func (g *gateway) banner(w io.Writer) {
	api := g.apiURL()
	fmt.Fprintf(w, "pointsman %s\n", version)
	fmt.Fprintf(w, "  api        %s/v1\n", api)
	fmt.Fprintf(w, "  admin      http://%s\n", g.adminListn.Addr())
	fmt.Fprintf(w, "  data       %s\n", g.dataDir)
	if os.Getenv("POINTSMAN_MASTER_KEY") == "" {
		fmt.Fprintf(w, "  master key %s\n", g.masterKeyPath())
	} else {
		fmt.Fprintf(w, "  master key from POINTSMAN_MASTER_KEY\n")
	}
	serving := g.depot.Serving()
	for i, p := range g.policies.List() {
		fmt.Fprintf(w, "  %-10s %-10s %.12s  %s\n", label(i, "policies"), p.Name, p.Digest, serving[p.Name].Source)
	}
	var simulated, unconfigured []string
	shown := 0
	for _, p := range g.engine.Health(engine.DetailProviders) {
		switch {
		case p.Configured:
			fmt.Fprintf(w, "  %-10s %-12s %s\n", label(shown, "providers"), p.Provider, g.keySource(p.Provider))
			shown++
		case p.Status == "simulated":
			simulated = append(simulated, p.Provider)
		default:
			unconfigured = append(unconfigured, p.Provider)
		}
	}
	if len(simulated) > 0 {
		fmt.Fprintf(w, "  SIMULATED  %s: no key, so answers for %d of %d models are made up, and say so\n",
			strings.Join(simulated, ", "), g.engine.Simulated(), len(g.engine.Catalog.Models))
	}
	if len(unconfigured) > 0 {
		fmt.Fprintf(w, "  no key     %s: used only with an account's own key\n", strings.Join(unconfigured, ", "))
	}
	for _, warning := range g.cfg.Warnings {
		fmt.Fprintf(w, "  warning    %s\n", warning)
	}
	if g.firstKey == "" {
		return
	}
	fmt.Fprintf(w, "\n  A first account, \"default\", was made. Its key, shown only now:\n\n      %s\n\n  Try:\n\n", g.firstKey)
	fmt.Fprintf(w, "      curl %s/v1/chat/completions -H 'Authorization: Bearer %s' \\\n", api, g.firstKey)
	fmt.Fprintf(w, "        -H 'Content-Type: application/json' -d '{\"model\":\"eco\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n\n")
}

func label(i int, text string) string {
	if i > 0 {
		return ""
	}
	return text
}

// keySource says where a provider's key came from, or where it answers.
func (g *gateway) keySource(name string) string {
	i := slices.IndexFunc(g.cfg.Providers, func(p config.Provider) bool { return p.Name == name })
	if i < 0 {
		return ""
	}
	p := g.cfg.Providers[i]
	switch p.KeySource {
	case "":
		return "needs no key"
	case "file":
		return "key from " + g.cfg.File
	default:
		return "key from " + p.KeySource
	}
}
