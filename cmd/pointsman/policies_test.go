package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/policies"
	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
)

// variantOf is a module that decides the same and has another digest.
func variantOf(wasm []byte, name string) []byte {
	return append(append(bytes.Clone(wasm), 0, byte(1+len(name)), byte(len(name))), name...)
}

// TestSwapsUnderLoad replaces a policy a thousand times while clients are served by it. No request is lost, none is decided by
// anything but one of the two modules, and the modules in use at the end are those that serve.
func TestSwapsUnderLoad(t *testing.T) {
	const swaps, activations, clients = 1000, 50, 8
	_, models := upstreams(t, 1)
	g := newGateway(t, models, nil)
	modules := [][]byte{variantOf(builtin.Modules()["custom"], "a"), variantOf(builtin.Modules()["custom"], "b")}
	digests := map[string]int{signing.Digest(modules[0]): 0, signing.Digest(modules[1]): 0}
	load := func(n int) {
		if _, err := g.policies.Load("custom", modules[n%2], policies.Settings{}); err != nil {
			t.Error(err)
		}
	}
	load(0)

	var stop atomic.Bool
	var wg sync.WaitGroup
	var mu sync.Mutex
	var ids []string
	body, err := json.Marshal(ask("m"))
	if err != nil {
		t.Fatal(err)
	}
	for range clients {
		wg.Go(func() {
			for !stop.Load() {
				resp, err := g.api.do("POST", chatPath, body)
				if err != nil {
					t.Errorf("a request was lost: %v", err)
					return
				}
				text, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pointsman-Policy") != "custom" {
					t.Errorf("a request was lost: %d %s %v %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Policy"), err, text)
					return
				}
				mu.Lock()
				ids = append(ids, resp.Header.Get("X-Request-Id"))
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	for n := range swaps {
		load(n + 1)
	}
	took := time.Since(began)
	for _, m := range modules { // and the way an operator changes it, with the manifest on disk
		if err := g.admin.upload(policiesPath+"custom/versions", m, nil, &admin.PolicyVersion{}); err != nil {
			t.Error(err)
		}
	}
	for n := range activations {
		if err := g.admin.call("POST", policiesPath+"custom/activate", map[string]string{"version": strconv.Itoa(1 + n%2)}, nil); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()

	for n, id := range ids {
		if len(ids) > 4000 && n%(len(ids)/4000) != 0 { // of many, a few thousand are looked up
			continue
		}
		var d struct {
			Digest  string `json:"policy_digest"`
			Failure string `json:"policy_failure"`
		}
		if err := eventually(func() error { return g.admin.call("GET", "/api/v1/admin/decisions/"+id, nil, &d) }); err != nil {
			t.Fatalf("decision of %s: %v", id, err)
		}
		if _, ok := digests[d.Digest]; !ok || d.Failure != "" {
			t.Fatalf("request %s was decided by %q, %s", id, d.Digest, d.Failure)
		}
		digests[d.Digest]++
	}
	t.Logf("%d swaps in %v (%v each), and %d activations, under %d requests, 0 lost; decisions looked up: %v", swaps, took.Round(time.Millisecond), (took / swaps).Round(time.Microsecond), activations, len(ids), digests)
	if len(ids) < clients || took > time.Minute {
		t.Errorf("%d requests, %v", len(ids), took)
	}
	if info, _ := g.policies.Info("custom"); failures(info) != 0 {
		t.Errorf("failures %+v", info.Failures)
	}
}

// eventually repeats what may not have been written yet.
func eventually(try func() error) (err error) {
	for range 200 {
		if err = try(); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

const policiesPath = "/api/v1/admin/policies/"

// TestPolicyAdmin takes a policy through its life by the admin API.
func TestPolicyAdmin(t *testing.T) {
	public, _, file, err := signing.NewKey("")
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.OpenKey(file, "")
	if err != nil {
		t.Fatal(err)
	}
	g := newGateway(t, fmt.Sprintf("[policies]\ntrusted_keys = [%q]\n", public), nil)
	eco := builtin.Modules()["eco"]
	one := variantOf(eco, "one")
	signature := signing.Sign(key, one, 0, 5_000_000)
	var v admin.PolicyVersion
	for _, c := range []struct {
		name, path string
		module     []byte
		signature  []byte
		status     int
		code       string
	}{
		{"unsigned", "eco/validate", one, nil, 403, "policy_signature"},
		{"signed for another", "eco/validate", eco, signature, 403, "policy_signature"},
		{"more fuel than signed", "eco/validate?fuel=6000000", one, signature, 403, "policy_signature"},
		{"not a module", "eco/versions", []byte("x"), signing.Sign(key, []byte("x"), 0, 1000), 422, "policy_refused"},
		{"an unknown parameter", "eco/versions?grant=text", one, signature, 400, "invalid_value"},
		{"an unknown grant", "eco/versions?grants=txt", one, signature, 400, "invalid_value"},
		{"a bad name", "E/versions", one, signature, 400, "invalid_value"},
		{"an unknown action", "eco/delete", one, signature, 404, "not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if status, code := statusOf(g.admin.upload(policiesPath+c.path, c.module, c.signature, &v)); status != c.status || code != c.code {
				t.Errorf("%d %s", status, code)
			}
		})
	}
	if err := g.admin.upload(policiesPath+"eco/validate?param.min_quality=0.61", one, signature, &v); err != nil || v.State != "validated" || v.Fuel != 5_000_000 {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := g.admin.upload(policiesPath+"eco/versions?param.min_quality=0.61", one, signature, &v); err != nil || v.State != "staged" || v.Version != 1 || v.Signer != public.ID() {
		t.Fatalf("%+v, %v", v, err)
	}
	if err := g.admin.call("POST", "/api/v1/admin/policies/eco/activate", map[string]string{"version": "7"}, &v); err == nil || !strings.Contains(err.Error(), "it has 1") {
		t.Errorf("an unknown version: %v", err)
	}
	if err := g.admin.call("POST", "/api/v1/admin/policies/eco/activate", map[string]string{"version": "1"}, &v); err != nil || v.State != "active" {
		t.Fatalf("%+v, %v", v, err)
	}
	resp, text := g.api.post(t, chatPath, ask("eco"))
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	var p admin.Policy
	if err := g.admin.call("GET", "/api/v1/admin/policies/eco", nil, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.History) < 3 || p.History[0].Action != "activate" || p.History[0].By != "master key from 127.0.0.1" {
		t.Errorf("history %+v", p.History)
	}
	if s := p.Serving; s.Source != "version 1" || s.Digest != signing.Digest(one) || s.Decisions != 1 || s.Signer != public.ID() || s.Fuel != 5_000_000 || p.Versions[0].State != "active" {
		t.Errorf("%+v %+v", p, s)
	}
	v = admin.PolicyVersion{}
	if err := g.admin.call("POST", "/api/v1/admin/policies/eco/rollback", nil, &v); err != nil || v.Version != 0 || v.Digest != signing.Digest(eco) {
		t.Errorf("rolled back to %+v, %v", v, err)
	}
	if status, code := statusOf(g.admin.call("POST", "/api/v1/admin/policies/eco/rollback", nil, &v)); status != 404 || code != "policy_version_not_found" {
		t.Errorf("%d %s", status, code)
	}
	if status, _ := statusOf(g.api.call("GET", "/api/v1/admin/policies", nil, nil)); status != 404 {
		t.Errorf("the public API has it: %d", status)
	}
	page, err := g.admin.do("GET", "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	all, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`pointsman_policy_changes_total{policy="eco",action="activate",outcome="ok"} 1`, `pointsman_policy_changes_total{policy="eco",action="rollback",outcome="ok"} 1`} {
		if !strings.Contains(string(all), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestReloadFromConfig reads a changed configuration again, as SIGHUP does.
func TestReloadFromConfig(t *testing.T) {
	module := filepath.Join(t.TempDir(), "mine.wasm")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(module, builtin.Modules()["eco"])
	base := "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n"
	policy := fmt.Sprintf("[policies.mine]\nfile = %q\n", module)
	g := newGateway(t, policy, nil)
	served := func(name string) int {
		t.Helper()
		resp, _ := g.api.post(t, chatPath, ask("auto/"+name))
		return resp.StatusCode
	}
	if got := served("mine"); got != 200 {
		t.Fatalf("status %d", got)
	}
	next := variantOf(builtin.Modules()["eco"], "next")
	write(module+".new", next)
	if err := os.Rename(module+".new", module); err != nil {
		t.Fatal(err)
	}
	err := eventually(func() error {
		time.Sleep(50 * time.Millisecond)
		if digest, _ := g.policies.Digest("mine"); digest != signing.Digest(next) {
			return fmt.Errorf("the replaced file was not loaded")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		name, toml, fault string
		mine, other       int
	}{
		{"one more", base + policy + fmt.Sprintf("[policies.other]\nfile = %q\n", module), "", 200, 200},
		{"a mistake in the file", base + "[polices.mine]\n", "did you mean", 200, 200},
		{"a grant it cannot have", base + policy + "fuel = 1\n", "policy mine", 200, 404},
		{"none", base, "", 404, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(g.cfg.File, []byte(c.toml))
			err := g.reload(t.Context(), "test")
			if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if mine, other := served("mine"), served("other"); mine != c.mine || other != c.other {
				t.Errorf("mine %d, other %d", mine, other)
			}
		})
	}
}
