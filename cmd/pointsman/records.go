package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/records"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

type recordsCmd struct {
	Export   recordsExport   `cmd:"" help:"Write the decision records of a gateway to a file, for replay."`
	Import   recordsImport   `cmd:"" help:"Put the records of a file into a stopped gateway's log."`
	Generate recordsGenerate `cmd:"" help:"Write a file of made-up traffic that the built-in policies decide about."`
}

// recordsFrom says where decision records come from, and which.
type recordsFrom struct {
	adminFlags
	Records string `help:"Read this file, as records export writes it; - is standard input. Default: the data directory of a stopped gateway or, where one is running there, its admin API. --data takes its address, too." placeholder:"FILE"`
	Since   string `help:"Requests that began at this time or later: an age like 24h or 7d, a day, or a time like 2026-11-01T00:00:00Z." placeholder:"TIME"`
	Until   string `help:"Requests that began before this time." placeholder:"TIME"`
	Account string `help:"Only requests of this account."`
	Key     string `help:"Only requests of this virtual key." placeholder:"ID"`
}

// opened is a source of records.
type opened struct {
	records.Source
	head  records.Head
	close func() error
	share func() float64 // that has been read; nil if it is not known
}

// open finds the records.
func (f *recordsFrom) open() (*opened, error) {
	filter := records.Filter{Account: f.Account, Key: f.Key}
	var err error
	if filter.Since, err = parseSince("--since", f.Since); err == nil {
		filter.Until, err = parseSince("--until", f.Until)
	}
	if err != nil {
		return nil, err
	}
	if f.Records != "" {
		return f.read(filter)
	}
	if strings.HasPrefix(f.Data, "http://") || strings.HasPrefix(f.Data, "https://") {
		f.AdminURL, f.Data = f.Data, ""
		return f.fetch(filter)
	}
	log, err := badgerdb.OpenLogCopy(f.Data)
	if errors.Is(err, badgerdb.ErrInUse) || errors.Is(err, fs.ErrNotExist) {
		return f.fetch(filter)
	}
	if err != nil {
		return nil, err
	}
	src, stop := records.Read(log, filepath.Join(f.Data, "policies"), filter)
	now := time.Now().UTC()
	o := &opened{Source: src, head: records.Head{Created: now, Gateway: version, Since: filter.Since, Until: now}, close: func() error {
		stop()
		return log.Close()
	}}
	if ledger, err := badgerdb.OpenSnapshot(f.Data); err == nil { // for the budgets; what is wrong with it is said elsewhere
		if accounts, teams, keys, err := ledger.Spenders(); err == nil {
			o.head.Budgets = records.Budgets(accounts, teams, keys)
		}
		err = ledger.Close()
		if err != nil {
			return nil, errors.Join(err, o.close())
		}
	}
	return o, nil
}

// read opens the file.
func (f *recordsFrom) read(filter records.Filter) (*opened, error) {
	in := os.Stdin
	if f.Records != "-" {
		var err error
		if in, err = os.Open(f.Records); err != nil {
			return nil, err
		}
	}
	src, head, err := records.Open(in)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Records, err), in.Close())
	}
	o := &opened{Source: records.Filtered(src, filter), head: head, close: in.Close}
	if info, err := in.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		o.share = func() float64 {
			at, err := in.Seek(0, io.SeekCurrent)
			if err != nil {
				return 0
			}
			return float64(at) / float64(info.Size())
		}
	}
	return o, nil
}

// fetch asks a running gateway.
func (f *recordsFrom) fetch(filter records.Filter) (*opened, error) {
	c, err := f.client()
	if err != nil {
		return nil, err
	}
	c.http.Timeout = 0 // as long as it takes
	query := url.Values{"account": {filter.Account}, "key": {filter.Key}}
	for name, at := range map[string]time.Time{"since": filter.Since, "until": filter.Until} {
		if !at.IsZero() {
			query.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	resp, err := c.do("GET", "/api/v1/admin/records?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, apiError(resp)
	}
	src, head, err := records.Open(resp.Body)
	if err != nil {
		return nil, errors.Join(err, resp.Body.Close())
	}
	return &opened{Source: src, head: head, close: resp.Body.Close}, nil
}

// parseSince reads an age, a day or a time; "" is the zero time.
func parseSince(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseFloat(days, 64); err == nil && n >= 0 && n < 1e5 {
			return time.Now().Add(-time.Duration(n * 24 * float64(time.Hour))), nil
		}
	}
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return time.Now().Add(-age), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%s %q is neither an age like 24h or 7d, nor a day like 2026-11-01, nor a time like 2026-11-01T00:00:00Z", flag, text)
}

type recordsExport struct {
	recordsFrom
	Output string `short:"o" help:"The file. Default: standard output." type:"path"`
}

// Run writes the file; one that was not written to its end is taken away.
func (x *recordsExport) Run(term terminal) error {
	src, err := x.open()
	if err != nil {
		return err
	}
	defer src.close() //nolint:errcheck // what was read is told of
	tail, err := writeRecords(x.Output, term.out, src.head, src)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.err, "%d requests about %d snapshots\n", tail.Requests, tail.Generations)
	return nil
}

// writeRecords writes a file, to standard output if it has no name.
func writeRecords(name string, stdout io.Writer, head records.Head, src records.Source) (records.Tail, error) {
	to, finish := stdout, func() error { return nil }
	if name != "" {
		file, err := os.Create(name)
		if err != nil {
			return records.Tail{}, err
		}
		to, finish = file, file.Close
	}
	out, err := records.NewWriter(to, head)
	if err == nil {
		err = records.Copy(out, src, nil)
	}
	if err == nil {
		err = out.Close()
	}
	if err = errors.Join(err, finish()); err != nil {
		if name != "" {
			err = errors.Join(fmt.Errorf("the records are not whole: %w", err), os.Remove(name))
		}
		return records.Tail{}, err
	}
	return out.Written(), nil
}

type recordsImport struct {
	File string `arg:"" help:"The file; - is standard input."`
	Data string `help:"Data directory of the stopped gateway; it is made if there is none." default:"${data}" env:"POINTSMAN_DATA"`
}

// Run puts the records into the log.
func (i *recordsImport) Run(term terminal) error {
	f := recordsFrom{Records: i.File}
	src, err := f.open()
	if err != nil {
		return err
	}
	defer src.close() //nolint:errcheck // what was read is told of
	forever := 100 * 365 * 24 * time.Hour
	log, err := badgerdb.OpenLog(badgerdb.Config{Dir: i.Data, Logger: newLogger(term.err, "warn"), Retain: forever, DropNothing: true})
	if err != nil {
		return err
	}
	done, err := records.Import(log, filepath.Join(i.Data, "policies"), src)
	if err = errors.Join(err, log.Close()); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%d requests about %d snapshots; %d were there already\n", done.Requests, done.Generations, done.Known)
	return nil
}

type recordsGenerate struct {
	Requests      int           `help:"How many." default:"10000"`
	PerGeneration int           `help:"Requests that see the same snapshot." default:"64"`
	Seed          uint64        `help:"The same seed gives the same file." default:"1"`
	Every         time.Duration `help:"From one request to the next." default:"1s"`
	Output        string        `short:"o" help:"The file. Default: standard output." type:"path"`
}

// Run writes the file.
func (g *recordsGenerate) Run(term terminal) error {
	host, err := policies.New(context.Background(), policies.Config{})
	if err != nil {
		return err
	}
	defer host.Close() //nolint:errcheck // it serves nobody
	src, err := records.Generate(records.Generated{
		Seed: g.Seed, Requests: g.Requests, PerGeneration: g.PerGeneration, Every: g.Every, Policies: builtin.Modules(),
	}, host)
	if err != nil {
		return err
	}
	head := records.Head{Created: time.Now().UTC(), Gateway: version}
	_, err = writeRecords(g.Output, term.out, head, src)
	return err
}
