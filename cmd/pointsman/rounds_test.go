package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// examplePolicy compiles one of the example policies.
func examplePolicy(t testing.TB, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), name+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s -w", "-o", out, "./examples/policies/"+name)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compiling %s: %v\n%s", name, err, text)
	}
	return out
}

// threeModels starts scripted providers of the models small, critic and large, at 1, 2 and 50 credits per 1,000 tokens, and
// an example policy named p; general is what the configuration says about all policies.
func threeModels(t testing.TB, example, general, settings string) (map[string]*scripted.Server, *testGateway) {
	t.Helper()
	servers := map[string]*scripted.Server{}
	toml := "[catalog]\nbuiltin = false\n[simulator]\nenabled = false\n"
	for i, name := range []string{"small", "critic", "large"} {
		s, err := scripted.Start(scripted.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		servers[name] = s
		toml += fmt.Sprintf("[providers.%s]\nadapter = \"openai\"\nbase_url = %q\napi_key = \"sk-%s\"\nallow_private = true\ntimeout_seconds = 2\n", name, s.URL()+"/v1", name)
		toml += fmt.Sprintf("[[models]]\nname = %q\ntier = %d\nquality = %g\ncredits_per_1k = %d\ncontext_window = 128000\n", name, 1+i, 0.6+0.15*float64(i), []int{1, 2, 50}[i])
		toml += fmt.Sprintf("[[models.deployments]]\nprovider = %q\nupstream = %q\nusd_in_per_1m = 1.0\nusd_out_per_1m = 2.0\n", name, name)
	}
	toml += fmt.Sprintf("[policies]\n%s[policies.p]\nfile = %q\n%s", general, examplePolicy(t, example), settings)
	return servers, newGateway(t, toml, nil)
}

// says makes a provider answer everything with a text and a finish_reason.
func says(s *scripted.Server, text, finish string) {
	s.Script(func(r *scripted.Request) *scripted.Reply {
		reply := &scripted.Reply{Body: bytes.ReplaceAll(scripted.OpenAIBody(r.Model, text), []byte(`"finish_reason":"stop"`), []byte(`"finish_reason":"`+finish+`"`))}
		if r.Stream {
			reply.Body = nil
			for _, chunk := range scripted.OpenAIChunks(r.Model, []string{text[:len(text)/2], text[len(text)/2:]}, scripted.UsageFinal) {
				reply.Chunks = append(reply.Chunks, bytes.ReplaceAll(chunk, []byte(`"finish_reason":"stop"`), []byte(`"finish_reason":"`+finish+`"`)))
			}
		}
		return reply
	})
}

// roundsExplained is what the tests look at of an explained decision.
type roundsExplained struct {
	Decision   string
	Reproduced *bool
	Failure    string `json:"policy_failure"`
	Rounds     []struct{ Decision, Asked string }
	Attempts   []struct {
		Round                   int
		SideCall                bool `json:"side_call"`
		Model, Outcome, Credits string
		Text                    string
		Signs                   []string
	}
}

func explained(t testing.TB, g *testGateway, resp *http.Response) (x roundsExplained) {
	t.Helper()
	if err := g.api.call("GET", "/api/v1/llm/decisions/"+resp.Header.Get("X-Request-Id"), nil, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// paidInAll checks that a request was charged what its attempts cost together, in one settlement, and nothing is held.
func paidInAll(t testing.TB, g *testGateway, before string, resp *http.Response, x *roundsExplained) {
	t.Helper()
	sum := storage.Credits(0)
	for _, a := range x.Attempts {
		c, err := storage.ParseCredits(a.Credits)
		if err != nil {
			t.Fatal(err)
		}
		sum += c
	}
	was, err := storage.ParseCredits(before)
	if err != nil {
		t.Fatal(err)
	}
	if now := g.api.balance(t); now != (was - sum).String() {
		t.Errorf("balance %s after %s and %s in rounds", now, before, sum)
	}
	if told := resp.Header.Get("X-Pointsman-Credits"); told != "" && told != sum.String() {
		t.Errorf("told %s credits, the rounds cost %s", told, sum)
	}
	if held := g.api.balanceHeld(t); held != "0" {
		t.Errorf("%s credits are still held", held)
	}
	if u := g.api.lastUsage(t); u["credits"] != sum.String() || u["outcome"] != "ok" {
		t.Errorf("usage says %v, the rounds cost %s", u, sum)
	}
}

const long = "Please prove that there are infinitely many primes and explain every step of it so that a child of ten can follow what is going on here."

// haltedLedger takes no more work.
type haltedLedger struct{ engine.Ledger }

func (haltedLedger) Balance(string) (storage.Balance, error) {
	return storage.Balance{}, storage.ErrHalted
}
func (haltedLedger) Reserve(storage.Hold) (*storage.Batch, error) { return nil, storage.ErrHalted }

// What costs nothing goes on without the ledger, and with it the questions of a policy: what they are answered is not for the client.
func TestQuestionsWithoutALedger(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "classifier", "", "grants = [\"side_calls\"]\n[policies.p.config]\nclassifier = \"critic\"\nweak = \"small\"\nstrong = \"large\"\nshort = 20\n")
	says(up["critic"], "WEAK", "stop")
	says(up["small"], "A weak answer", "stop")
	says(up["large"], "A strong answer", "stop")
	g.engine.Ledger = haltedLedger{g.engine.Ledger}
	for _, tc := range []struct {
		keys []string // the account's own
		want string
	}{
		{[]string{"small", "large"}, "large"}, // the question costs something
		{[]string{"critic"}, "small"},
	} {
		for _, provider := range tc.keys {
			if err := g.api.call("PUT", "/api/v1/llm/byok/"+provider, map[string]string{"key": "sk-own-0123456789"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, stream := range []bool{false, true} {
			resp, text := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "stream": stream, "messages": user(long)})
			if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != tc.want || !strings.Contains(text, "answer") || strings.Contains(text, "WEAK") {
				t.Errorf("stream %v: %d from %q, not %s: %s", stream, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), tc.want, text)
			}
		}
	}
}

func TestClassifierAsksFirst(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "classifier", "", "grants = [\"side_calls\"]\n[policies.p.config]\nclassifier = \"critic\"\nweak = \"small\"\nstrong = \"large\"\nshort = 20\n")
	for _, stream := range []bool{false, true} {
		for said, want := range map[string]string{"STRONG": "large", "weak": "small"} {
			says(up["critic"], said, "stop")
			before := g.api.balance(t)
			body := map[string]any{"model": "auto/p", "max_tokens": 100, "stream": stream, "messages": user(long)}
			resp, text := g.api.post(t, chatPath, body)
			if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != want {
				t.Fatalf("%s: %d from %q: %s", said, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), text)
			}
			x := explained(t, g, resp)
			if len(x.Rounds) != 1 || x.Rounds[0].Decision != "ask" || !strings.Contains(x.Rounds[0].Asked, "one word") ||
				len(x.Attempts) != 2 || !x.Attempts[0].SideCall || x.Attempts[0].Model != "critic" || x.Attempts[1].Round != 1 {
				t.Fatalf("%+v", x)
			}
			if x.Reproduced != nil || x.Attempts[0].Text != "" { // its text is not kept unless the operator says so
				t.Errorf("%+v", x)
			}
			paidInAll(t, g, before, resp, &x)
		}
	}
	var asked string
	for _, r := range up["critic"].Requests() {
		asked = string(r.Body)
	}
	if !strings.Contains(asked, "infinitely many primes") || !strings.Contains(asked, `"max_tokens":8`) && !strings.Contains(asked, `"max_completion_tokens":8`) {
		t.Errorf("the classifier was asked %s", asked)
	}
	if resp, _ := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "messages": user("Hi")}); resp.Header.Get("X-Pointsman-Attempts") != "1" {
		t.Error("a short request asked first")
	}
}

func TestCascadeJudgesAndEscalates(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "cascade", "", "grants = [\"side_calls\"]\n[policies.p.config]\ncheap = \"small\"\njudge = \"critic\"\nstrong = \"large\"\n")
	for _, stream := range []bool{false, true} {
		for grade, want := range map[string]string{"9": "small answer", "Grade: 2": "large answer"} {
			says(up["small"], "small answer", "stop")
			says(up["large"], "large answer", "stop")
			says(up["critic"], grade, "stop")
			before := g.api.balance(t)
			resp, text := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "stream": stream, "messages": user(long)})
			half := want[len(want)/2:]
			if resp.StatusCode != 200 || !strings.Contains(text, half) || strings.Contains(text, "small") && want != "small answer" {
				t.Fatalf("stream %v, grade %s: %d %s", stream, grade, resp.StatusCode, text)
			}
			if stream && !strings.HasSuffix(text, "data: [DONE]\n\n") {
				t.Errorf("a held stream ends with %q", text[max(0, len(text)-40):])
			}
			x := explained(t, g, resp)
			paidInAll(t, g, before, resp, &x)
		}
	}
	last := up["critic"].Requests()
	if asked := string(last[len(last)-1].Body); !strings.Contains(asked, "infinitely many primes") || !strings.Contains(asked, "small answer") {
		t.Errorf("the judge was asked %s", asked)
	}
}

func TestEscalatesAndFallsBackToWhatIsHeld(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "escalate", "", "[policies.p.config]\nsteps = 1\n")
	ask := func(stream bool) (*http.Response, string) {
		return g.api.post(t, chatPath, map[string]any{
			"model": "auto/p", "max_completion_tokens": 50, "stream": stream, "messages": user(long), "response_format": map[string]any{"type": "json_object"},
		})
	}
	says(up["small"], "not json", "stop")
	says(up["critic"], `{"ok": true}`, "stop")
	for _, stream := range []bool{false, true} {
		before := g.api.balance(t)
		resp, text := ask(stream)
		if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Model") != "critic" || strings.Contains(text, "not json") {
			t.Fatalf("stream %v: %d from %s: %s", stream, resp.StatusCode, resp.Header.Get("X-Pointsman-Model"), text)
		}
		x := explained(t, g, resp)
		if x.Reproduced == nil || !*x.Reproduced || len(x.Rounds) != 2 || x.Decision != "accept" || len(x.Attempts) != 2 {
			t.Errorf("%+v", x)
		}
		paidInAll(t, g, before, resp, &x)
	}
	// The better models fail: what is held is sent after all.
	broken := func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 500, Body: []byte(`{}`)} }
	up["critic"].Script(broken)
	up["large"].Script(broken)
	before := g.api.balance(t)
	resp, text := ask(false)
	if resp.StatusCode != 200 || !strings.Contains(text, "not json") {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	x := explained(t, g, resp)
	paidInAll(t, g, before, resp, &x)
	// All fail: the client is told why, and pays nothing.
	up["small"].Script(broken)
	before = g.api.balance(t)
	if resp, text := ask(true); resp.StatusCode < 500 || g.api.balance(t) != before || g.api.balanceHeld(t) != "0" {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

// TestRoundsOfAPoorAccount: a round that the account cannot pay for is an outcome the policy goes on from.
func TestRoundsOfAPoorAccount(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "escalate", "", "[policies.p.config]\nsteps = 1\n")
	says(up["small"], "I'm sorry, but I can't help with that.", "stop")
	poor := g.account("poor")
	balance, err := g.store.Balance("poor")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.store.Grant(storage.Grant{Account: "poor", Amount: 200_000 - balance.Posted, Reference: "take", Kind: "adjustment"}); err != nil {
		t.Fatal(err)
	}
	resp, text := poor.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "messages": user(long)})
	if resp.StatusCode != 200 || !strings.Contains(text, "sorry") {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	if held := poor.balanceHeld(t); held != "0" {
		t.Errorf("%s credits are still held", held)
	}
}

func TestBanditLearnsAndRemembers(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "bandit", "", "grants = [\"state\"]\n")
	up["small"].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 500, Body: []byte(`{}`)} })
	up["large"].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{Status: 500, Body: []byte(`{}`)} })
	var resp *http.Response
	for range 8 {
		for range 6 {
			resp, _ = g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 10, "messages": user("Hi")})
		}
		time.Sleep(260 * time.Millisecond)
	}
	x := explained(t, g, resp)
	if x.Reproduced == nil || !*x.Reproduced {
		t.Errorf("a decision on a learned state: %+v", x)
	}
	number, data, err := g.usage.State("p", 0)
	if err != nil || len(data) != 3*16 || number == 0 {
		t.Fatalf("state %d of %d bytes, %v", number, len(data), err)
	}
	cfg, dir := g.cfg, g.dataDir
	g.stopAndVerify()
	g = startGateway(t, cfg, dir)
	g.api.key = "" // the first key was shown once; the admin makes another
	again := g.account("second")
	tried := up["small"].Count() + up["large"].Count()
	for range 10 {
		again.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 10, "messages": user("Hi")})
	}
	if wrong := up["small"].Count() + up["large"].Count() - tried; wrong > 8 {
		t.Errorf("after a restart %d of 10 requests went to candidates that always fail", wrong)
	}
}

// TestFailedPolicyIsFlagged: a policy that fails costs the client nothing, and the answer says so.
func TestFailedPolicyIsFlagged(t *testing.T) {
	t.Parallel()
	_, g := threeModels(t, "cheapest", "", "fuel = 10\n")
	resp, text := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 10, "messages": user("Hi")})
	if resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Policy-Failed") != "true" {
		t.Fatalf("%d %q %s", resp.StatusCode, resp.Header.Get("X-Pointsman-Policy-Failed"), text)
	}
	if x := explained(t, g, resp); !strings.Contains(x.Failure, "fuel") {
		t.Errorf("%+v", x)
	}
	page, err := g.admin.do("GET", "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	counted, err := io.ReadAll(page.Body)
	if err != nil || !strings.Contains(string(counted), "pointsman_policy_faults_total{policy=\"p\",kind=\"fuel\"} 1\n") {
		t.Errorf("the failure is not counted: %v\n%s", err, counted)
	}
}

// TestTextsAreKeptOnRequest: with record_texts a decision that rested on texts is repeated, too.
func TestTextsAreKeptOnRequest(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "classifier", "record_texts = true\ncheck_every = 1\n",
		"grants = [\"side_calls\"]\n[policies.p.config]\nclassifier = \"critic\"\nweak = \"small\"\nstrong = \"large\"\nshort = 20\n")
	says(up["critic"], "Strong.", "stop")
	resp, text := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "messages": user(long)})
	if resp.StatusCode != 200 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
	x := explained(t, g, resp)
	if x.Reproduced == nil || !*x.Reproduced || x.Attempts[0].Text != "Strong." {
		t.Errorf("%+v", x)
	}
	for range 500 {
		if info, _ := g.policies.Info("p"); info.Checked > 0 {
			if info.Impure > 0 {
				t.Errorf("%d of %d decisions came out differently", info.Impure, info.Checked)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no decision was checked")
}

// TestRoundCredits: rounds before the last cannot cost more than the operator allows.
func TestRoundCredits(t *testing.T) {
	t.Parallel()
	up, g := threeModels(t, "escalate", "round_credits = 0.25\n", "[policies.p.config]\nsteps = 1\n")
	says(up["small"], "I'm sorry, but I can't help with that.", "stop")
	resp, text := g.api.post(t, chatPath, map[string]any{"model": "auto/p", "max_tokens": 100, "messages": user(long)})
	if resp.StatusCode != 200 || !strings.Contains(text, "sorry") || up["critic"].Count()+up["large"].Count() > 0 {
		t.Fatalf("%d %s", resp.StatusCode, text)
	}
}

// TestStepTimeout: a plan's own patience with a candidate counts, not the provider's.
func TestStepTimeout(t *testing.T) {
	up, toml := upstreams(t, 2)
	g := newGateway(t, toml+"[retries]\nattempts = 2\n[policies.custom.config]\ntimeout_ms = 80\n", nil)
	slow := func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders = 1500 * time.Millisecond
		return reply
	}
	for _, stream := range []bool{false, true} {
		first := 0
		up[0].Script(slow)
		up[1].Script(slow)
		resp, text := g.api.post(t, chatPath, ask("m", "stream", stream))
		x := explained(t, g, resp)
		if resp.StatusCode != 504 || len(x.Attempts) != 2 {
			t.Fatalf("%d %s after %+v", resp.StatusCode, text, x.Attempts)
		}
		for _, a := range x.Attempts {
			if a.Outcome != "timeout" {
				t.Errorf("attempt %d: %+v", first, a)
			}
			first++
		}
	}
}

// TestStepTimeoutAndHealth: a plan that has less patience than a provider's answers mostly take says nothing of the provider, one with more does.
func TestStepTimeoutAndHealth(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		millis int
		down   bool
	}{{80, false}, {1100, true}} { // not enough answers are known, so that a second counts
		t.Run(fmt.Sprint(x.millis), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, fmt.Sprintf("%s[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n[policies.custom.config]\ntimeout_ms = %d\n", toml, x.millis), nil)
			up[0].Script(func(*scripted.Request) *scripted.Reply { return &scripted.Reply{HoldBeforeHeaders: 20 * time.Second} })
			for range 5 {
				if resp, text := g.api.post(t, chatPath, ask("m")); resp.StatusCode != 504 || !strings.Contains(text, "provider_timeout") {
					t.Fatalf("%d %s", resp.StatusCode, text)
				}
			}
			if p := g.api.providerHealth(t, "up0"); (p.Status == "down") != x.down {
				t.Errorf("the provider is %s: %s; %+v", p.Status, p.Reason, p.Window)
			}
		})
	}
}
