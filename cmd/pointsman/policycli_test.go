package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/policies/builtin"
	"github.com/pointsman/pointsman/policies/signing"
)

// command runs one command line, and returns what it wrote and its exit status.
func command(t *testing.T, args ...string) (out string, status int) {
	t.Helper()
	var stdout, stderr strings.Builder
	status = run(args, terminal{&stdout, &stderr})
	return stdout.String() + stderr.String(), status
}

// ok runs a command that must succeed.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	out, status := command(t, args...)
	if status != 0 {
		t.Fatalf("pointsman %s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

func contains(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("%q is missing in\n%s", part, out)
		}
	}
}

// TestAuthorsLoop goes the way of an author: new, build, test, check, bench, sign, and into a gateway's configuration.
func TestAuthorsLoop(t *testing.T) {
	t.Setenv("GOCACHE", goCache(t)) // stays, while our own cache is new
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("GOPROXY", "off")
	began := time.Now()
	contains(t, ok(t, "policy", "new", "mine"), "pointsman policy build")
	t.Chdir("mine")
	if ignored, err := os.ReadFile(".gitignore"); err != nil || !strings.Contains(string(ignored), "*.key") {
		t.Errorf("a secret key could be committed: %v", err)
	}
	contains(t, ok(t, "policy", "build"), "policy.wasm", "bytes in")
	contains(t, ok(t, "policy", "test"), "3 cases passed")
	contains(t, ok(t, "policy", "bench", "--decisions", "1000"), "mine", "eco (built-in)", "ALLOCATIONS")
	t.Logf("new, build, test and bench in %v", time.Since(began).Round(time.Millisecond))

	contains(t, ok(t, "policy", "check"), "ok  purity", "100 decisions", "ok  conformance", "signature      none")
	contains(t, ok(t, "policy", "run"), "RANK", "outranked", "fuel ")
	contains(t, ok(t, "policy", "inspect"), "mine; Go", "pointsman_route (i32) -> (i64)", "wasi_snapshot_preview1")
	contains(t, ok(t, "policy", "keygen", "--no-password"), "trusted_keys = [\"RW")
	if info, err := os.Stat("pointsman-policy.key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret key's file: %v, %v", info, err)
	}
	out, status := command(t, "policy", "keygen", "--no-password")
	if contains(t, out, "exists"); status != 1 {
		t.Error("the key was overwritten")
	}
	contains(t, ok(t, "policy", "sign", "--fuel", "5000000"), "for grants features and fuel 5,000,000")
	contains(t, ok(t, "policy", "verify", "policy.wasm"), "signed by key")
	contains(t, ok(t, "policy", "check", "--key", "pointsman-policy.pub"), "ok  signature      key", "of 5,000,000")
	if out, status := command(t, "policy", "check", "--key", "pointsman-policy.pub", "--fuel", "6000000"); status != 1 || !strings.Contains(out, "FAIL  signature") {
		t.Errorf("status %d\n%s", status, out)
	}

	key, err := os.ReadFile("pointsman-policy.pub")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Split(strings.TrimSpace(string(key)), "\n")[1]
	config := "[policies]\ntrusted_keys = [\"" + line + "\"]\n[policies.mine]\nfile = \"policy.wasm\"\n"
	for _, c := range []struct{ name, toml, want string }{
		{"signed", config, "[policies.mine]"},
		{"more fuel than signed", config + "fuel = 9000000\n", "p.toml:3:11: policy mine"},
		{"a signature that is not there", config + "signature = \"none.minisig\"\n", "none.minisig: no such file"},
		{"unsigned and not trusted", "[policies.mine]\nfile = \"policy.wasm\"\n", "p.toml:1:2: policy files are used without"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile("p.toml", []byte(c.toml), 0o600); err != nil {
				t.Fatal(err)
			}
			out, _ := command(t, "config", "check", "p.toml")
			contains(t, out, c.want)
		})
	}
}

// TestSigningPassword makes and uses encrypted keys where nobody can type.
func TestSigningPassword(t *testing.T) {
	encrypted, err := filepath.Abs("../../policies/signing/testdata/encrypted.key")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("eco.wasm", builtin.Modules()["eco"], 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("POINTSMAN_SIGNING_PASSWORD", "correct horse")
	contains(t, ok(t, "policy", "sign", "eco.wasm", "--key", encrypted, "--grants", "text"), "for grants features, text and fuel 5,000,000")
	contains(t, ok(t, "policy", "keygen", "--out", "k"), "k.key")
	if text, err := os.ReadFile("k.key"); err != nil || !signing.Encrypted(text) {
		t.Errorf("the new key is not encrypted: %v", err)
	}
	t.Setenv("POINTSMAN_SIGNING_PASSWORD", "wrong")
	if out, status := command(t, "policy", "sign", "eco.wasm", "--key", encrypted); status != 1 || !strings.Contains(out, "password does not open it") {
		t.Errorf("status %d, %s", status, out)
	}
}

// goCache is where the go command keeps what it compiled.
func goCache(t *testing.T) string {
	t.Helper()
	dir, err := exec.Command("go", "env", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(dir))
}

// TestPolicyTest runs the scenarios of the built-in policies, and sees failures told.
func TestPolicyTest(t *testing.T) {
	scenarios := "testdata/scenarios/builtin.toml"
	contains(t, ok(t, "policy", "test", "eco", "--scenarios", scenarios), "8 cases passed")
	contains(t, ok(t, "policy", "test", "eco", "--scenarios", scenarios, "--only", "private", "-v"), "1 cases passed", "the request must stay on local models")
	out, status := command(t, "policy", "test", "precision", "--scenarios", scenarios)
	if status != 1 {
		t.Errorf("status %d", status)
	}
	contains(t, out, "FAIL  testdata/scenarios/builtin.toml: an own key", "want ", "got ", "as written down", "- \t", "+ \t", "cases failed")

	var results []struct {
		Case        string
		OK          bool
		Differences []struct{ What, Want, Got string }
		Decision    struct{ Order []string }
	}
	out, status = command(t, "policy", "test", "precision", "--scenarios", scenarios, "--json", "--only", "own key")
	cut := strings.LastIndex(out, "]")
	if err := json.Unmarshal([]byte(out[:cut+1]), &results); err != nil || len(results) != 1 || results[0].OK || status != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

// TestPolicyJSON prints for machines, and nothing else.
func TestPolicyJSON(t *testing.T) {
	for _, args := range []string{
		"check eco", "bench eco --decisions 200", "run eco", "run precision --request testdata/scenarios/request.json", "inspect eco", "list --built-in",
		"test eco --scenarios testdata/scenarios/builtin.toml",
	} {
		t.Run(args, func(t *testing.T) {
			var out, errs strings.Builder
			status := run(append([]string{"policy"}, strings.Fields(args+" --json")...), terminal{&out, &errs})
			var v any
			if err := json.Unmarshal([]byte(out.String()), &v); err != nil || status != 0 || errs.Len() > 0 {
				t.Errorf("status %d, %v, %s\n%s", status, err, errs.String(), out.String())
			}
		})
	}
}

// TestPolicyMistakes makes the mistakes that people make.
func TestPolicyMistakes(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"bad.wasm": "hello", "empty.wasm": "\x00asm\x01\x00\x00\x00", "bad.json": `{"request": {"powr_level": "eco"}}`, "twice.json": `{"model": "eco", "model": "auto"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	for _, c := range []struct {
		name string
		args string
		want string
	}{
		{"no project", "check", "make a project with pointsman policy new"},
		{"a misspelt name", "check ecco", `did you mean the built-in policy "eco"`},
		{"not a module", "check bad.wasm", "FAIL  limits"},
		{"an empty module", "inspect empty.wasm", "exports nothing"},
		{"a bad parameter", "check eco --config min_quality=high;low", "FAIL  configuration"},
		{"an unknown grant", "check eco --grants txt", "there is no grant"},
		{"too little fuel", "run eco --fuel 10", "ran out of fuel"},
		{"a misspelt field", "run eco --request bad.json", `did you mean "power_level"?`},
		{"a field twice", "run eco --request twice.json", "duplicate"},
		{"no scenarios", "test eco", "name the scenario files"},
		{"an unknown language", "new x --lang cobol", "there is no template"},
		{"a built-in one", "sign eco", "need no signature"},
		{"no key", "sign bad.wasm", "the secret key"},
		{"no gateway", "list --data .", "--built-in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, status := command(t, append([]string{"policy"}, strings.Fields(c.args)...)...)
			if contains(t, out, c.want); status != 1 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// TestPolicyDeploy uploads, activates, lists and rolls back by the command line.
func TestPolicyDeploy(t *testing.T) {
	g := newGateway(t, "", nil)
	t.Setenv("POINTSMAN_MASTER_KEY", g.masterKey.Reveal())
	t.Setenv("POINTSMAN_ADMIN_URL", g.admin.base)
	contains(t, ok(t, "policy", "upload", "eco", "--name", "mine", "--config", "min_quality=0.7", "--validate-only"), "this module is validated")
	contains(t, ok(t, "policy", "upload", "eco", "--name", "mine", "--config", "min_quality=0.7"), "version 1 is staged", "pointsman policy activate mine 1")
	contains(t, ok(t, "policy", "activate", "mine", "1"), "version 1 is active")
	contains(t, ok(t, "policy", "upload", "balanced", "--name", "mine", "--activate"), "version 2 is active")
	contains(t, ok(t, "policy", "list"), "mine", "version 2", "2 active, 1 kept", "built-in")
	contains(t, ok(t, "policy", "rollback", "mine"), "version 1 is active")
	contains(t, ok(t, "policy", "rollback", "mine"), "nothing serves")
	contains(t, ok(t, "policy", "list", "--built-in"), "precision")
	out, status := command(t, "policy", "activate", "mine", "9")
	if contains(t, out, "has no version"); status != 1 {
		t.Errorf("status %d", status)
	}
}
