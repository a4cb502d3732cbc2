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

func (g *generations) toml(n int64) []byte {
	return fmt.Appendf(nil, `[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
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
// provider, faulty ones, halves, empty ones. No request fails, and each is answered by one configuration as a whole. With
// POINTSMAN_CHAOS it does so for ten minutes.
func TestF32ReloadUnderLoad(t *testing.T) {
	life := 6 * time.Second
	if os.Getenv("POINTSMAN_CHAOS") != "" {
		life = 10 * time.Minute
	}
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

	reloads, refused := 0, 0
	phase := func(length time.Duration) (answers int64, samples []processUsage) {
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
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(length); time.Now().Before(end); reloads++ {
			<-tick.C
			refused += g.reload(t, p, reloads)
			if reloads%10 == 0 {
				samples = append(samples, p.usage())
			}
		}
		over.Store(true)
		clients.Wait()
		p.api.http.CloseIdleConnections()
		time.Sleep(300 * time.Millisecond) // until the gateway has seen its clients leave
		return done.Load(), samples
	}
	phase(max(2*time.Second, life/10))
	before := p.usage()
	answers, samples := phase(life)
	after := p.usage()
	rss := func(samples []processUsage) (sum int) {
		for _, s := range samples {
			sum += s.rss / len(samples)
		}
		return sum
	}
	half := len(samples) / 2
	early, late := rss(samples[:half]), rss(samples[half:])
	growth := 100 * float64(late-early) / float64(early)
	t.Logf("figure: %d reloads in %v, %d of them refused; %d answers, 0 failed, 0 of two configurations", reloads, life, refused, answers)
	t.Logf("figure: before %v; after %v; mean RSS %+.1f %% from the first half to the second", before, after, growth)
	if after.descriptors > before.descriptors+5 || after.goroutines > before.goroutines+10 {
		t.Errorf("before %v, after %v", before, after)
	}
	if limit := map[bool]float64{true: 5, false: 25}[life > time.Minute]; growth > limit { // a short run is not past its warm-up
		t.Errorf("RSS grew by %.1f %%", growth)
	}
	p.signal(syscall.SIGTERM)
	if status := p.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.outcomes()
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
