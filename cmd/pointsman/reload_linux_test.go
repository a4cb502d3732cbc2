package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// generations are configurations that no two of have anything in common: in number n, model "m" is model "gpt-n" of provider pN,
// asked below /gN with a key that has n in it, at n dollars for a million tokens. Model "steady" has another price alone.
type generations struct {
	up       *scripted.Server
	holding  atomic.Int64 // number of the last one that was taken
	offering atomic.Int64 // of the last one that was written
}

// toml is the configuration with that number. Small write buffers are full, and given back, many times in ten minutes.
func (g *generations) toml(n int64) []byte {
	return fmt.Appendf(nil, `[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[storage]
memory_mb = 16
[catalog]
builtin = false
[simulator]
enabled = false
[providers.p%[2]d]
adapter = "openai"
base_url = "%[1]s/g%[3]d"
api_key = "sk-platform-%[3]d-canary"
allow_private = true
[providers.steady]
adapter = "openai"
base_url = "%[1]s/steady"
api_key = "sk-platform-steady-canary"
allow_private = true
[[models]]
name = "m"
tier = 1
credits_per_1k = 0.002
context_window = 128000
deployments = [{ provider = "p%[2]d", upstream = "gpt-%[3]d", usd_in_per_1m = %[3]d, usd_out_per_1m = %[3]d }]
[[models]]
name = "steady"
tier = 1
credits_per_1k = 0.002
context_window = 128000
deployments = [{ provider = "steady", upstream = "gpt-steady", usd_in_per_1m = %[3]d, usd_out_per_1m = %[3]d }]
`, g.up.URL(), n%5, n)
}

// answer says in its text how it was asked. Streams take as long as two or three reloads.
func (g *generations) answer(r *scripted.Request) *scripted.Reply {
	reply := r.Default()
	path, _, _ := strings.Cut(strings.TrimPrefix(r.Path, "/"), "/")
	text := strings.Join([]string{path, r.Model, r.Authorization}, " ")
	if r.Stream {
		reply.Chunks = scripted.OpenAIChunks(r.Model, []string{text, " ", " ", " ", " "}, scripted.UsageFinal)
		reply.Interval = 40 * time.Millisecond
	} else {
		reply.Body = scripted.OpenAIBody(r.Model, text)
	}
	return reply
}

// told is what one answer says about the configuration it was made by.
type told struct {
	text, provider string
	cost           storage.NanoUSD
}

// ask sends a request and reads what came of it.
func (g *generations) ask(c *client, model string, stream bool) (said told, err error) {
	body := ask(model)
	if stream {
		body = ask(model, "stream", true, "stream_options", map[string]bool{"include_usage": true})
	}
	resp, err := c.do("POST", chatPath, body)
	if err != nil {
		return said, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return said, fmt.Errorf("%d, %w: %s", resp.StatusCode, errors.Join(err, errors.New("no answer")), text)
	}
	said.provider = resp.Header.Get("X-Pointsman-Provider")
	type answer struct {
		Choices []struct{ Message, Delta struct{ Content string } }
		Usage   *struct{ Cost json.Number }
	}
	events := [][]byte{text}
	if stream {
		var done bool
		if text, done = bytes.CutSuffix(text, []byte("data: [DONE]\n\n")); !done {
			return said, fmt.Errorf("the stream has no end: %s", text)
		}
		events = bytes.Split(bytes.TrimSpace(text), []byte("\n\n"))
	}
	for _, event := range events {
		var a answer
		if err := json.Unmarshal(bytes.TrimPrefix(event, []byte("data: ")), &a); err != nil {
			return said, fmt.Errorf("%w in %s", err, event)
		}
		for _, choice := range a.Choices {
			said.text += choice.Message.Content + choice.Delta.Content
		}
		if a.Usage != nil {
			if said.cost, err = storage.ParseNanoUSD(a.Usage.Cost.String()); err != nil {
				return said, err
			}
		}
	}
	return said, nil
}

// check asks once, and holds all that the answer says against one configuration, which held at some time meanwhile.
func (g *generations) check(c *client, model string, stream bool) error {
	first := g.holding.Load()
	said, err := g.ask(c, model, stream)
	if err != nil {
		return err
	}
	perToken := int64(said.cost) / (scripted.InputTokens + scripted.OutputTokens)
	n := perToken / 1000 // a dollar for a million tokens is 1,000 nanodollars for one
	want := told{fmt.Sprintf("g%d gpt-%d Bearer sk-platform-%d-canary", n, n, n), fmt.Sprintf("p%d", n%5), said.cost}
	if model == "steady" {
		want.text, want.provider = "steady gpt-steady Bearer sk-platform-steady-canary", "steady"
	}
	if said.text = strings.TrimSpace(said.text); said != want {
		return fmt.Errorf("mixed: %+v, the price is that of number %d", said, n)
	}
	if last := g.offering.Load(); n < first || n > last {
		return fmt.Errorf("the answer is by number %d; %d held when it was asked for, and %d was the last", n, first, last)
	}
	return nil
}

// TestF32ReloadUnderLoad reads the configuration again ten times a second under traffic: good ones, of which each removes a
// provider, faulty ones, halves, empty ones. No request fails, and each is answered by one configuration as a whole. In full it does
// so for ten minutes, over which the process's memory stays as it is.
func TestF32ReloadUnderLoad(t *testing.T) {
	life := time.Duration(times(6, 600)) * time.Second
	up, err := scripted.Start(scripted.Options{Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer up.Close()
	g := &generations{up: up}
	up.Script(g.answer)
	g.holding.Store(1)
	g.offering.Store(1)
	p := startProcess(t, string(g.toml(1)))

	g.change(t, p, max(2*time.Second, life/10))
	time.Sleep(300 * time.Millisecond) // until the gateway has seen its clients leave
	before := p.usage()
	r := g.change(t, p, life)
	after := p.usage()
	for deadline := time.Now().Add(10 * time.Second); (after.descriptors > before.descriptors+5 || after.goroutines > before.goroutines+10) && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		after = p.usage()
	}
	if after.descriptors > before.descriptors+5 || after.goroutines > before.goroutines+10 {
		t.Errorf("before %v, after %v", before, after)
	}
	third := len(r.memory) / 3
	middle, last := quantile(r.memory[third:2*third], 0.5), quantile(r.memory[2*third:], 0.5)
	growth := 100 * float64(last-middle) / float64(middle)
	figure(t, "%d reloads in %v, %d of them refused; %d answers, 0 failed, 0 of two configurations", r.reloads, life, r.refused, r.answers)
	figure(t, "before %v; after %v; memory without files %+.1f %% from the second third to the last (medians)", before, after, growth)
	if limit := float64(times(25, 5)); growth > limit || growth < -limit { // six seconds are not past the warm-up
		t.Errorf("memory changed by %.1f %%", growth)
	}
	if rate := float64(r.reloads) / life.Seconds(); rate < 9.5 && allFaults() {
		t.Errorf("only %.1f reloads a second", rate)
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.outcomes()
}

// changes are what a time of reloads under traffic came to.
type changes struct {
	reloads, refused int
	answers          int64
	// Once a second, without the pages of files: the databases map theirs, and those that are in memory grow with what was
	// ever written, as long as the system has room for them.
	memory []int
}

// change reads the configuration again ten times a second, with twelve clients at work.
func (g *generations) change(t *testing.T, p *process, length time.Duration) (r changes) {
	t.Helper()
	pause := time.Duration(times(20, 50)) * time.Millisecond
	var done, failed atomic.Int64
	var over atomic.Bool
	var clients sync.WaitGroup
	for i := range 12 {
		clients.Go(func() {
			c := newClient(p.api.base, p.api.key)
			c.http.Transport = &http.Transport{}
			defer c.http.CloseIdleConnections()
			for !over.Load() {
				if err := g.check(c, []string{"m", "steady"}[i%4/3], i%2 == 1); err != nil && failed.Add(1) < 10 {
					t.Error(err)
				}
				done.Add(1)
				time.Sleep(pause)
			}
		})
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(length); time.Now().Before(end); r.reloads++ {
		<-tick.C
		r.refused += g.reload(t, p, r.reloads)
		if r.reloads%10 == 0 {
			r.memory = append(r.memory, memoryOf(t, p.cmd.Process.Pid, "RssAnon"))
		}
	}
	over.Store(true)
	clients.Wait()
	p.api.http.CloseIdleConnections()
	r.answers = done.Load()
	return r
}

// reload offers the gateway one more file and tells whether it was refused.
func (g *generations) reload(t *testing.T, p *process, round int) (refused int) {
	n := g.holding.Load()
	good := g.toml(n + 1)
	kinds := map[int][]byte{
		6: append(g.toml(n+1), "[servr]\n"...),
		7: bytes.TrimRight(good[:1+rand.IntN(len(good)-1)], "\n"), // written in part
		8: bytes.ReplaceAll(good, []byte(`adapter = "openai"`), []byte(`adapter = "nobody"`)),
		9: nil,
	}
	text, bad := kinds[round%10]
	if bad {
		if err := os.WriteFile(p.config, text, 0o600); err != nil {
			t.Fatal(err)
		}
	} else {
		g.offering.Store(n + 1)
		p.write(good)
	}
	resp, body := p.admin.send(t, "POST", "/api/v1/admin/reload", nil)
	var health struct{ Problems []string }
	if err := p.admin.call("GET", "/health", nil, &health); err != nil {
		t.Fatal(err)
	}
	if want := map[bool]int{true: 422, false: 200}[bad]; resp.StatusCode != want || len(health.Problems) > 0 != bad {
		t.Fatalf("round %d: %d %s\nproblems %q of\n%s", round, resp.StatusCode, body, health.Problems, text)
	}
	if bad {
		return 1
	}
	g.holding.Store(n + 1)
	return 0
}
