package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/report"
	"github.com/pointsman/pointsman/storage"
)

// TestUsageColumns: a row of an export says what a usage entry of the API says.
func TestUsageColumns(t *testing.T) {
	u := storage.Usage{
		Request: storage.RequestID{1, 2, 3}, ClientID: "mine", Account: "a", Team: "red", Key: "key_1", Model: "m", Provider: "p", PowerLevel: "eco",
		Policy: "eco", Endpoint: "chat", Stream: true, BYOK: true, Simulated: true, Estimated: true, Outcome: storage.OutcomeOK, Status: 200,
		ErrorCode: "none", Attempts: 2, InputTokens: 3, OutputTokens: 4, CachedTokens: 1, Reasoning: 2, Credits: 1_500_000, CostUSD: 12_345,
		SavedUSD: -7, CacheWrite: 5, CacheWrite1h: 6, CacheWrite12h: 7, AudioInput: 8, ImageInput: 9, AudioOutput: 10, ImageOutput: 11, ServiceTier: "flex",
		Suspect: true, ListedUSD: 12, ReportedUSD: 13, PriceVersion: "v", Cache: storage.CacheHit, TTFT: 1234567 * time.Nanosecond, Latency: 2 * time.Second, Overhead: 3 * time.Microsecond,
	}
	var row, entry map[string]any
	decode := func(text []byte, to *map[string]any) {
		t.Helper()
		if err := json.Unmarshal(text, to); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
	}
	decode(report.AppendObject(nil, report.UsageColumns(), report.AppendUsage(nil, &u)), &row)
	text, err := json.Marshal(engine.NewUsageEntry(&u))
	if err != nil {
		t.Fatal(err)
	}
	decode(text, &entry)
	if row["id"] != u.Request.String() {
		t.Errorf("id is %v", row["id"])
	}
	delete(row, "id")
	if !reflect.DeepEqual(row, entry) {
		t.Errorf("the row is\n%v, the entry\n%v", row, entry)
	}
}

// TestUsageSummaries asks a gateway for summaries, as an account and as the operator, and compares them with the listing.
func TestUsageSummaries(t *testing.T) {
	g := newGateway(t, "[log]\ncredit_usd = 2", nil)
	var other keyEntry
	for _, err := range []error{
		g.admin.call("POST", "/api/v1/admin/accounts", map[string]string{"id": "other"}, nil),
		g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "other"}, &other),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, model := range []string{"eco", "balanced", "balanced", "precision"} {
		g.api.post(t, chatPath, ask(model, "stream", i%2 == 0))
	}
	newClient(g.api.base, other.Key).post(t, chatPath, ask("eco"))
	credits := storage.Credits(0)
	byModel := map[string]float64{}
	var page struct{ Data []engine.UsageEntry }
	for range 200 { // streams settle a moment after their end
		if err := g.admin.call("GET", "/api/v1/admin/usage", nil, &page); err != nil {
			t.Fatal(err)
		}
		if len(page.Data) == 5 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, e := range page.Data {
		c, err := storage.ParseCredits(e.Credits)
		if err != nil {
			t.Fatal(err)
		}
		credits += c
		byModel[e.Model]++
	}
	type summary struct {
		From, To string
		Groups   int
		Data     []map[string]any
		Totals   map[string]any
	}
	get := func(c *client, path string) (s summary) {
		t.Helper()
		if err := c.call("GET", path, nil, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := get(g.admin, "/api/v1/admin/analytics?group_by=model,day&sort=-requests")
	got := map[string]float64{}
	for i, row := range s.Data {
		got[row["model"].(string)] += row["requests"].(float64)
		if i > 0 && row["requests"].(float64) > s.Data[i-1]["requests"].(float64) {
			t.Errorf("the rows are not in their order: %v", s.Data)
		}
	}
	margin, err := storage.ParseNanoUSD(s.Totals["margin_usd"].(string))
	if !maps.Equal(got, byModel) || s.Totals["credits"] != credits.String() || err != nil || int64(margin) != 2000*int64(credits) || s.Totals["success_rate"] != 1.0 {
		t.Errorf("by model %v, listed are %v with %s credits; totals %v", got, byModel, credits, s.Totals)
	}
	if s := get(g.admin, "/api/v1/admin/analytics?group_by=account&account=other&limit=1"); len(s.Data) != 1 || s.Data[0]["requests"] != 1.0 {
		t.Errorf("of one account: %v", s.Data)
	}
	if s := get(g.api, "/api/v1/llm/usage?group_by=power_level&sort=power_level"); len(s.Data) != 3 || s.Totals["requests"] != 4.0 || s.Data[0]["margin_usd"] != nil || s.Data[0]["power_level"] != "balanced" {
		t.Errorf("of the own account: %v, totals %v", s.Data, s.Totals)
	}
	if s := get(g.admin, "/api/v1/admin/analytics?from=2001-01-01&to=2001-01-02T00:00:00Z"); len(s.Data) != 0 || s.Totals["success_rate"] != nil || s.From != "2001-01-01T00:00:00Z" {
		t.Errorf("long ago: %+v", s)
	}
	for path, param := range map[string]string{
		"group_by=colour": "group_by", "group_by=model,model": "group_by", "group_by=hour,day": "group_by", "from=yesterday": "from", "to=2001-01-01&from=2002-01-01": "to",
		"limit=0": "limit", "limit=50001": "limit", "sort=colour": "sort", "format=xls": "format", "from=2001-01-01&group_by=minute": "from",
	} {
		resp, body := g.admin.send(t, "GET", "/api/v1/admin/analytics?"+path, nil)
		if resp.StatusCode != 400 || !strings.Contains(body, fmt.Sprintf(`"param":%q`, param)) {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	if resp, body := g.api.send(t, "GET", "/api/v1/llm/usage?group_by=account", nil); resp.StatusCode != 400 {
		t.Errorf("an account may group by accounts: %s", body)
	}
	g.checkUsageCommands(len(page.Data))
}

// checkUsageCommands runs the commands that read usage.
func (g *testGateway) checkUsageCommands(requests int) {
	t := g.t
	dir := t.(*testing.T).TempDir()
	t.(*testing.T).Setenv("POINTSMAN_MASTER_KEY", g.admin.key)
	runUsage := func(args ...string) string {
		t.Helper()
		var out, failed bytes.Buffer
		if status := run(append([]string{"usage"}, args...), terminal{&out, &failed}); status != 0 {
			t.Fatalf("usage %v: %s", args, failed.String())
		}
		return out.String()
	}
	where := "--admin-url=" + g.admin.base
	if out := runUsage("list", where); strings.Count(out, "\n") != requests+1 {
		t.Errorf("usage list printed %s", out)
	}
	if out := runUsage("summary", where, "--group-by=day,power_level", "--where=account=default"); !strings.Contains(out, "balanced") || !strings.Contains(out, "total") {
		t.Errorf("usage summary printed %s", out)
	}
	for _, format := range report.Formats() {
		file := filepath.Join(dir, "usage."+format)
		runUsage("export", where, "--format", format, "-o", file)
		runUsage("export", where, "--format", format, "--group-by=model,hour", "-o", file+".summary")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		switch format {
		case "csv":
			rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
			if err != nil || len(rows) != requests+1 || rows[0][0] != "id" {
				t.Errorf("CSV has %d rows, %v", len(rows), err)
			}
		case "jsonl":
			if n := bytes.Count(text, []byte("\n")); n != requests {
				t.Errorf("JSON lines are %d", n)
			}
		default:
			if !bytes.HasPrefix(text, []byte("PAR1")) || !bytes.HasSuffix(text, []byte("PAR1")) {
				t.Errorf("the Parquet file has %d bytes", len(text))
			}
		}
	}
	data := g.dataDir
	g.stopAndVerify()
	if out := runUsage("recount", "--check", "--data", data); !strings.Contains(out, "equal a recount") {
		t.Errorf("usage recount printed %s", out)
	}
}

// TestExportParquet lets another reader of Parquet compare a file of several row groups with the JSON lines of the same rows.
func TestExportParquet(t *testing.T) {
	t.Parallel()
	python := installed(t, "../../.cache/parquet/bin/python")
	dir := t.TempDir()
	write := func(format string) string {
		t.Helper()
		name := filepath.Join(dir, "usage."+format)
		file, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		table, err := report.New(format, file, report.UsageColumns())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 40_000 {
			u := storage.Usage{
				Request: storage.RequestID{0, 1, byte(i >> 16), byte(i >> 8), byte(i)}, Account: fmt.Sprint("account-", i%100), Model: "modèle", Outcome: storage.OutcomeOK,
				Stream: i%2 == 0, InputTokens: int64(i), Credits: storage.Credits(i) * 1001, CostUSD: storage.NanoUSD(i) * 1_000_003, SavedUSD: -storage.NanoUSD(i),
				Latency: time.Duration(i) * time.Millisecond, TTFT: time.Duration(i) * time.Microsecond,
			}
			if err := table.Row(report.AppendUsage(nil, &u)); err != nil {
				t.Fatal(err)
			}
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
		return name
	}
	lines, err := os.Open(write("jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer lines.Close()
	read := json.NewDecoder(bytes.NewReader(runProgram(t, python, testdata(t, "parquet/read.py"), write("parquet"))))
	var types map[string]string
	if err := read.Decode(&types); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"id": "string", "time": "timestamp[us, tz=UTC]", "credits": "decimal128(18, 6)", "cost_usd": "decimal128(18, 9)", "stream": "bool", "input_tokens": "int64", "latency_ms": "double"} {
		if types[name] != want {
			t.Errorf("column %s is %s, not %s", name, types[name], want)
		}
	}
	want := json.NewDecoder(lines)
	rows := 0
	for ; ; rows++ {
		var a, b map[string]any
		errA, errB := want.Decode(&a), read.Decode(&b)
		if errA == io.EOF && errB == io.EOF {
			break
		}
		if errA != nil || errB != nil {
			t.Fatalf("row %d: %v, %v", rows, errA, errB)
		}
		at, err := time.Parse(time.RFC3339Nano, a["time"].(string))
		if err != nil {
			t.Fatal(err)
		}
		a["time"] = float64(at.UnixMicro()) / 1e6
		if !reflect.DeepEqual(a, b) {
			t.Fatalf("row %d is\n%v, as JSON it is\n%v", rows, b, a)
		}
	}
	if rows != 40_000 || len(types) != len(report.UsageColumns()) || !slices.Contains(slices.Collect(maps.Keys(types)), "request_id") {
		t.Errorf("%d rows of %d columns", rows, len(types))
	}
}

// TestBodies: bodies are kept where they are wanted, without secrets and what the paths name, streams with all their events.
func TestBodies(t *testing.T) {
	g := newGateway(t, "[log]\nbodies = true\nbody_kb = 2\nbodies_except = [\"private\"]\nredact_paths = [\"metadata\"]\nredact_expressions = [\"canary-[a-z]+\"]", nil)
	var private keyEntry
	for _, err := range []error{
		g.admin.call("POST", "/api/v1/admin/accounts", map[string]string{"id": "private"}, nil),
		g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "private"}, &private),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	type bodies struct {
		Request, Answer, Account string
		Cut                      bool
	}
	find := func(id string) (b bodies, err error) {
		for range 200 {
			if err = g.admin.call("GET", "/api/v1/admin/bodies/"+id, nil, &b); err == nil {
				return b, nil
			}
			time.Sleep(5 * time.Millisecond)
		}
		return b, err
	}
	message := []map[string]string{{"role": "user", "content": "my key is sk-proj-0123456789abcdefgh and canary-one"}}
	resp, _ := g.api.post(t, chatPath, ask("eco", "messages", message, "metadata", map[string]string{"who": "somebody"}))
	b, err := find(resp.Header.Get("X-Request-Id"))
	if err != nil || !strings.Contains(b.Request, "my key is [redacted] and [redacted]") || strings.Contains(b.Request, "somebody") || !strings.Contains(b.Answer, `"choices"`) || b.Account != "default" || b.Cut {
		t.Errorf("%+v, %v", b, err)
	}
	message[0]["content"] = strings.Repeat("word ", 1000)
	resp, text := g.api.post(t, chatPath, ask("eco", "stream", true, "messages", message))
	if b, err = find(resp.Header.Get("X-Request-Id")); err != nil || !b.Cut || len(b.Request) > 2048+20 || !strings.HasPrefix(b.Answer, "data: ") || !strings.HasPrefix(text, b.Answer[:40]) {
		t.Errorf("%+v, %v", b, err)
	}
	resp, _ = newClient(g.api.base, private.Key).post(t, chatPath, ask("eco"))
	resp, text = g.admin.send(t, "GET", "/api/v1/admin/bodies/"+resp.Header.Get("X-Request-Id"), nil)
	if resp.StatusCode != 404 || !strings.Contains(text, "body_not_found") {
		t.Errorf("the body of an account that has none: %s %s", resp.Status, text)
	}
	data := filepath.Join(g.dataDir, "bodies")
	g.stopAndVerify()
	files, err := os.ReadDir(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(filepath.Join(data, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"0123456789abcdefgh", "canary-one", "somebody"} {
			if bytes.Contains(raw, []byte(secret)) {
				t.Errorf("%s holds %s", file.Name(), secret)
			}
		}
	}
}

// TestDamagedLog: a usage log that cannot be read keeps no gateway from starting. It is kept under another name, and the next one has what the ledger knows.
func TestDamagedLog(t *testing.T) {
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml, nil)
	alice := g.account("alice")
	chat := func() {
		t.Helper()
		if resp, body := alice.post(t, chatPath, ask("m")); resp.StatusCode != 200 {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	for range 3 {
		chat()
	}
	balance, err := g.store.Balance("alice")
	if err != nil {
		t.Fatal(err)
	}
	cfg, data := g.cfg, g.dataDir
	g.stopAndVerify()
	if err := os.WriteFile(filepath.Join(data, "log", "MANIFEST"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	g = startGateway(t, cfg, data)
	if after, err := g.store.Balance("alice"); err != nil || after != balance {
		t.Errorf("before: %+v; after: %+v, %v", balance, after, err)
	}
	alice = g.client(g.api.base, alice.key)
	chat()
	records, _, err := g.usage.Usage("alice", "", 10)
	if err != nil || len(records) != 4 {
		t.Fatalf("%d requests, %v", len(records), err)
	}
	for i, u := range records {
		if u.Credits == 0 {
			t.Errorf("request %d: %+v", i, u)
		}
	}
	if kept, err := filepath.Glob(filepath.Join(data, "log.damaged-*", "*.pages")); err != nil || len(kept) == 0 {
		t.Errorf("kept: %v, %v", kept, err)
	}
}
