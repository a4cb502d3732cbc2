package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/bench"
)

type benchCmd struct {
	Run   benchRun   `cmd:"" default:"withargs" help:"Compare the gateway with a bare reverse proxy, nginx and others, and print tables."`
	Check benchCheck `cmd:"" help:"Compare the gateway's CPU time with that of another build, or its ratio to the bare proxy's with a recorded one, in a minute. Exits with 1 for a regression."`
	Soak  benchSoak  `cmd:"" help:"Load a gateway with everything for long, and see that it stays as it is."`
}

type benchRun struct {
	Connections int           `help:"Connections of the closed loop, each with one request at a time." default:"64"`
	Rate        int           `help:"Requests a second of the open loop." default:"1000"`
	Duration    time.Duration `help:"How long one round of one target takes." default:"3s"`
	WarmUp      time.Duration `help:"Load before each round that is not counted." default:"1s"`
	Rounds      int           `help:"Rounds of each target, in turns; medians are reported, and the best." default:"3"`
	Starts      int           `help:"How often the start is measured." default:"3"`
	Workloads   []string      `help:"What to send in the closed loop: chat, large, stream." default:"chat,large,stream"`
	Sections    []string      `help:"What to measure: ${sections}." default:"${sections}"`
	Grow        []string      `help:"What grows in the section growth: ${growing}." default:"${growing}"`
	Streams     int           `help:"Slow streams at once." default:"500"`
	Accounts    int           `help:"Accounts of the largest directory." default:"1000000"`
	LogRows     int           `help:"Rows of the largest usage log." default:"1000000"`
	Peers       string        `help:"Also measure the gateways that scripts/bench-setup.sh has installed into this directory." type:"existingdir"`
	DataDir     string        `help:"Where data goes, in a new directory that is removed. Default: the system's temporary directory." type:"existingdir"`
	JSON        bool          `help:"Print the report as JSON." name:"json"`
	Markdown    string        `help:"Also rewrite the generated section of this Markdown file." type:"existingfile"`
	Profile     bool          `help:"Only profile the gateway under chat at full load, and say where each microsecond goes."`
	Models      int           `help:"Models in the catalog of the gateway that is profiled." default:"47"`
	CPUProfile  string        `help:"Keep the profile in this file, for go tool pprof." name:"cpu-profile" type:"path"`

	Part     string `hidden:"" enum:",upstream,proxy" default:""`
	Upstream string `hidden:""`
}

// Run measures and prints, or is one of the processes of a measurement.
func (b *benchRun) Run(term terminal) error {
	switch b.Part {
	case "upstream":
		return bench.ServeUpstream(term.out)
	case "proxy":
		return bench.ServeProxy(term.out, b.Upstream)
	}
	if b.Profile {
		b.Sections = []string{"profile"}
	}
	return benchmark(term, func(ctx context.Context, cfg bench.Config) error {
		cfg.Connections, cfg.Rate, cfg.Duration, cfg.WarmUp, cfg.Rounds, cfg.Starts = b.Connections, b.Rate, b.Duration, b.WarmUp, b.Rounds, b.Starts
		cfg.Workloads, cfg.Sections, cfg.Grow, cfg.Streams, cfg.Accounts, cfg.LogRows = b.Workloads, b.Sections, b.Grow, b.Streams, b.Accounts, b.LogRows
		cfg.Peers, cfg.DataDir, cfg.Models, cfg.CPUProfile = b.Peers, b.DataDir, b.Models, b.CPUProfile
		report, err := bench.Run(ctx, cfg)
		if err != nil {
			return err
		}
		if b.Markdown != "" {
			if err := report.UpdateMarkdown(b.Markdown); err != nil {
				return err
			}
		}
		if b.JSON {
			out := json.NewEncoder(term.out)
			out.SetIndent("", "  ")
			return out.Encode(report)
		}
		fmt.Fprintln(term.out)
		return report.WriteText(term.out)
	})
}

type benchCheck struct {
	Baseline string        `arg:"" help:"File with the recorded ratios." type:"existingfile"`
	Against  string        `help:"Executable of another build, whose gateway runs in turns with this one's: above four fifths of the file's margin it fails." type:"existingfile"`
	Update   bool          `help:"Record what is measured now in the file."`
	Rounds   int           `help:"How often both are started anew and measured in turns; all count." default:"10"`
	Duration time.Duration `help:"How long one of two turns takes: short, so that whatever else the machine does meets both alike." default:"400ms"`
	WarmUp   time.Duration `help:"Load before each that is not counted." default:"150ms"`
	DataDir  string        `help:"Where data goes, in a new directory that is removed. Default: the system's temporary directory." type:"existingdir"`
}

// Run measures and compares.
func (b *benchCheck) Run(term terminal) error {
	return benchmark(term, func(ctx context.Context, cfg bench.Config) error {
		cfg.Rounds, cfg.Duration, cfg.WarmUp, cfg.DataDir = b.Rounds, b.Duration, b.WarmUp, b.DataDir
		return bench.Check(ctx, cfg, bench.CheckConfig{Baseline: b.Baseline, Against: b.Against, Update: b.Update})
	})
}

type benchSoak struct {
	Minutes float64 `help:"How long." default:"30"`
	Load    int     `help:"Percent of the processors' time that all processes together are to use." default:"70"`
	DataDir string  `help:"Where data goes, in a new directory that is removed. Default: the system's temporary directory." type:"existingdir"`
	JSON    bool    `help:"Print the report as JSON." name:"json"`
}

// Run loads a gateway and judges it.
func (b *benchSoak) Run(term terminal) error {
	return benchmark(term, func(ctx context.Context, cfg bench.Config) error {
		cfg.DataDir = b.DataDir
		report, err := bench.Soak(ctx, cfg, bench.SoakConfig{Duration: time.Duration(b.Minutes * float64(time.Minute)), LoadPercent: b.Load})
		if err != nil {
			return err
		}
		if b.JSON {
			out := json.NewEncoder(term.out)
			out.SetIndent("", "  ")
			err = out.Encode(report)
		} else {
			err = report.WriteText(term.out)
		}
		if err != nil {
			return err
		}
		return report.Judge()
	})
}

// benchmark runs one with the settings that all have in common, until it ends or a signal comes.
func benchmark(term terminal, run func(ctx context.Context, cfg bench.Config) error) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	return run(ctx, bench.Config{
		Binary: binary, Version: version, Connections: 64, Rate: 1000, Duration: time.Second, WarmUp: time.Second, Rounds: 1, Starts: 1, Streams: 1, Accounts: 1, Progress: term.err,
	})
}
