package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pointsman/pointsman/cmd/pointsman/config"
	"github.com/pointsman/pointsman/cmd/pointsman/pricelist"
	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/storage"
)

type catalogCmd struct {
	List   catalogList   `cmd:"" help:"List models with what their providers charge and what users pay."`
	Show   catalogShow   `cmd:"" help:"Show everything that is known of a model's prices."`
	Diff   catalogDiff   `cmd:"" help:"Compare the prices of a file with the catalog's. Exits with 1 if any differ."`
	Update catalogUpdate `cmd:"" help:"Make the configuration of the prices of a file."`
}

// catalogFlags say which catalog is meant.
type catalogFlags struct {
	Config string `short:"c" help:"The configuration file whose models are meant. Default: the built-in ones." type:"existingfile" env:"POINTSMAN_CONFIG"`
}

func (f catalogFlags) load() (*config.Config, *catalog.Catalog, error) {
	cfg, err := config.Default(func(string) string { return "" })
	if f.Config != "" {
		cfg, err = config.Load(f.Config, os.Getenv)
	}
	if err != nil {
		return nil, nil, err
	}
	models, err := catalog.Build(cfg.Models)
	return cfg, models, err
}

type catalogList struct{ catalogFlags }

// Run lists the models.
func (l *catalogList) Run(term terminal) error {
	_, models, err := l.load()
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(term.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "MODEL\tTIER\tPROVIDER\tUSD IN\tOUT\tCACHE READ\tOTHER PRICES\tCREDITS/1K")
	for _, d := range models.Deployments {
		price := func(k catalog.Rate) string { return orDash(catalog.RateText(d.Price.Rates[k])) }
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t%d\t%s\n", d.Model.Name, d.Model.Tier, d.Provider,
			price(catalog.RateIn), price(catalog.RateOut), price(catalog.RateCacheRead), len(d.Price.Sets), d.Per1K())
	}
	return w.Flush()
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

type catalogShow struct {
	catalogFlags
	Name string `arg:"" help:"The model's name, or another name that a request may use."`
}

// Run shows the model.
func (s *catalogShow) Run(term terminal) error {
	cfg, models, err := s.load()
	if err != nil {
		return err
	}
	found, ok := models.Resolve(s.Name)
	if !ok {
		return fmt.Errorf("there is no model %q; pointsman catalog list shows them", s.Name)
	}
	m := found.Model
	fmt.Fprintf(term.out, "%s: %s, tier %d, context %d, output %d\n", m.Name, catalog.ModeName(m.Mode), m.Tier, m.ContextWindow, m.MaxOutput)
	fmt.Fprintf(term.out, "users pay: %s\n", charges(m, cfg.Tariff))
	for _, d := range m.Deployments {
		version, _ := d.Sheet(cfg.Tariff.Markups)
		fmt.Fprintf(term.out, "\nat %s, as %s; price version %s\n", d.Provider, d.Upstream, version)
		if err := showPrice(term.out, d); err != nil {
			return err
		}
	}
	return nil
}

// charges says what users pay for a model.
func charges(m *catalog.Model, t config.Tariff) string {
	var parts []string
	if m.Rate > 0 {
		parts = append(parts, m.Rate.String()+" credits per 1,000 tokens")
	}
	if m.UnitRate > 0 {
		parts = append(parts, m.UnitRate.String()+" credits per "+catalog.UnitName(m.Mode))
	}
	if m.CostRate > 0 {
		var markups []string
		for i, tier := range storage.AccountTiers() {
			markups = append(markups, fmt.Sprintf("%s %d %%", tier, t.Markups[i]))
		}
		parts = append(parts, m.CostRate.String()+" credits per dollar of cost and markup ("+strings.Join(markups, ", ")+")")
	}
	if parts == nil {
		return "nothing"
	}
	return strings.Join(parts, ", and ")
}

// showPrice writes the prices of a deployment, a column for each service and threshold.
func showPrice(out io.Writer, d *catalog.Deployment) error {
	if d.Unpriced != "" {
		fmt.Fprintf(out, "nobody has said what it costs: unpriced = %q\n", d.Unpriced)
	}
	if d.Price.Unit > 0 {
		fmt.Fprintf(out, "%s dollars per %s\n", storage.NanoUSD(d.Price.Unit), catalog.UnitName(d.Model.Mode))
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	sets := append([]catalog.Set{{Rates: d.Price.Rates}}, d.Price.Sets...)
	fmt.Fprint(w, "USD per 1M tokens\t")
	for _, s := range sets {
		name := s.ServiceTier
		if name == "" {
			name = "standard"
		}
		if s.Above > 0 {
			name += fmt.Sprintf(" > %d", s.Above)
		}
		fmt.Fprint(w, name, "\t")
	}
	fmt.Fprintln(w)
	for k, name := range catalog.RateNames() {
		if !slices.ContainsFunc(sets, func(s catalog.Set) bool { return s.Rates[k] != 0 }) {
			continue
		}
		fmt.Fprint(w, name, "\t")
		for _, s := range sets {
			fmt.Fprint(w, orDash(catalog.RateText(s.Rates[k])), "\t")
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

// priceFile is a file of prices to compare with a catalog.
type priceFile struct {
	catalogFlags
	File string `arg:"" type:"existingfile" help:"A table like the built-in one (TSV), LiteLLM's model_prices_and_context_window.json, or the data.json of genai-prices."`
}

// repriced is a deployment as the file would have it.
type repriced struct {
	model   string
	at      catalog.DeploymentEntry
	price   catalog.Price
	changes []pricelist.Change
	found   bool
	name    string // in the file
}

// compare looks up every deployment of the catalog in the file. fresh are the file's models that the catalog does not have.
func (f *priceFile) compare() (cfg *config.Config, list *pricelist.List, all []repriced, fresh []string, err error) {
	data, err := os.ReadFile(f.File)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if list, err = pricelist.Read(data, time.Now()); err != nil {
		return nil, nil, nil, nil, fmt.Errorf("%s: %w", f.File, err)
	}
	if cfg, _, err = f.load(); err != nil {
		return nil, nil, nil, nil, err
	}
	known := map[string]bool{}
	for _, e := range cfg.Models {
		for _, d := range e.Deployments {
			listed, name, ok := list.Find(e.Name, d)
			r := repriced{model: e.Name, at: d, found: ok, name: name}
			if ok {
				known[name] = true
				r.price = list.Merge(d.Price, listed)
				r.changes = pricelist.Diff(d.Price, r.price)
			}
			all = append(all, r)
		}
	}
	fresh = slices.DeleteFunc(list.Names(), func(name string) bool { return known[name] })
	return cfg, list, all, fresh, nil
}

type catalogDiff struct {
	priceFile
	New bool `help:"List the models that only the file has. A table's are listed anyway; the JSON files have thousands, which are counted."`
}

// errPricesDiffer is how diff says that it found something.
var errPricesDiffer = errors.New("the prices differ")

// Run prints what differs.
func (c *catalogDiff) Run(term terminal) error {
	_, list, all, fresh, err := c.compare()
	if err != nil {
		return err
	}
	differ := false
	for _, r := range all {
		for _, change := range r.changes {
			differ = true
			fmt.Fprintf(term.out, "~ %s at %s: %s\n", r.model, r.at.Provider, change)
		}
		if !r.found && !r.at.Local && !list.Partial {
			differ = true
			fmt.Fprintf(term.out, "- %s at %s: the file does not have %s\n", r.model, r.at.Provider, r.at.Upstream)
		}
	}
	if c.New || list.Partial {
		for _, name := range fresh {
			differ = true
			fmt.Fprintf(term.out, "+ %s: the catalog does not have it\n", name)
		}
	} else if len(fresh) > 0 {
		fmt.Fprintf(term.err, "%d models are in the file alone; --new lists them\n", len(fresh))
	}
	noteSkipped(term, list, all)
	if differ {
		return errPricesDiffer
	}
	return nil
}

// noteSkipped tells what the file says of the catalog's models that is not used.
func noteSkipped(term terminal, list *pricelist.List, all []repriced) {
	var skipped []string
	for _, r := range all {
		skipped = append(skipped, list.Skipped(r.name)...)
	}
	slices.Sort(skipped)
	if skipped = slices.Compact(skipped); len(skipped) > 0 {
		fmt.Fprintf(term.err, "the gateway has no place for these fields of the file: %s\n", strings.Join(skipped, ", "))
	}
}

type catalogUpdate struct {
	priceFile
	Write  bool   `help:"Write the file. Without it the text goes to the standard output."`
	Output string `short:"o" help:"Where to write it." default:"prices.toml"`
}

// Run makes [[prices.models]] tables of what differs, beside those that the configuration has already.
func (c *catalogUpdate) Run(term terminal) error {
	cfg, list, all, _, err := c.compare()
	if err != nil {
		return err
	}
	var changed []config.PriceOverride
	for _, r := range all {
		override := config.PriceOverride{Model: r.model, Provider: r.at.Provider, Price: r.price}
		overridden := slices.ContainsFunc(cfg.Prices.Overrides, func(o config.PriceOverride) bool {
			return o.Model == r.model && (o.Provider == "" || o.Provider == r.at.Provider)
		})
		switch {
		case len(r.changes) > 0:
		case overridden:
			override.Price = r.at.Price
		default:
			continue
		}
		changed = append(changed, override)
	}
	noteSkipped(term, list, all)
	if len(changed) == 0 {
		fmt.Fprintln(term.err, "no price differs from the catalog's")
		return nil
	}
	text := "# Prices from " + strings.ToValidUTF8(strings.Map(printableRune, c.File), "?") + ", made by pointsman catalog update.\n" +
		"# To use them: [prices] include = \"this file\" in the configuration, or this file as the configuration.\n" + cfg.PriceText(changed)
	if !c.Write {
		_, err := io.WriteString(term.out, text)
		return err
	}
	if err := os.WriteFile(c.Output, []byte(text), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(term.out, "%s: prices of %d deployments\n", c.Output, len(changed))
	return nil
}

// printableRune keeps a comment on its line.
func printableRune(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}
