package config

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pointsman/pointsman/engine/catalog"
	adapter "github.com/pointsman/pointsman/sdk/provider"
)

// defaultTimeouts are those of a provider that says nothing else. A whole answer may take as long as credits are held for
// one, and a model may think for some minutes before it says anything.
func defaultTimeouts() catalog.Timeouts {
	return catalog.Timeouts{Connect: 5 * time.Second, TLS: 5 * time.Second, FirstByte: time.Minute, FirstContent: 5 * time.Minute, Idle: time.Minute, Total: 30 * time.Minute}
}

// known is a built-in provider: how it is reached and what its users call its environment variables, best name first.
type known struct {
	name     string
	adapter  string
	baseURL  string
	keys     []string
	baseURLs []string
}

// The built-in providers, in the order they are listed everywhere.
var builtinProviders = [...]known{
	{
		"openai", "openai", "https://api.openai.com/v1",
		[]string{"OPENAI_API_KEY"},
		baseNames("OPENAI"),
	},
	{
		"anthropic", "anthropic", "https://api.anthropic.com/v1",
		[]string{"ANTHROPIC_API_KEY"},
		baseNames("ANTHROPIC"),
	},
	{
		"groq", "groq", "https://api.groq.com/openai/v1",
		[]string{"GROQ_API_KEY"},
		baseNames("GROQ"),
	},
	{
		"together", "together", "https://api.together.xyz/v1",
		[]string{"TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"},
		baseNames("TOGETHERAI", "TOGETHER", "TOGETHER_AI"),
	},
	{
		"deepinfra", "deepinfra", "https://api.deepinfra.com/v1/openai",
		[]string{"DEEPINFRA_API_KEY"},
		baseNames("DEEPINFRA"),
	},
	{
		"openrouter", "openrouter", "https://openrouter.ai/api/v1",
		[]string{"OPENROUTER_API_KEY", "OR_API_KEY"},
		baseNames("OPENROUTER", "OR"),
	},
	{
		"fireworks", "fireworks", "https://api.fireworks.ai/inference/v1",
		[]string{"FIREWORKS_AI_API_KEY", "FIREWORKS_API_KEY", "FIREWORKSAI_API_KEY"},
		baseNames("FIREWORKS_AI", "FIREWORKS", "FIREWORKSAI"),
	},
	{
		"huggingface", "huggingface", "https://router.huggingface.co/v1",
		[]string{"HF_TOKEN", "HUGGINGFACE_API_KEY"},
		baseNames("HF", "HUGGINGFACE"),
	},
	{
		catalog.LocalProvider, "local", "",
		[]string{"HOSTED_VLLM_API_KEY"},
		nil,
	},
}

// baseNames are the two spellings of a base URL's variable for each prefix.
func baseNames(prefixes ...string) []string {
	var names []string
	for _, p := range prefixes {
		names = append(names, p+"_BASE_URL", p+"_API_BASE")
	}
	return names
}

// BuiltinAdapters lists the adapters that the gateway brings along.
func BuiltinAdapters() []string {
	return []string{
		"openai", "anthropic", "azure", "bedrock", "deepinfra", "fireworks", "groq", "huggingface", "local", "openrouter", "simulator",
		"together",
	}
}

// KeyVariables lists the environment variables that may hold a built-in provider's key, the preferred one first; none
// for a provider that is not built in.
func KeyVariables(provider string) []string {
	for _, k := range builtinProviders {
		if k.name == provider {
			return slices.Clone(k.keys)
		}
	}
	return nil
}

// lookup is the first variable that is set.
func lookup(env func(string) string, names []string) (name, value string) {
	for _, name := range names {
		if value := env(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

// provider makes a built-in provider from the environment alone.
func (k known) provider(env func(string) string) (Provider, error) {
	p := Provider{
		Name: k.name, Adapter: k.adapter, BaseURL: k.baseURL, Timeouts: defaultTimeouts(), Builtin: true,
		KeyRequired: k.name != catalog.LocalProvider,
	}
	if name, value := lookup(env, k.keys); name != "" {
		p.APIKey, p.KeySource = adapter.NewSecret(strings.TrimSpace(value)), name
	}
	if k.name == catalog.LocalProvider {
		return p, p.local(env)
	}
	if name, value := lookup(env, k.baseURLs); name != "" {
		base, err := checkBaseURL(value)
		if err != nil {
			return p, errors.New("environment variable " + name + " " + err.Error())
		}
		// Someone who names an address of their own may run a server there that asks for no key.
		if u, err := url.Parse(base); err == nil && u.Path == "" && k.name == "anthropic" {
			base = withV1(base) // Anthropic's own clients take the address without the version
		}
		p.BaseURL, p.URLSource, p.KeyRequired = base, name, false
		// Naming a private address in the environment is on purpose: without a file there is no other way to allow it.
		p.AllowPrivate = isPrivate(base)
	}
	return p, nil
}

// local fills in where Ollama and vLLM may answer: addresses from the environment first, then the usual ones.
func (p *Provider) local(env func(string) string) error {
	p.AllowPrivate, p.Local = true, true
	type place struct{ variable, base string }
	ollama, vllm := place{base: "http://127.0.0.1:11434/v1"}, place{base: "http://127.0.0.1:8000/v1"}
	var err error
	check := func(variable, value string, to *place) {
		base, fault := checkBaseURL(value)
		if fault != nil {
			err = errors.Join(err, errors.New("environment variable "+variable+" "+fault.Error()))
			return
		}
		*to = place{variable, base}
	}
	if v := env("OLLAMA_API_BASE"); v != "" {
		check("OLLAMA_API_BASE", withV1(v), &ollama)
	} else if v := env("OLLAMA_HOST"); v != "" {
		check("OLLAMA_HOST", withV1(ollamaHost(v)), &ollama)
	}
	if v := env("HOSTED_VLLM_API_BASE"); v != "" {
		check("HOSTED_VLLM_API_BASE", v, &vllm)
	}
	order := []place{ollama, vllm}
	if vllm.variable != "" && ollama.variable == "" {
		order = []place{vllm, ollama}
	}
	p.BaseURL, p.URLSource = order[0].base, order[0].variable
	p.Probe = []string{order[0].base, order[1].base}
	return err
}

// withV1 points at the OpenAI-compatible half of an Ollama server.
func withV1(base string) string {
	base = strings.TrimRight(base, "/")
	if strings.HasSuffix(base, "/v1") {
		return base
	}
	return base + "/v1"
}

// ollamaHost makes a URL of what Ollama accepts in OLLAMA_HOST: host, host:port, :port or a URL. An address to listen
// on everywhere is reached on loopback.
func ollamaHost(value string) string {
	value = strings.TrimSpace(value)
	scheme, rest, found := strings.Cut(value, "://")
	if !found {
		scheme, rest = "http", value
	}
	hostport, tail, slash := strings.Cut(rest, "/")
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		host, port = strings.Trim(hostport, "[]"), "11434"
		if found {
			port = map[string]string{"http": "80", "https": "443"}[scheme]
		}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	base := scheme + "://" + net.JoinHostPort(host, port)
	if slash && tail != "" {
		base += "/" + tail
	}
	return base
}

// checkBaseURL checks a provider's address and drops its trailing slash. Errors do not quote it: it may hold a password.
func checkBaseURL(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("must be a URL like https://host/path")
	case u.User != nil:
		return "", errors.New("must not hold a user name or password; use api_key")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", errors.New(`must not hold "?" or "#"`)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// isPrivate says whether an address can be told to be loopback or private without asking the network.
func isPrivate(base string) bool {
	u, err := url.Parse(base)
	if err != nil {
		return false
	}
	host := u.Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.IsUnspecified())
}

// providers reads [providers.*] over the built-in ones.
func (d *document) providers(root *table, adapters []string) []Provider {
	var out []Provider
	var names []string
	tables := root.child("providers", "in [providers]")
	for _, k := range builtinProviders {
		env := d.env
		if p, ok := tables.values[k.name].(map[string]any); ok && p["base_url"] != nil {
			// An address in the file makes those of the environment irrelevant, even bad ones.
			env = func(name string) string {
				if slices.Contains(k.keys, name) {
					return d.env(name)
				}
				return ""
			}
		}
		p, err := k.provider(env)
		if err != nil {
			d.faults = append(d.faults, Fault{Message: err.Error()})
		}
		out, names = append(out, p), append(names, k.name)
	}
	for _, name := range tables.keys() {
		t := tables.child(name, "in [providers."+name+"]")
		i := slices.Index(names, name)
		if i < 0 {
			if name == "simulator" {
				offset, _ := d.at(t.path)
				d.fault(offset, -1, "provider %q is the gateway's own, see [simulator]: give this one another name", name)
			}
			if !validProvider(name) {
				offset, _ := d.at(t.path)
				d.fault(offset, -1, "provider name %.60q must be 1 to 64 letters, digits or ._-", name)
			}
			i = len(out)
			out = append(out, Provider{Name: name, Timeouts: defaultTimeouts()})
		}
		d.provider(t, &out[i], adapters)
	}
	return out
}

func validProvider(name string) bool {
	return len(name) <= 64 && catalog.ValidName(name) && !strings.ContainsAny(name, ":/@")
}

func (d *document) provider(t *table, p *Provider, adapters []string) {
	if t.has("adapter") {
		p.Adapter = t.oneOf("adapter", p.Adapter, adapters)
	} else if !p.Builtin {
		t.missing("provider %q has no adapter: set one of %s", p.Name, strings.Join(adapters, ", "))
	}
	if t.has("base_url") {
		before := len(d.faults)
		text := t.hidden().str("base_url", "")
		base, err := checkBaseURL(text)
		if err != nil && len(d.faults) == before {
			t.hidden().fault("base_url", "base_url %v", err)
		}
		p.BaseURL, p.URLSource, p.KeyRequired, p.Probe = base, "file", false, nil
	}
	if t.has("api_key") {
		p.APIKey, p.KeySource = adapter.NewSecret(strings.TrimSpace(t.hidden().str("api_key", ""))), "file"
		if !p.APIKey.IsSet() {
			p.KeySource = ""
		}
	}
	p.AllowPrivate = t.flag("allow_private", p.AllowPrivate)
	p.Local = t.flag("local", p.Local)
	p.NoCollection = t.flag("no_collection", false)
	p.ZeroRetention = t.flag("zero_retention", false)
	p.ProviderTools = t.flag("provider_tools", false)
	t.timeouts("in [providers."+p.Name+".timeouts]", &p.Timeouts)
	p.Settings = t.strMap("settings", "in [providers."+p.Name+".settings]")
	t.done()
	if !p.AllowPrivate && isPrivate(p.BaseURL) {
		t.warn("base_url", "base_url of provider %q is a private address, which is refused without allow_private = true", p.Name)
	}
}

// timeouts reads those of a table: timeouts, and timeout_seconds as a short form of its first_byte.
func (t *table) timeouts(where string, w *catalog.Timeouts) {
	seconds := func(t *table, key string, to *time.Duration) {
		*to = time.Duration(t.number(key, to.Seconds(), 0, 3600) * float64(time.Second))
	}
	seconds(t, "timeout_seconds", &w.FirstByte)
	c := t.child("timeouts", where)
	if t.has("timeout_seconds") && c.has("first_byte") {
		c.fault("first_byte", "first_byte and timeout_seconds are the same thing: give one")
	}
	seconds(c, "connect", &w.Connect)
	seconds(c, "tls", &w.TLS)
	seconds(c, "first_byte", &w.FirstByte)
	seconds(c, "first_content", &w.FirstContent)
	seconds(c, "idle", &w.Idle)
	seconds(c, "total", &w.Total)
	c.done()
}
