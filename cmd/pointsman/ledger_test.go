package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pointsman/pointsman/engine/admin"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// runs executes a command line of the binary that users run, with the master key of a gateway in the environment.
func runs(t *testing.T, master string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.Command(buildGateway(t, t.TempDir()), args...)
	cmd.Env = append(os.Environ(), "POINTSMAN_MASTER_KEY="+master)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), nil
}

func mustRun(t *testing.T, master string, args ...string) string {
	t.Helper()
	out, err := runs(t, master, args...)
	if err != nil {
		t.Fatalf("pointsman %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// booked is a gateway whose ledger has lines of every kind but those that need time, and texts that are hard to export.
func booked(t *testing.T) *testGateway {
	t.Helper()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	g.account("alice")
	g.account("verify") // a name that is also a path
	for i := range 5 {
		if resp, body := g.api.post(t, chatPath, ask("m", "stream", i%2 == 0)); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	for kind, amount := range map[string]string{"purchase": "10", "bonus": "0.000001", "refund": "3", "adjustment": "-2.5"} {
		body := map[string]string{"amount": amount, "reference": "of \"" + kind + "\",\r\n für α", "kind": kind}
		for range 2 { // the second time changes nothing
			if err := g.admin.call("POST", "/api/v1/admin/accounts/alice/credits", body, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return g
}

var totalsLine = regexp.MustCompile(`^export ok: (\d+) lines, (\d+) accounts, posted (\d+) micro-credits, head ([0-9a-f]{64})`)

// TestLedgerExportIsVerifiedByOthers lets a program that has nothing of ours verify exports of a running gateway and of its
// directory, whole and in two parts, in both formats; a changed byte is found.
func TestLedgerExportIsVerifiedByOthers(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "python3")
	}
	g := booked(t)
	url, data, master := g.admin.base, g.dataDir, g.masterKey.Reveal()
	mustRun(t, master, "accounts", "transfer", "alice", "default", "1.5", "--reference", "gift", "--admin-url", url)
	dir := t.TempDir()
	verify := func(files ...string) string {
		t.Helper()
		out, err := exec.Command(python, append([]string{"../../scripts/verify-export.py"}, files...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	export := func(name string, args ...string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		mustRun(t, master, append([]string{"ledger", "export", "-o", path, "--format", strings.TrimPrefix(filepath.Ext(name), "."), "--admin-url", url, "--data", data}, args...)...)
		return path
	}
	running := []string{export("running.jsonl"), export("running.csv"), export("first.jsonl", "--to", "5"), export("second.csv", "--from", "6")}
	var standing admin.LedgerStanding
	if err := json.Unmarshal([]byte(mustRun(t, master, "ledger", "show", "--json", "--admin-url", url, "--data", data)), &standing); err != nil {
		t.Fatal(err)
	}
	g.stopAndVerify()
	want := verify(running[0])
	for _, files := range [][]string{{running[1]}, {running[2], running[3]}, {export("stopped.jsonl")}, {export("stopped.csv")}} {
		if got := verify(files...); got != want {
			t.Errorf("%v: %s, want %s", files, got, want)
		}
	}
	found := totalsLine.FindStringSubmatch(want)
	posted, err := storage.ParseCredits(standing.Posted)
	if found == nil || err != nil || found[1] != fmt.Sprint(standing.Position) || found[3] != fmt.Sprint(int64(posted)) || found[4] != standing.Hash {
		t.Errorf("%s; the gateway says %+v", want, standing)
	}
	text, err := os.ReadFile(running[0])
	if err != nil {
		t.Fatal(err)
	}
	changed := filepath.Join(dir, "changed.jsonl")
	if err := os.WriteFile(changed, bytes.Replace(text, []byte(`"amount":3000000`), []byte(`"amount":3000001`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, "../../scripts/verify-export.py", changed).CombinedOutput(); err == nil || !strings.Contains(string(out), "hash") {
		t.Errorf("a changed amount: %v %s", err, out)
	}
	if _, err := runs(t, master, "ledger", "export", "-o", changed, "--data", data); err == nil {
		t.Error("an export over a file")
	}
}

// TestLedgerShow shows the same of a running gateway and of its directory.
func TestLedgerShow(t *testing.T) {
	t.Parallel()
	g := booked(t)
	url, data, master := g.admin.base, g.dataDir, g.masterKey.Reveal()
	show := func(args ...string) string {
		t.Helper()
		return mustRun(t, master, append([]string{"ledger", "show", "--admin-url", url, "--data", data}, args...)...)
	}
	commands := [][]string{{"alice"}, {"default", "--limit", "3"}, {"verify"}, {"default", "--json"}, {"--limit", "2"}, {"--limit", "2", "--after", "default"}}
	var running []string
	for _, args := range commands {
		running = append(running, show(args...))
	}
	for i, want := range [][]string{
		{"purchase", "adjustment", "-2.5", `"opening"`, "POSITION"},
		{"settle", "more:", "--from"},
		{`"opening"`},
		{`"next": 0`},
		{"alice", "more:", "--after default", "proof"},
		{"verify", "1000"},
	} {
		for _, text := range want {
			if !strings.Contains(running[i], text) {
				t.Errorf("show %v lacks %q:\n%s", commands[i], text, running[i])
			}
		}
	}
	for _, args := range [][]string{{"nobody"}, {"alice", "--from", "999"}, {"alice", "--limit", "1001"}} {
		if out, err := runs(t, master, append([]string{"ledger", "show", "--admin-url", url, "--data", data}, args...)...); err == nil {
			t.Errorf("show %v: %s", args, out)
		}
	}
	g.stopAndVerify()
	withoutProof := regexp.MustCompile(`(?m)^proof.*\n`)
	for i, args := range commands {
		if got := show(args...); got != withoutProof.ReplaceAllString(running[i], "") && strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(withoutProof.ReplaceAllString(running[i], "")), " ") {
			t.Errorf("show %v of the stopped gateway:\n%swas\n%s", args, got, running[i])
		}
	}
}

// TestLedgerAPIRefuses what cannot be asked of the ledger's paths.
func TestLedgerAPIRefuses(t *testing.T) {
	g := booked(t)
	transfer := func(from, to, amount, reference string) map[string]string {
		return map[string]string{"from": from, "to": to, "amount": amount, "reference": reference}
	}
	grant := func(amount, kind string) map[string]string {
		return map[string]string{"amount": amount, "kind": kind, "reference": "x"}
	}
	const grants, transfers = "/api/v1/admin/accounts/alice/credits", "/api/v1/admin/transfers"
	for _, c := range []struct {
		method, path string
		body         any
		status       int
		text         string
	}{
		{"GET", "/api/v1/admin/ledger?limit=0", nil, 400, `"param":"limit"`},
		{"GET", "/api/v1/admin/ledger/alice?from=0", nil, 400, `"param":"from"`},
		{"GET", "/api/v1/admin/ledger/nobody", nil, 404, `"not_found"`},
		{"GET", "/api/v1/admin/ledger/export?format=xml", nil, 400, `"param":"format"`},
		{"GET", "/api/v1/admin/ledger/export?to=x", nil, 400, `"param":"to"`},
		{"GET", "/api/v1/admin/backup?log=maybe", nil, 400, `"param":"log"`},
		{"POST", transfers, transfer("alice", "default", "0", "r"), 400, `"param":"amount"`},
		{"POST", transfers, transfer("alice", "default", "1", ""), 400, `"param":"reference"`},
		{"POST", transfers, transfer("alice", "alice", "1", "r"), 400, `"param":"to"`},
		{"POST", transfers, transfer("alice", "nobody", "1", "r"), 404, `"param":"to"`},
		{"POST", transfers, transfer("alice", "default", "100000", "r"), 402, `"insufficient_credits"`},
		{"POST", transfers, transfer("alice", "default", "1", "opening"), 409, `"reference_conflict"`},
		{"POST", grants, grant("1", "gift"), 400, `"param":"kind"`},
		{"POST", grants, grant("-1", "refund"), 400, `"param":"amount"`},
		{"POST", grants, grant("0", "adjustment"), 400, `"param":"amount"`},
		{"POST", grants, grant("-100000", "adjustment"), 402, `"insufficient_credits"`},
	} {
		if resp, body := g.admin.send(t, c.method, c.path, c.body); resp.StatusCode != c.status || !strings.Contains(body, c.text) {
			t.Errorf("%s %s %v: %d %s", c.method, c.path, c.body, resp.StatusCode, body)
		}
	}
	for range 2 {
		resp, body := g.admin.post(t, transfers, transfer("alice", "default", "1.25", "once"))
		if resp.StatusCode != 200 || !strings.Contains(body, `"credits_remaining":"1009.250001"`) {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	}
}

// TestOnlineVerification asks for a proof and finds it in the API, in /health and in the metrics; then a line is damaged, and the
// proof halts what costs credits while the gateway lives.
func TestOnlineVerification(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[ledger]\nverify_percent = 100\n", nil)
	var v admin.VerificationJSON
	state := func() admin.VerificationJSON {
		t.Helper()
		v = admin.VerificationJSON{}
		if err := g.admin.call("GET", "/api/v1/admin/ledger/verify", nil, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if state(); v.Proven == nil || v.Through != 0 {
		t.Errorf("at the start: %+v", v)
	}
	g.api.post(t, chatPath, ask("m"))
	if resp, body := g.admin.post(t, "/api/v1/admin/ledger/verify", nil); resp.StatusCode != 202 {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	for state().Through != 3 { // an opening, a hold, a settlement
		if v.Fault != "" {
			t.Fatal(v.Fault)
		}
	}
	_, health := g.api.send(t, "GET", "/health", nil)
	_, metrics := g.admin.send(t, "GET", "/metrics", nil)
	if !strings.Contains(health, `"ledger":{"proven_at":"2`) || !strings.Contains(health, `"proven_through":3`) || !strings.Contains(metrics, "\npointsman_ledger_proven_position 3\n") ||
		!strings.Contains(metrics, "\npointsman_ledger_halted 0\n") {
		t.Errorf("health %s, metrics %s", health, metrics)
	}
}

// TestLedgerRepairCommand says what is lost, and makes a directory on which a gateway serves with the same keys.
func TestLedgerRepairCommand(t *testing.T) {
	t.Parallel()
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	key, cfg, master, data := g.api.key, g.cfg, g.masterKey.Reveal(), g.dataDir
	for range 3 {
		g.api.post(t, chatPath, ask("m"))
	}
	g.stopAndVerify()
	if out := mustRun(t, master, "ledger", "repair", "--data", data, "--dry-run"); !strings.Contains(out, "there is nothing to repair") {
		t.Error(out)
	}
	// The mark says that a line was acknowledged that is not there.
	head := filepath.Join(data, "ledger.head")
	if err := os.WriteFile(head, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := badgerdb.Verify(data, &bytes.Buffer{}); err == nil {
		t.Fatal("the damage is not seen")
	}
	to := filepath.Join(t.TempDir(), "new")
	for _, args := range [][]string{{}, {"--dry-run", "--to", to}, {"--to", data}} {
		if out, err := runs(t, master, append([]string{"ledger", "repair", "--data", data}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	out := mustRun(t, master, "ledger", "repair", "--data", data, "--dry-run")
	for _, want := range []string{"damage: the ledger's head file ledger.head is damaged", "lines 1 to 7 are proven", "default", "references that were used stay used"} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("a dry run wrote something")
	}
	mustRun(t, master, "ledger", "repair", "--data", data, "--to", to)
	cfg.Server.Listen, cfg.Server.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	repaired := startGateway(t, cfg, to)
	repaired.api.key = key
	if got := repaired.api.balance(t); got != "999.99982" {
		t.Errorf("balance %s", got)
	}
	if resp, body := repaired.api.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// A repaired ledger is not made in the directory that it is made of.
func TestRepairBesideTheDamaged(t *testing.T) {
	data := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{
		data: false, filepath.Join(data, "repaired"): false, filepath.Join(data, "a", "b"): false, filepath.Join(link, "repaired"): false,
		data + "-repaired": true, filepath.Join(data, "..", "x"): true, filepath.Join(data, "..repaired"): false,
	} {
		if err := mustBeBeside(dir, data); (err == nil) != want {
			t.Errorf("%s beside %s: %v", dir, data, err)
		}
	}
}
