package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/depot"
	"github.com/pointsman/pointsman/policies/signing"
	"github.com/pointsman/pointsman/sdk/policy"
)

// passwordVariable holds the password of a signing key where nobody can be asked.
const passwordVariable = "POINTSMAN_SIGNING_PASSWORD"

// password asks for the password of a signing key, twice for a new one.
func password(tty terminal, prompt string, twice bool) (string, error) {
	if text := os.Getenv(passwordVariable); text != "" {
		return text, nil
	}
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		return "", fmt.Errorf("no terminal to ask for the password on: set %s", passwordVariable)
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(tty.err, prompt)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(tty.err)
		return string(text), err
	}
	text, err := ask(prompt)
	if err != nil || !twice {
		return text, err
	}
	switch again, err := ask("again: "); {
	case err != nil:
		return "", err
	case again != text:
		return "", errors.New("the two are not the same")
	case text == "":
		return "", errors.New("the password is empty; --no-password makes a key without one")
	}
	return text, nil
}

type policyKeygen struct {
	Out        string `help:"Files to write: OUT.key, the secret one, and OUT.pub." default:"pointsman-policy" type:"path"`
	NoPassword bool   `help:"Do not encrypt the secret key."`
	Force      bool   `help:"Overwrite an existing key."`
}

// Run makes the key pair. The secret key is never shown.
func (k *policyKeygen) Run(tty terminal) error {
	secretFile, publicFile := k.Out+".key", k.Out+".pub"
	for _, name := range []string{secretFile, publicFile} {
		if _, err := os.Stat(name); err == nil && !k.Force {
			return fmt.Errorf("%s exists; what it signed could no longer be verified. Use --out, or --force", name)
		}
	}
	text := ""
	if !k.NoPassword {
		var err error
		if text, err = password(tty, "password for the new key: ", true); err != nil {
			return err
		}
	}
	public, publicText, secretText, err := signing.NewKey(text)
	if err != nil {
		return err
	}
	if err := writeSecret(secretFile, secretText); err != nil {
		return err
	}
	if err := os.WriteFile(publicFile, publicText, 0o644); err != nil {
		return err
	}
	fmt.Fprintf(tty.out, "key %s: secret in %s, public in %s\n\nA gateway trusts it by\n\n  [policies]\n  trusted_keys = [%q]\n", public.ID(), secretFile, publicFile, public)
	return nil
}

// writeSecret writes a file that only its owner can read, also if it was there before.
func writeSecret(name string, text []byte) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

type policySign struct {
	moduleFlags
	Key string `help:"Secret key file, of pointsman policy keygen or minisign." default:"pointsman-policy.key" type:"path"`
	Out string `help:"Signature file. Default: the module's with .minisig behind." type:"path"`
}

// Run signs the module: one that a gateway would load, for the grants it needs or that are given, and for a fuel.
func (s *policySign) Run(tty terminal) error {
	m, err := s.open()
	if err != nil {
		return err
	}
	if m.path == "" {
		return errors.New("the built-in policies need no signature; name a .wasm file")
	}
	keyText, err := os.ReadFile(s.Key)
	if err != nil {
		return fmt.Errorf("the secret key: %w", err)
	}
	if m.settings.Grants == 0 { // the module says what it needs: load it with everything first
		m.settings.Grants = allGrants
		host, info, err := m.load(policies.Config{})
		if err != nil {
			return fmt.Errorf("not signed: %w", err)
		}
		m.settings.Grants = info.Needs
		if err := host.Close(); err != nil {
			return err
		}
	}
	if m.settings.Fuel == 0 {
		m.settings.Fuel = policies.DefaultFuel
	}
	if err := m.conforms(proofRequests); err != nil {
		return fmt.Errorf("not signed: %w", err)
	}
	text := ""
	if signing.Encrypted(keyText) {
		if text, err = password(tty, "password of "+s.Key+": ", false); err != nil {
			return err
		}
	}
	key, err := signing.OpenKey(keyText, text)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Key, err)
	}
	out := s.Out
	if out == "" {
		out = m.path + ".minisig"
	}
	if err := os.WriteFile(out, signing.Sign(key, m.wasm, m.settings.Grants, m.settings.Fuel), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(tty.out, "%s: signed by key %s for grants %s and fuel %s\n", out, signing.PublicOf(key).ID(),
		strings.Join(grantNames(m.settings.Grants), ", "), group(m.settings.Fuel))
	return nil
}

type policyVerify struct {
	Module    string   `arg:"" help:"The .wasm file." type:"existingfile"`
	Key       []string `help:"Public keys: RW…, or .pub files." default:"pointsman-policy.pub" sep:","`
	Signature string   `help:"Signature file. Default: the module's with .minisig behind." type:"path"`
	JSON      bool     `name:"json" help:"Print what was vouched for as JSON."`
}

// Run verifies the signature.
func (v *policyVerify) Run(tty terminal) error {
	trust, err := trustOf(v.Key)
	if err != nil {
		return err
	}
	wasm, err := readModule(v.Module)
	if err != nil {
		return err
	}
	name := v.Signature
	if name == "" {
		name = v.Module + ".minisig"
	}
	signature, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	signer, s, err := trust.Verify(wasm, signature)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if v.JSON {
		return writeJSON(tty.out, map[string]any{
			"signer": signer, "abi": s.ABI, "grants": append([]string{"features"}, policy.GrantNames(s.Grants)...), "fuel": s.Fuel, "sha256": s.SHA256,
		})
	}
	fmt.Fprintf(tty.out, "%s: signed by key %s for grants %s and fuel %s\n", v.Module, signer, strings.Join(grantNames(s.Grants), ", "), group(s.Fuel))
	return nil
}

// trustOf reads public keys, given as they are or as files.
func trustOf(keys []string) (signing.Trust, error) {
	var trust signing.Trust
	for _, text := range keys {
		if data, err := os.ReadFile(text); err == nil {
			text = string(data)
		} else if filepath.Ext(text) == ".pub" {
			return trust, err
		}
		key, err := signing.ParsePublicKey(text)
		if err != nil {
			return trust, err
		}
		trust.Keys = append(trust.Keys, key)
	}
	return trust, nil
}

// signatureOf reads the signature beside a module, if there is one.
func signatureOf(m *module) []byte {
	if m.path == "" {
		return nil
	}
	text, err := readModule(m.path + ".minisig")
	if err != nil || len(text) > depot.MaxModule {
		return nil
	}
	return text
}
