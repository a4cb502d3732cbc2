package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pointsman/pointsman/engine/admin"
)

type policyUpload struct {
	adminFlags
	moduleFlags
	Name         string `help:"Name to serve under. Default: the project's or the file's."`
	Activate     bool   `help:"Let it serve at once."`
	ValidateOnly bool   `help:"Only say whether the gateway would take it."`
}

// Run brings the module to the gateway, with the signature that lies beside it.
func (u *policyUpload) Run(term terminal) error {
	c, err := u.client()
	if err != nil {
		return err
	}
	m, err := u.open()
	if err != nil {
		return err
	}
	name := u.Name
	if name == "" {
		name = m.name
	}
	query := url.Values{}
	action := "versions"
	if u.ValidateOnly {
		action = "validate"
	} else if u.Activate {
		query.Set("activate", "true")
	}
	v, err := c.bring(name, action, m, query)
	if err != nil {
		return err
	}
	showVersion(term.out, name, v)
	if v.State == "staged" {
		fmt.Fprintf(term.out, "it serves after: pointsman policy activate %s %d\n", name, v.Version)
	}
	return nil
}

// bring uploads a module with what it is to be given.
func (c *client) bring(name, action string, m *module, query url.Values) (v admin.PolicyVersion, err error) {
	for key, value := range m.settings.Params {
		query.Set("param."+key, value)
	}
	if names := grantNames(m.settings.Grants); len(names) > 1 {
		query.Set("grants", strings.Join(names, ","))
	}
	if m.settings.Fuel > 0 {
		query.Set("fuel", fmt.Sprint(m.settings.Fuel))
	}
	err = c.upload("/api/v1/admin/policies/"+url.PathEscape(name)+"/"+action+"?"+query.Encode(), m.wasm, signatureOf(m), &v)
	return v, err
}

// upload posts a module.
func (c *client) upload(path string, wasm, signature []byte, result any) error {
	req, err := http.NewRequest("POST", c.base+path, bytes.NewReader(wasm))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("Content-Type", "application/wasm")
	if len(signature) > 0 {
		req.Header.Set("X-Pointsman-Signature", base64.StdEncoding.EncodeToString(signature))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("is the gateway running? %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 400 {
		return apiError(resp)
	}
	return json.NewDecoder(resp.Body).Decode(result)
}

func showVersion(out io.Writer, name string, v admin.PolicyVersion) {
	what := "the built-in module"
	if v.Version > 0 {
		what = fmt.Sprintf("version %d", v.Version)
	} else if v.State == "validated" {
		what = "this module"
	}
	if v.Digest == "" {
		fmt.Fprintf(out, "policy %s: nothing serves\n", name)
		return
	}
	signer := "unsigned"
	if v.Signer != "" {
		signer = "signed by " + v.Signer
	}
	fmt.Fprintf(out, "policy %s: %s is %s, sha256 %.12s, %s\n", name, what, v.State, v.Digest, signer)
}

type policyActivate struct {
	adminFlags
	Name    string `arg:"" help:"The policy."`
	Version string `arg:"" help:"Number of the version, or the beginning of its SHA-256."`
}

// Run activates the version.
func (a *policyActivate) Run(term terminal) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	var v admin.PolicyVersion
	if err := c.call("POST", "/api/v1/admin/policies/"+url.PathEscape(a.Name)+"/activate", map[string]string{"version": a.Version}, &v); err != nil {
		return err
	}
	showVersion(term.out, a.Name, v)
	return nil
}

type policyRollback struct {
	adminFlags
	Name string `arg:"" help:"The policy."`
}

// Run goes back.
func (r *policyRollback) Run(term terminal) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	var v admin.PolicyVersion
	if err := c.call("POST", "/api/v1/admin/policies/"+url.PathEscape(r.Name)+"/rollback", nil, &v); err != nil {
		return err
	}
	showVersion(term.out, r.Name, v)
	return nil
}
