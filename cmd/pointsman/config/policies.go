package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/abi"
	"github.com/pointsman/pointsman/storage"
)

// MaxFuel is the most fuel that a configuration can give a policy: some hundred milliseconds of one processor.
const MaxFuel = 1_000_000_000

// policies reads [policies]: whose signatures are accepted, and one table for each policy. The names of the former have an
// underscore, which no policy's name may have.
func (c *Config) policies(d *document, root *table) {
	builtin := []string{"eco", "balanced", "precision", "custom"}
	tables := root.child("policies", "in [policies]")
	c.trust(tables)
	c.Rounds = Rounds{
		CheckEvery:  int(tables.integer("check_every", 1000, 0, 1<<31-1)),
		Credits:     tables.credits("round_credits", 0, 1_000_000_000*storage.CreditsPerCredit),
		RecordTexts: tables.flag("record_texts", false),
	}
	own := []string{"trusted_keys", "allow_unsigned", "check_every", "round_credits", "record_texts"}
	files := 0
	for _, name := range tables.keys() {
		if slices.Contains(own, name) {
			continue
		}
		t := tables.child(name, "in [policies."+name+"]")
		offset, _ := d.at(t.path)
		line, column := lineColumn(d.index.text, offset)
		p := Policy{Name: name, File: c.absolute(t.str("file", "")), Place: fmt.Sprintf("%s:%d:%d", d.file, line, column)}
		if !validPlain(name, 64) {
			t.missing("policy name %.60q must be 1 to 64 lower-case letters, digits or -%s", name, meant(name, own))
			continue
		}
		if t.raw("file") == "" && (t.has("file") || !slices.Contains(builtin, name)) {
			t.missing("policy %q has no file%s", name, meant(name, builtin))
		}
		p.Grants = t.grants("grants")
		p.Fuel = t.integer("fuel", 0, 1, MaxFuel)
		t.shortlist(&p)
		c.signature(t, &p)
		t.shadow(&p, builtin)
		p.Params = t.child("config", "in [policies."+name+".config]").params(name)
		for key, value := range p.Map() {
			_, referred := d.references[value]
			p.Private = p.Private || referred || looksSecret(key)
		}
		t.done()
		if p.File != "" {
			files++
		}
		c.Policies = append(c.Policies, p)
	}
	c.shadowed(tables, builtin)
	if files > 0 && len(c.Trust.Keys) == 0 {
		tables.warn("trusted_keys", "policy files are used without a look at who signed them: [policies] has no trusted_keys")
	}
}

// DefaultShortlist is how many candidates the built-in policies are asked about.
const DefaultShortlist = 64

// shortlist reads how many candidates of a large catalog a policy is asked about.
func (t *table) shortlist(p *Policy) {
	if p.File == "" {
		p.Shortlist = DefaultShortlist
	}
	p.Shortlist = int(t.integer("shortlist", int64(p.Shortlist), 0, abi.MaxCandidates))
	switch {
	case p.Shortlist > 0 && p.Shortlist < 16:
		t.fault("shortlist", "shortlist must be at least 16 candidates, or 0 for all of them")
	case t.has("shortlist") && t.has("shadow_of"):
		t.fault("shortlist", "a shadow decides on the candidates of the policy that it shadows: give that one the shortlist")
	}
}

// shadow reads whose requests a policy decides on without being followed.
func (t *table) shadow(p *Policy, builtin []string) {
	p.ShadowOf = t.str("shadow_of", "")
	switch {
	case !t.has("shadow_of"):
		if t.has("share") {
			t.fault("share", "share is the part of the requests that a shadow decides on: it needs shadow_of")
		}
		return
	case !validPlain(p.ShadowOf, 64) || p.ShadowOf == p.Name:
		t.fault("shadow_of", "shadow_of must be the name of another policy")
	case slices.Contains(builtin, p.Name):
		t.fault("shadow_of", "%q is a power level, which has to serve: give the shadow a name of its own", p.Name)
	}
	p.Share = t.number("share", 1, 0, 1)
}

// shadowed checks that what is shadowed decides.
func (c *Config) shadowed(tables *table, builtin []string) {
	for _, p := range c.Policies {
		i := slices.IndexFunc(c.Policies, func(other Policy) bool { return other.Name == p.ShadowOf })
		switch t := tables.child(p.Name, "in [policies."+p.Name+"]"); {
		case i >= 0 && c.Policies[i].ShadowOf != "" && p.ShadowOf != p.Name:
			t.fault("shadow_of", "policy %q is a shadow itself and decides nothing that could be shadowed", p.ShadowOf)
		case p.ShadowOf != "" && i < 0 && !slices.Contains(builtin, p.ShadowOf):
			t.warn("shadow_of", "policy %q is not in this file and not built in: nothing is shadowed until one of that name is uploaded%s", p.ShadowOf, meant(p.ShadowOf, builtin))
		}
	}
}

// trust reads whose signatures count.
func (c *Config) trust(t *table) {
	for i, text := range t.strs("trusted_keys") {
		key, err := signing.ParsePublicKey(text)
		if err != nil {
			t.faultAt(t.path.key("trusted_keys").at(i), "trusted_keys lists public keys of pointsman policy keygen or minisign, which begin with RW, and this is none")
			continue
		}
		if slices.ContainsFunc(c.Trust.Keys, func(k signing.PublicKey) bool { return k.ID() == key.ID() }) {
			t.faultAt(t.path.key("trusted_keys").at(i), "key %s is listed twice", key.ID())
		}
		c.Trust.Keys = append(c.Trust.Keys, key)
	}
	c.Trust.AllowUnsigned = t.flag("allow_unsigned", false)
	if t.has("allow_unsigned") && len(c.Trust.Keys) == 0 {
		t.warn("allow_unsigned", "allow_unsigned has no meaning without trusted_keys: unsigned policies are accepted then")
	}
}

// signature reads where the signature of a policy's file is.
func (c *Config) signature(t *table, p *Policy) {
	given := t.str("signature", "")
	switch {
	case !t.has("signature"):
		if p.File != "" {
			p.Signature = p.File + ".minisig"
		}
		return
	case p.File == "":
		t.fault("signature", "signature belongs to a file, and the built-in policy %q has none", p.Name)
	case given == "":
		t.fault("signature", "signature must be the path of a .minisig file")
	case len(c.Trust.Keys) == 0:
		t.fault("signature", "signature cannot be checked: [policies] has no trusted_keys")
	}
	p.Signature, p.SignatureGiven = c.absolute(given), true
}

// grants reads names of grants as bits.
func (t *table) grants(key string) uint32 {
	before := len(t.doc.faults)
	names := t.strs(key)
	if len(t.doc.faults) > before {
		return 0
	}
	var bits uint32
	for i, name := range names {
		bit, err := signing.ParseGrants([]string{name})
		if err != nil {
			known := []string{"features", "text", "metadata", "side_calls", "state"}
			t.faultAt(t.path.key(key).at(i), "grant %.60q is not known%s", name, instead(name, known))
		}
		bits |= bit
	}
	return bits
}

// Map is the configuration text as parameters.
func (p *Policy) Map() map[string]string {
	params := map[string]string{}
	for line := range strings.Lines(p.Params) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		params[key] = value
	}
	return params
}
