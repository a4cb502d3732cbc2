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
	Connections int           `help:"Connections of the load generator, each with one request at a time." default:"64"`
	Duration    time.Duration `help:"How long one round of one target takes." default:"5s"`
	WarmUp      time.Duration `help:"Load before each round that is not counted." default:"1s"`
	Rounds      int           `help:"Rounds of each target, in turns; medians are reported." default:"3"`
	Starts      int           `help:"How often the start is measured." default:"3"`
	Workloads   []string      `help:"What to send: chat, large, stream." default:"chat,large,stream"`
	DataDir     string        `help:"Where the gateway's data goes, in a new directory that is removed. Default: the system's temporary directory." type:"existingdir"`
	JSON        bool          `help:"Print the report as JSON." name:"json"`
	Markdown    string        `help:"Also rewrite the generated section of this Markdown file." type:"existingfile"`
	CPUProfile  string        `help:"Also write a CPU profile of the gateway under load to this file." name:"cpu-profile" type:"path"`

	Part     string `hidden:"" enum:",upstream,proxy" default:""`
	Upstream string `hidden:""`
}

// Run measures and prints, or is one of the processes of a measurement.
func (b *benchCmd) Run(term terminal) error {
	switch b.Part {
	case "upstream":
		return bench.ServeUpstream(term.out)
	case "proxy":
		return bench.ServeProxy(term.out, b.Upstream)
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	report, err := bench.Run(ctx, bench.Config{
		Binary: binary, Connections: b.Connections, Duration: b.Duration, WarmUp: b.WarmUp, Rounds: b.Rounds, Starts: b.Starts,
		Workloads: b.Workloads, DataDir: b.DataDir, CPUProfile: b.CPUProfile, Progress: term.err,
	})
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
}
