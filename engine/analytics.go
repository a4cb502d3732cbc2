package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/engine/report"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// dearest is what an answer would have cost at the dearest deployment of the request's power level. It is 0 where the operator pays
// nothing, where the caller named the model, and for operations that levels do not route.
func (e *Engine) dearest(c *call, a *answer) (dearest storage.NanoUSD) {
	if a.own || a.simulated || c.op != opChat || c.level == abi.LevelCustom {
		return 0
	}
	u := normal(&a.usage)
	u.ServiceTier = "" // a service of its provider's own
	for _, d := range e.dear[c.level] {
		cost, _ := d.Price.Cost(u)
		dearest = max(dearest, cost)
	}
	return dearest
}

// dearOf are the platform's deployments of a power level less those that never are the dearest: another one costs at least as much of
// everything.
func dearOf(level uint8, deployments []*deployment) (dear []*deployment) {
	lo, hi := catalog.LevelTiers(level)
	for _, d := range deployments {
		if !d.platform || d.Model.Tier < lo || d.Model.Tier > hi || d.Model.Mode != abi.ModeChat {
			continue
		}
		if slices.ContainsFunc(dear, func(other *deployment) bool { return other.Price.Covers(&d.Price) }) {
			continue
		}
		dear = append(slices.DeleteFunc(dear, func(other *deployment) bool { return d.Price.Covers(&other.Price) }), d)
	}
	return dear
}

// WriteAnalytics answers with a summary of everybody's usage: as JSON, or as a table in another format.
func (e *Engine) WriteAnalytics(ctx *fasthttp.RequestCtx) { e.writeSummary(ctx, "") }

// writeSummary answers with a summary of an account's usage, or of everybody's when account is empty.
func (e *Engine) writeSummary(ctx *fasthttp.RequestCtx, account string) {
	args := ctx.QueryArgs()
	q, err := report.Parse(func(name string) string { return string(args.Peek(name)) }, e.Now(), account != "")
	format := string(args.Peek("format"))
	if err == nil && format != "" && format != "json" && !slices.Contains(report.Formats(), format) {
		err = &report.MistakeError{Param: "format", Message: "format must be json, " + strings.Join(report.Formats(), ", ")}
	}
	if err != nil {
		mistaken(err).Write(ctx)
		return
	}
	if q.CreditUSD = e.CreditUSD; account != "" {
		q.Where[storage.ByAccount] = []string{account}
	}
	summary, err := e.Analytics.Summary(q.SummaryQuery)
	switch {
	case errors.Is(err, storage.ErrTooManyGroups):
		badRequest("invalid_value", "group_by", fmt.Sprintf("the summary has more than %d groups: name fewer dimensions, a longer step or a shorter time", storage.MostSummaryGroups)).Write(ctx)
		return
	case errors.Is(err, storage.ErrInvalid):
		badRequest("invalid_value", "from", "from is too long ago for that step: sums of minutes and hours are kept for a shorter time than those of days").Write(ctx)
		return
	case err != nil:
		e.Logger.Error("summing up usage", "error", err)
		storageUnavailable().Write(ctx)
		return
	}
	result := q.Arrange(summary)
	if slices.Contains(report.Formats(), format) {
		e.writeTable(ctx, "analytics", format, q.Columns(), result.WriteTable)
		return
	}
	ctx.SetContentType("application/json")
	sendBody(ctx, func(w io.Writer) error {
		line := result.AppendHead(nil)
		for i := range result.Rows {
			line = result.AppendRow(line, i)
			if _, err := w.Write(line); err != nil {
				return err
			}
			line = line[:0]
		}
		_, err := w.Write(result.AppendTail(line))
		return err
	})
}

// sendBody answers with what write writes, while it does. If it fails, the connection ends as no success does; if the client leaves,
// it is told by an error of the writer.
func sendBody(ctx *fasthttp.RequestCtx, write func(w io.Writer) error) {
	r, w := io.Pipe()
	go func() {
		defer func() {
			if cause := recover(); cause != nil { // one answer is lost, not the process
				w.CloseWithError(fmt.Errorf("writing an answer: %v", cause))
			}
		}()
		b := bufio.NewWriterSize(w, 32<<10)
		err := write(b)
		if err == nil {
			err = b.Flush()
		}
		w.CloseWithError(err)
	}()
	ctx.SetBodyStream(r, -1)
}

// mistaken is the fault of a wrong parameter.
func mistaken(err error) *Fault {
	var m *report.MistakeError
	if errors.As(err, &m) {
		return badRequest("invalid_value", m.Param, m.Message)
	}
	return badRequest("invalid_value", "", err.Error())
}

// writeTable answers with a file, written while it is sent. A failure on the way cuts the answer off.
func (e *Engine) writeTable(ctx *fasthttp.RequestCtx, name, format string, columns []report.Column, fill func(t report.Table) error) {
	ctx.SetContentType(report.ContentType(format))
	ctx.Response.Header.Set("Content-Disposition", `attachment; filename="`+name+"."+format+`"`)
	sendBody(ctx, func(w io.Writer) error {
		t, err := report.New(format, w, columns)
		if err == nil {
			err = fill(t)
		}
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			e.Logger.Warn("an export ended early", "format", format, "error", err)
		}
		return err
	})
}

// exportBatch is how many requests an export reads at a time.
const exportBatch = 2048

// WriteExport answers with the requests of a time, oldest first, as a file: ?format=csv|jsonl|parquet&from=&to=&account=. A request is
// of the time in which it ended.
func (e *Engine) WriteExport(ctx *fasthttp.RequestCtx) {
	args := ctx.QueryArgs()
	format, account := string(args.Peek("format")), string(args.Peek("account"))
	if format == "" {
		format = "csv"
	}
	if !slices.Contains(report.Formats(), format) {
		badRequest("invalid_value", "format", "format must be one of "+strings.Join(report.Formats(), ", ")).Write(ctx)
		return
	}
	q, err := report.Parse(func(name string) string {
		if name == "from" || name == "to" {
			return string(args.Peek(name))
		}
		return ""
	}, e.Now(), false)
	if err != nil {
		mistaken(err).Write(ctx)
		return
	}
	e.writeTable(ctx, "usage", format, report.UsageColumns(), func(t report.Table) error {
		place := storage.Place{Page: uint64(q.From.UnixMicro())}
		var values []report.Value
		for {
			records, next, missed, err := e.Analytics.Forward(place, q.To, exportBatch)
			if err == nil && missed > 0 {
				err = fmt.Errorf("%d requests are damaged, or were dropped meanwhile", missed)
			}
			if err != nil {
				return err
			}
			for i := range records {
				if account != "" && records[i].Account != account {
					continue
				}
				values = report.AppendUsage(values[:0], &records[i])
				if err := t.Row(values); err != nil {
					return err
				}
			}
			if place = next; len(records) == 0 {
				return t.Close()
			}
		}
	})
}
