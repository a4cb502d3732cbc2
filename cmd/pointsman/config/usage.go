package config

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pointsman/pointsman/engine/scrub"
	adapter "github.com/pointsman/pointsman/sdk/provider"
	"github.com/pointsman/pointsman/storage"
)

// Log is the [log] table: what is kept of requests beside the ledger.
type Log struct {
	MaxMB                          int // of requests and sums together
	MinuteDays, HourDays, DayDays  int // that sums of minutes, hours and days are kept
	CreditUSD                      storage.NanoUSD
	Bodies                         bool
	BodiesMB, BodyKB               int
	BodiesDays                     int
	BodiesExcept                   []string // accounts whose bodies are not kept
	RedactPaths, RedactExpressions []string
}

// Events is the [events] table: where usage is told to.
type Events struct {
	URL          string // "" for nowhere
	Secret       adapter.Secret
	Kind         string // lago or webhook
	Code         string // of Lago's billable metric
	Batch        int
	AllowPrivate bool
	Timeout      time.Duration
	// RetryFirst is how long to wait after a failure, RetryMost after many.
	RetryFirst, RetryMost time.Duration
}

func (c *Config) usage(root *table) {
	t := root.child("log", "in [log]")
	c.Log = Log{
		MaxMB:      int(t.integer("max_mb", 4096, 64, 16<<20)),
		MinuteDays: int(t.integer("minute_days", 2, 1, 366)),
		HourDays:   int(t.integer("hour_days", 90, 1, 36_500)),
		DayDays:    int(t.integer("day_days", 3*365, 1, 36_500)),
		Bodies:     t.flag("bodies", false),
		BodiesMB:   int(t.integer("bodies_mb", 1024, 64, 16<<20)),
		BodiesDays: int(t.integer("bodies_days", 7, 1, 36_500)),
		BodyKB:     int(t.integer("body_kb", 64, 1, 256)),
	}
	if text, given := t.decimal("credit_usd"); given {
		n, err := storage.ParseNanoUSD(text)
		if err != nil || n < 0 || n > 1_000_000*1_000_000_000 {
			t.fault("credit_usd", "credit_usd must be a decimal number of US dollars between 0 and 1000000 with at most 9 fractional digits")
		}
		c.Log.CreditUSD = n
	}
	c.Log.BodiesExcept = t.strs("bodies_except")
	c.Log.RedactPaths = t.strs("redact_paths")
	c.Log.RedactExpressions = t.strs("redact_expressions")
	for i, path := range c.Log.RedactPaths {
		if _, err := scrub.New([]string{path}, nil); err != nil {
			t.faultAt(t.path.key("redact_paths").at(i), "an element of redact_paths must be names of members with a dot between them, like messages.*.content")
		}
	}
	for i, e := range c.Log.RedactExpressions {
		if _, err := scrub.New(nil, []string{e}); err != nil {
			t.faultAt(t.path.key("redact_expressions").at(i), "an element of redact_expressions must be a regular expression")
		}
	}
	if c.Log.HourDays < c.Log.MinuteDays || c.Log.DayDays < c.Log.HourDays {
		key := "hour_days"
		if c.Log.HourDays >= c.Log.MinuteDays {
			key = "day_days"
		}
		t.missing("%s must not be less than that of the finer sums: minute_days <= hour_days <= day_days", key)
	}
	t.done()

	e := root.child("events", "in [events]")
	c.Events = Events{
		URL: e.str("url", ""), Secret: adapter.NewSecret(e.hidden().str("secret", "")), Kind: e.oneOf("kind", "webhook", []string{"lago", "webhook"}),
		Code: e.str("code", "llm_request"), Batch: int(e.integer("batch", 100, 1, 1000)), AllowPrivate: e.flag("allow_private", false),
		Timeout:    seconds(e.number("timeout", 30, 0.1, 600)),
		RetryFirst: seconds(e.number("retry_first", 1, 0.01, 3600)), RetryMost: seconds(e.number("retry_most", 300, 0.01, 86_400)),
	}
	e.known = append(e.known, "secret")
	u, err := url.Parse(c.Events.URL)
	switch {
	case c.Events.URL == "":
		if e.has("secret") || e.has("kind") {
			e.missing("[events] has no url")
		}
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !slices.Contains([]string{"http", "https"}, u.Scheme):
		e.fault("url", "url must be scheme://host[:port][/path], with http or https")
	case !c.Events.Secret.IsSet():
		e.missing("[events] has no secret: %s", map[string]string{"lago": "Lago's API key", "webhook": "what signs the messages, whsec_ and base64"}[c.Events.Kind])
	}
	if c.Events.Kind == "lago" && c.Events.Batch > 100 {
		e.fault("batch", "batch must be between 1 and 100 for lago, which takes no more")
	}
	e.done()
}

// usage prints the [log] table, and [events] where usage is told to anybody.
func (p *printer) usage(c *Config) {
	p.table("[log]")
	for _, n := range []struct {
		key   string
		value int
	}{{"max_mb", c.Log.MaxMB}, {"minute_days", c.Log.MinuteDays}, {"hour_days", c.Log.HourDays}, {"day_days", c.Log.DayDays}} {
		p.pair(n.key, strconv.Itoa(n.value))
	}
	if c.Log.CreditUSD > 0 {
		p.pair("credit_usd", c.Log.CreditUSD.String())
	}
	p.pair("bodies", strconv.FormatBool(c.Log.Bodies))
	if c.Log.Bodies {
		p.pair("bodies_mb", strconv.Itoa(c.Log.BodiesMB))
		p.pair("bodies_days", strconv.Itoa(c.Log.BodiesDays))
		p.pair("body_kb", strconv.Itoa(c.Log.BodyKB))
		p.list("bodies_except", c.Log.BodiesExcept)
		p.list("redact_paths", c.Log.RedactPaths)
		p.list("redact_expressions", c.Log.RedactExpressions)
	}
	if c.Events.URL == "" {
		return
	}
	p.table("[events]")
	p.pair("url", quote(c.Events.URL))
	p.pair("secret", quote(c.Events.Secret.Mask()))
	p.pair("kind", quote(c.Events.Kind))
	if c.Events.Kind == "lago" {
		p.pair("code", quote(c.Events.Code))
	}
	p.pair("batch", strconv.Itoa(c.Events.Batch))
	p.pair("allow_private", strconv.FormatBool(c.Events.AllowPrivate))
	for _, d := range []struct {
		key   string
		value time.Duration
	}{{"timeout", c.Events.Timeout}, {"retry_first", c.Events.RetryFirst}, {"retry_most", c.Events.RetryMost}} {
		p.pair(d.key, strconv.FormatFloat(d.value.Seconds(), 'f', -1, 64))
	}
}
