package config

import (
	"strings"

	"github.com/pointsman/pointsman/engine/vault"
)

// Vault is the [vault] table.
type Vault struct {
	KEK vault.Source // where the key-encryption key is read from; "": root.key of the data directory
	// NextKEK is a command that the vault may be rotated to through the admin API, which takes no other command.
	NextKEK vault.Source
}

func (c *Config) vault(t *table) {
	c.Vault = Vault{KEK: c.source(t, "kek"), NextKEK: c.source(t, "next_kek")}
	t.done()
}

// source reads where a key-encryption key is. No message shows the value: somebody may have put the key itself there.
func (c *Config) source(in *table, key string) vault.Source {
	t := in.hidden()
	in.known = append(in.known, key)
	before := len(t.doc.faults)
	text := t.str(key, "")
	if text == "" || len(t.doc.faults) > before {
		return ""
	}
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		text = "file:" + c.absolute(path)
	}
	source, err := vault.ParseSource(text)
	if err != nil {
		t.fault(key, "%s %s", key, err)
	}
	return source
}

func (p *printer) vault(v Vault) {
	if v == (Vault{}) {
		return
	}
	p.table("[vault]")
	for _, one := range []struct {
		key    string
		source vault.Source
	}{{"kek", v.KEK}, {"next_kek", v.NextKEK}} {
		text := string(one.source)
		if path, ok := strings.CutPrefix(text, "file:"); ok {
			text = "file:" + p.written(path)
		}
		if text != "" {
			p.pair(one.key, quote(text))
		}
	}
}

// Secrets are the values that nothing may show: the providers' keys, and what references to the environment became wherever that
// is no address and no path.
func (c *Config) Secrets() []string {
	var secrets []string
	for i := range c.Providers {
		if key := c.Providers[i].APIKey; key.IsSet() {
			secrets = append(secrets, key.Reveal())
		}
	}
	if c.Events.Secret.IsSet() {
		secrets = append(secrets, c.Events.Secret.Reveal())
	}
	for value := range c.references {
		if !strings.Contains(value, "/") && !strings.Contains(value, ":") {
			secrets = append(secrets, value)
		}
	}
	return secrets
}
