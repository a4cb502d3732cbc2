package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/outbox"
	"github.com/pointsman/pointsman/engine/scrub"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type usageCmd struct {
	List    usageList    `cmd:"" help:"List requests, newest first."`
	Summary usageSummary `cmd:"" help:"Sum up requests, by model, account, day and more."`
	Export  usageExport  `cmd:"" help:"Write requests, or a summary, to a file: CSV, JSON lines or Parquet."`
	Recount usageRecount `cmd:"" help:"Count the log of a stopped gateway again and compare, or mend, the sums that summaries are made of."`
}

type usageList struct {
	adminFlags
	Account string `help:"Only requests of this account."`
	Limit   int    `help:"How many." default:"20"`
}

// Run lists the requests.
func (u *usageList) Run(term terminal) error {
	c, err := u.client()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tACCOUNT\tMODEL\tPROVIDER\tIN\tOUT\tCREDITS\tUSD\tMS\tOUTCOME\tREQUEST")
	for left, cursor := u.Limit, ""; left > 0; {
		var page struct {
			Data []engine.UsageEntry
			Next string
		}
		query := url.Values{"account": {u.Account}, "limit": {fmt.Sprint(min(left, 1000))}, "cursor": {cursor}}
		if err := c.call("GET", "/api/v1/admin/usage?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		for _, e := range page.Data {
			fmt.Fprintf(w, "%.19s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%.0f\t%s\t%s\n", e.Time, e.Account, e.Model, e.Provider, e.InputTokens,
				e.OutputTokens, e.Credits, e.CostUSD, e.Latency, e.Outcome, e.RequestID)
		}
		left -= len(page.Data)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	return w.Flush()
}

// usageTime are the flags that say which requests are meant.
type usageTime struct {
	From string `help:"A time like 2026-11-01T00:00:00Z or a day like 2026-11-01. Default: a day before --to."`
	To   string `help:"Up to this time or day, which is not part of it. Default: now."`
}

type usageSummary struct {
	adminFlags
	usageTime
	GroupBy string            `help:"Names with commas between: model, provider, power_level, account, team, key, policy, outcome; one of minute, hour, day." default:"model"`
	Where   map[string]string `help:"Only requests with these values, as --where model=a,b." mapsep:";"`
	Sort    string            `help:"A column, with a minus before it for the largest first."`
	Limit   int               `help:"Rows at most." default:"100"`
}

func (u *usageSummary) query() url.Values {
	query := url.Values{"group_by": {u.GroupBy}, "from": {u.From}, "to": {u.To}, "sort": {u.Sort}, "limit": {fmt.Sprint(u.Limit)}}
	for name, values := range u.Where {
		query.Set(name, values)
	}
	return query
}

// Run prints the summary.
func (u *usageSummary) Run(term terminal) error {
	c, err := u.client()
	if err != nil {
		return err
	}
	var answer struct {
		From, To string
		Groups   int
		Data     []map[string]any
		Totals   map[string]any
	}
	if err := c.call("GET", "/api/v1/admin/analytics?"+u.query().Encode(), nil, &answer); err != nil {
		return err
	}
	names := []string{"requests", "success_rate", "input_tokens", "output_tokens", "credits", "cost_usd", "margin_usd", "saved_usd", "latency_ms_p50", "latency_ms_p95", "ttft_ms_p50", "tokens_per_second"}
	titles := []string{"REQUESTS", "SUCCESS", "IN", "OUT", "CREDITS", "COST", "MARGIN", "SAVED", "P50 MS", "P95 MS", "TTFT P50", "TOKENS/S"}
	groups := groupNames(u.GroupBy)
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	for _, g := range groups {
		fmt.Fprintf(w, "%s\t", g)
	}
	for _, title := range titles {
		fmt.Fprintf(w, "%s\t", title)
	}
	fmt.Fprintln(w)
	for i, row := range append(answer.Data, answer.Totals) {
		for j, g := range groups {
			cell := row[g]
			if i == len(answer.Data) {
				cell = ""
				if j == 0 {
					cell = "total"
				}
			}
			fmt.Fprintf(w, "%v\t", cell)
		}
		for _, name := range names {
			if row[name] == nil {
				row[name] = "-"
			}
			fmt.Fprintf(w, "%v\t", row[name])
		}
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s to %s", answer.From, answer.To)
	if answer.Groups > len(answer.Data) {
		fmt.Fprintf(term.out, ", %d of %d groups", len(answer.Data), answer.Groups)
	}
	fmt.Fprintln(term.out)
	return nil
}

// groupNames are the names of the columns that a summary is grouped by, the time first.
func groupNames(groupBy string) (names []string) {
	for name := range strings.SplitSeq(groupBy, ",") {
		switch name {
		case "":
		case "minute", "hour", "day":
			names = slices.Insert(names, 0, "time")
		default:
			names = append(names, name)
		}
	}
	return names
}

type usageExport struct {
	adminFlags
	usageTime
	Format  string `help:"csv, jsonl or parquet." enum:"csv,jsonl,parquet" default:"csv"`
	Output  string `short:"o" help:"The file. Default: standard output." type:"path"`
	Account string `help:"Only requests of this account."`
	GroupBy string `help:"Write a summary, grouped like that of usage summary, instead of the requests."`
}

// Run writes the file; one that was not written to its end is taken away.
func (u *usageExport) Run(term terminal) error {
	c, err := u.client()
	if err != nil {
		return err
	}
	c.http.Timeout = 0 // as long as it takes
	query := url.Values{"format": {u.Format}, "from": {u.From}, "to": {u.To}, "account": {u.Account}}
	path := "/api/v1/admin/usage/export?"
	if u.GroupBy != "" {
		path = "/api/v1/admin/analytics?"
		query.Set("group_by", u.GroupBy)
		query.Set("limit", fmt.Sprint(storage.MostSummaryGroups))
	}
	resp, err := c.do("GET", path+query.Encode(), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return apiError(resp)
	}
	if u.Output == "" {
		_, err = io.Copy(term.out, resp.Body)
		return err
	}
	file, err := os.Create(u.Output)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(fmt.Errorf("the export is not whole: %w", err), os.Remove(u.Output))
	}
	return nil
}

type usageRecount struct {
	Data   string `help:"Data directory of the stopped gateway." default:"${data}" env:"POINTSMAN_DATA"`
	Config string `help:"Configuration file of the gateway, for how long it keeps what." type:"existingfile" env:"POINTSMAN_CONFIG"`
	Check  bool   `help:"Change nothing; exit with 1 if anything differs."`
}

// Run counts again.
func (u *usageRecount) Run(term terminal) error {
	cfg, err := loadConfig(u.Config)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(u.Data, "log")); err != nil {
		return fmt.Errorf("there is no log to recount: %w", err)
	}
	differ, err := badgerdb.Recount(logConfig(cfg, u.Data, newLogger(term.err, "warn")), u.Check, func(format string, args ...any) {
		fmt.Fprintf(term.out, format+"\n", args...)
	})
	switch {
	case err != nil:
		return err
	case differ == 0:
		fmt.Fprintln(term.out, "the sums equal a recount of the log")
	case u.Check:
		return fmt.Errorf("%d sums differ from a recount of the log", differ)
	default:
		fmt.Fprintf(term.out, "%d sums were replaced\n", differ)
	}
	return nil
}

// logConfig is how the log is kept.
func logConfig(cfg *config.Config, dir string, log *slog.Logger) badgerdb.Config {
	day := 24 * time.Hour
	return badgerdb.Config{
		Dir: dir, Logger: log, Retain: time.Duration(cfg.Storage.LogDays) * day, MaxLogMB: cfg.Log.MaxMB,
		KeepSums: [3]time.Duration{time.Duration(cfg.Log.MinuteDays) * day, time.Duration(cfg.Log.HourDays) * day, time.Duration(cfg.Log.DayDays) * day},
	}
}

// openBodies opens the store of bodies, if any are to be kept.
func (g *gateway) openBodies() error {
	c := g.cfg.Log
	if !c.Bodies {
		return nil
	}
	r, err := scrub.New(c.RedactPaths, c.RedactExpressions)
	if err != nil {
		return err
	}
	g.bodies, err = badgerdb.OpenBodies(badgerdb.BodiesConfig{
		Dir: g.dataDir, Logger: g.log, MaxMB: c.BodiesMB, Retain: time.Duration(c.BodiesDays) * 24 * time.Hour, Redact: r.Body,
	})
	return err
}

// keptBodies says which bodies the engine hands over.
func (g *gateway) keptBodies(c *config.Log) engine.KeptBodies {
	if g.bodies == nil || !c.Bodies {
		return engine.KeptBodies{}
	}
	return engine.KeptBodies{In: g.bodies, Bytes: c.BodyKB << 10, Except: c.BodiesExcept}
}

// startEvents begins to tell usage to whom the configuration names.
func (g *gateway) startEvents() (err error) {
	c := g.cfg.Events
	if c.URL == "" {
		return nil
	}
	g.events, err = outbox.Start(outbox.Config{
		URL: c.URL, Secret: c.Secret.Reveal(), Kind: c.Kind, Code: c.Code, Batch: c.Batch, AllowPrivate: c.AllowPrivate, Timeout: c.Timeout,
		RetryFirst: c.RetryFirst, RetryMost: c.RetryMost, Source: g.usage, Logger: g.log,
	})
	return err
}

// writeMetrics writes the metrics of what the engine does not know, and those of the process.
func (g *gateway) writeMetrics(w io.Writer) {
	metrics.WriteProcessMetrics(w)
	g.writePolicyMetrics(w)
	g.writeLedgerMetrics(w)
	fmt.Fprintf(w, "pointsman_log_dropped_total %d\npointsman_log_bytes %d\n", g.usage.Dropped(), g.usage.Size())
	if g.bodies != nil {
		fmt.Fprintf(w, "pointsman_bodies_dropped_total %d\n", g.bodies.Dropped())
	}
	if g.events != nil {
		g.events.WriteMetrics(w)
	}
}
