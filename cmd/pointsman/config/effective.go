package config

import (
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	"github.com/pointsman/pointsman/sdk/policy"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// WriteEffective writes the configuration as TOML with defaults filled in and secrets masked. Where a secret may hide
// behind another name (settings, plugin arguments, policy parameters) references to the environment stay references. The
// same configuration always gives the same text. Built-in models are summed up in a comment, as are built-in providers
// without a key. Its errors are those of w.
func (c *Config) WriteEffective(w io.Writer) error {
	p := &printer{dir: filepath.Dir(c.absolute("x")), references: c.references}
	p.server(c)
	for i := range c.Providers {
		p.provider(&c.Providers[i])
	}
	p.table("[catalog]")
	p.pair("builtin", strconv.FormatBool(c.BuiltinCatalog))
	if c.BuiltinCatalog {
		p.builtinModels(c)
	}
	for _, e := range c.Models {
		if c.fileModels[e.Name] {
			p.model(e)
		}
	}
	p.prices(c)
	p.table("[accounts]")
	p.pair("default_credits", c.Accounts.DefaultCredits.String())
	p.pair("default_tier", quote(string(c.Accounts.DefaultTier)))
	p.pair("default_power_level", quote(c.Accounts.DefaultPowerLevel))
	p.table("[budgets]")
	p.pair("alert_at", fractions(c.Budgets.AlertAt))
	p.table("[simulator]")
	p.pair("enabled", strconv.FormatBool(c.Simulator.Enabled))
	p.rules(c)
	for _, policy := range c.Policies {
		p.policy(policy)
	}
	for _, plugin := range c.Plugins {
		p.plugin(plugin)
	}
	p.table("[health]")
	p.pair("probe", quote(c.Health.Probe))
	p.table("[retries]")
	p.pair("attempts", strconv.Itoa(c.Retries.Attempts))
	p.pair("pause", strconv.FormatFloat(c.Retries.Pause.Seconds(), 'f', -1, 64))
	p.pair("max_pause", strconv.FormatFloat(c.Retries.MaxPause.Seconds(), 'f', -1, 64))
	p.pair("percent", strconv.Itoa(c.Retries.Percent))
	p.table("[hedge]")
	p.pair("mode", quote(c.Hedge.Mode))
	p.pair("percent", strconv.Itoa(c.Hedge.Percent))
	p.limits(&c.Limits)
	p.overload(&c.Overload)
	p.cache(&c.Cache)
	p.stores(c)
	p.vault(c.Vault)
	p.usage(c)
	if _, err := io.WriteString(w, p.out.String()); err != nil {
		return fmt.Errorf("writing the effective configuration: %w", err)
	}
	return nil
}

type printer struct {
	out        strings.Builder
	dir        string // of the configuration file
	noted      bool   // the last line is a comment about a provider
	references map[string]string
}

func (p *printer) table(header string) {
	if p.out.Len() > 0 {
		p.out.WriteByte('\n')
	}
	p.noted = false
	p.out.WriteString(header + "\n")
}

func (p *printer) pair(key, value string) { p.out.WriteString(key + " = " + value + "\n") }

func (p *printer) note(key, value, note string) {
	p.out.WriteString(key + " = " + value + "  # " + note + "\n")
}

func (p *printer) server(c *Config) {
	from := "defaults and the environment"
	if c.File != "" {
		from = printable(c.File)
	}
	p.out.WriteString("# Effective configuration of " + from + "; secrets are masked.\n")
	p.table("[server]")
	p.pair("listen", quote(c.Server.Listen))
	p.pair("admin_listen", quote(c.Server.AdminListen))
	p.pair("max_body_bytes", strconv.Itoa(c.Server.MaxBodyBytes))
	if c.Server.TLSCert != "" {
		p.pair("tls_cert", quote(p.written(c.Server.TLSCert)))
		p.pair("tls_key", quote(p.written(c.Server.TLSKey)))
	}
	p.list("cors_origins", c.Server.CORSOrigins)
	p.pair("keep_alive_after", strconv.FormatFloat(c.Server.KeepAliveAfter.Seconds(), 'g', -1, 64))
	p.pair("keep_alive_every", strconv.FormatFloat(c.Server.KeepAliveEvery.Seconds(), 'g', -1, 64))
	p.pair("watch", strconv.FormatBool(c.Server.Watch))
	p.pair("drain_delay", strconv.Itoa(int(c.Server.DrainDelay.Seconds())))
	p.pair("drain_limit", strconv.Itoa(int(c.Server.DrainLimit.Seconds())))
}

func (p *printer) provider(v *Provider) {
	if v.Builtin && !v.Usable() && v.URLSource == "" && len(v.Settings) == 0 {
		if !p.noted {
			p.out.WriteByte('\n')
		}
		p.noted = true
		p.out.WriteString("# provider " + v.Name + ": no key; set " + strings.Join(KeyVariables(v.Name), " or ") + "\n")
		return
	}
	p.table("[providers." + bare(v.Name) + "]")
	p.pair("adapter", quote(v.Adapter))
	switch {
	case len(v.Probe) > 0:
		p.note("base_url", quote(v.BaseURL), "the first to answer of: "+strings.Join(v.Probe, ", "))
	case v.BaseURL != "" && v.URLSource != "":
		p.note("base_url", quote(v.BaseURL), "from "+v.URLSource)
	case v.BaseURL != "":
		p.pair("base_url", quote(v.BaseURL))
	}
	if v.APIKey.IsSet() {
		p.note("api_key", quote(v.APIKey.Mask()), "from "+v.KeySource)
	}
	p.pair("allow_private", strconv.FormatBool(v.AllowPrivate))
	p.pair("local", strconv.FormatBool(v.Local))
	if v.NoCollection {
		p.pair("no_collection", "true")
	}
	if v.ZeroRetention {
		p.pair("zero_retention", "true")
	}
	if v.ProviderTools {
		p.pair("provider_tools", "true")
	}
	p.timeouts("timeouts", v.Timeouts)
	if len(v.Settings) > 0 {
		p.table("[providers." + bare(v.Name) + ".settings]")
		for _, key := range slices.Sorted(maps.Keys(v.Settings)) {
			p.pair(bare(key), p.guarded(key, v.Settings[key], quote))
		}
	}
}

// timeouts prints those that are set, if any is.
func (p *printer) timeouts(key string, w catalog.Timeouts) {
	var set []string
	for _, stage := range []struct {
		name  string
		limit time.Duration
	}{{"connect", w.Connect}, {"tls", w.TLS}, {"first_byte", w.FirstByte}, {"first_content", w.FirstContent}, {"idle", w.Idle}, {"total", w.Total}} {
		if stage.limit > 0 {
			set = append(set, stage.name+" = "+strconv.FormatFloat(stage.limit.Seconds(), 'f', -1, 64))
		}
	}
	if len(set) > 0 {
		p.pair(key, "{ "+strings.Join(set, ", ")+" }")
	}
}

// written is a path as the file may give it: relative if it is below the file's directory.
func (p *printer) written(path string) string {
	if relative, err := filepath.Rel(p.dir, path); err == nil && filepath.IsLocal(relative) {
		return relative
	}
	return path
}

// guarded prints a value that may be a secret although it is not declared as one.
func (p *printer) guarded(key, value string, print func(string) string) string {
	if raw, ok := p.references[value]; ok {
		return basicString(raw)
	}
	if looksSecret(key) {
		return quote(adapter.NewSecret(value).Mask())
	}
	return print(value)
}

// looksSecret says whether a setting's name suggests that its value should not be shown.
func looksSecret(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"key", "token", "secret", "password", "credential", "auth"}, func(word string) bool { return strings.Contains(name, word) })
}

func (p *printer) builtinModels(c *Config) {
	var tiers [catalog.MaxTier + 1]int
	total := 0
	for _, e := range c.Models {
		if !c.fileModels[e.Name] {
			tiers[e.Tier]++
			total++
		}
	}
	fmt.Fprintf(&p.out, "# %d built-in models; in tiers 0 to %d: %s\n", total, catalog.MaxTier, strings.Trim(fmt.Sprint(tiers), "[]"))
}

func (p *printer) model(e catalog.Entry) {
	p.table("[[models]]")
	p.pair("name", quote(e.Name))
	p.pair("mode", quote(e.Mode))
	p.pair("tier", strconv.Itoa(e.Tier))
	p.pair("credits_per_1k", e.CreditsPer1K.String())
	if e.CreditsPerUnit > 0 {
		p.pair("credits_per_unit", e.CreditsPerUnit.String())
	}
	if e.CreditsPerUSD > 0 {
		p.pair("credits_per_usd", e.CreditsPerUSD.String())
	}
	p.pair("context_window", strconv.FormatUint(uint64(e.ContextWindow), 10))
	if e.MaxOutput > 0 {
		p.pair("max_output", strconv.FormatUint(uint64(e.MaxOutput), 10))
	}
	p.list("capabilities", e.Capabilities)
	p.list("strengths", e.Strengths)
	if e.Quality > 0 {
		p.pair("quality", strconv.FormatFloat(float64(e.Quality), 'f', -1, 32))
	}
	var aliases []string
	for _, a := range e.Aliases {
		aliases = append(aliases, a.Name)
	}
	p.list("aliases", aliases)
	if unpriced := unpricedOf(e); unpriced != "" {
		p.pair("unpriced", quote(string(unpriced)))
	}
	p.timeouts("timeouts", e.Timeouts)
	for _, d := range e.Deployments {
		p.table("  [[models.deployments]]")
		p.pair("  provider", quote(d.Provider))
		p.pair("  upstream", quote(d.Upstream))
		p.timeouts("  timeouts", d.Timeouts)
		if d.Unpriced == "" {
			p.price("  ", "models.deployments", e.Mode, d.Price)
		}
	}
}

func (p *printer) list(key string, words []string) {
	if len(words) == 0 {
		return
	}
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = quote(word)
	}
	p.pair(key, "["+strings.Join(quoted, ", ")+"]")
}

// rules prints what holds for all policies; whose are accepted only if that was not left open.
func (p *printer) rules(c *Config) {
	p.table("[policies]")
	p.pair("check_every", strconv.Itoa(c.Rounds.CheckEvery))
	p.pair("round_credits", c.Rounds.Credits.String())
	p.pair("record_texts", strconv.FormatBool(c.Rounds.RecordTexts))
	if len(c.Trust.Keys) == 0 {
		return
	}
	var keys []string
	for _, k := range c.Trust.Keys {
		keys = append(keys, k.String())
	}
	p.list("trusted_keys", keys)
	p.pair("allow_unsigned", strconv.FormatBool(c.Trust.AllowUnsigned))
}

func (p *printer) policy(v Policy) {
	p.table("[policies." + bare(v.Name) + "]")
	if v.File != "" {
		p.pair("file", quote(p.written(v.File)))
	}
	p.list("grants", append([]string{"features"}, policy.GrantNames(v.Grants)...))
	if v.Fuel > 0 {
		p.pair("fuel", strconv.FormatInt(v.Fuel, 10))
	}
	if v.ShadowOf == "" {
		p.pair("shortlist", strconv.Itoa(v.Shortlist))
	} else {
		p.pair("shadow_of", quote(v.ShadowOf))
		p.pair("share", strconv.FormatFloat(v.Share, 'f', -1, 64))
	}
	if v.SignatureGiven {
		p.pair("signature", quote(p.written(v.Signature)))
	}
	if v.Params == "" {
		return
	}
	p.table("[policies." + bare(v.Name) + ".config]")
	for line := range strings.Lines(v.Params) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		p.pair(dotted(key), p.guarded(key, value, scalar))
	}
}

// scalar prints a policy's value as a number or boolean if that reads back to the same text, else as a string.
func scalar(value string) string {
	if n, err := strconv.ParseInt(value, 10, 64); err == nil && strconv.FormatInt(n, 10) == value || value == "true" || value == "false" {
		return value
	}
	if f, err := strconv.ParseFloat(value, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && strings.Contains(value, ".") && strconv.FormatFloat(f, 'f', -1, 64) == value {
		return value
	}
	return quote(value)
}

func (p *printer) plugin(v Plugin) {
	p.table("[plugins." + bare(v.Name) + "]")
	p.pair("path", quote(p.written(v.Path)))
	if v.SHA256 != "" {
		p.pair("sha256", quote(v.SHA256))
	}
	if len(v.Args) > 0 {
		args := make([]string, len(v.Args))
		for i, arg := range v.Args {
			args[i] = p.guarded("", arg, quote)
		}
		p.pair("args", "["+strings.Join(args, ", ")+"]")
	}
	p.list("env", v.Env)
	if !slices.Equal(v.Adapters, []string{v.Name}) {
		p.list("adapters", v.Adapters)
	}
	if v.MemoryMB > 0 {
		p.pair("memory_mb", strconv.Itoa(v.MemoryMB))
	}
	p.paths("read_paths", v.ReadPaths)
	p.paths("write_paths", v.WritePaths)
	if v.Processes {
		p.pair("processes", "true")
	}
	if v.PlainSocket {
		p.pair("mtls", "false")
	}
	if v.Unconfined {
		p.pair("unconfined", "true")
	}
}

func (p *printer) paths(key string, paths []string) {
	var written []string
	for _, path := range paths {
		written = append(written, p.written(path))
	}
	p.list(key, written)
}

// fractions prints percents as an array of fractions.
func fractions(percents []int) string {
	var parts []string
	for _, percent := range percents {
		parts = append(parts, fmt.Sprintf("%d.%02d", percent/100, percent%100))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// dotted prints a key whose parts are joined with dots.
func dotted(key string) string {
	parts := strings.Split(key, ".")
	for i, part := range parts {
		parts[i] = bare(part)
	}
	return strings.Join(parts, ".")
}

// bare quotes a key unless it can stand as it is.
func bare(key string) string {
	for _, c := range []byte(key) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '_' && c != '-' {
			return basicString(key)
		}
	}
	if key == "" {
		return `""`
	}
	return key
}

// quote writes a value so that reading it back, references and all, gives the same text.
func quote(text string) string { return basicString(strings.ReplaceAll(text, "${", "$${")) }

// basicString is a TOML basic string.
func basicString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
