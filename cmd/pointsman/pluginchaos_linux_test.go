package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/plugins"
)

const (
	targetReady  = time.Second            // from a kill until the next process runs
	freshFor     = 4                      // kills of a plugin of the same settings: each doubles the pause before the next start, the last to 200 ms
	longEnough   = 1000                   // words of an answer, so that kills meet streams
	servedFirst  = 400                    // answers of a process before it is killed
	afterRefusal = 100 * time.Millisecond // a client's pause
)

// killedPlugin is a gateway with a plugin that is killed while clients use it: model "m-bird" is the plugin's alone, "m-both" has
// another provider too.
type killedPlugin struct {
	*testGateway
	t       *testing.T
	entries map[string]plugins.Plugin
	epoch   atomic.Int64 // odd: the plugin was killed and no client was served by it since
	served  atomic.Int64 // answers of m-bird
	cut     atomic.Int64 // streams that ended with an error event
	refused atomic.Int64 // requests for m-bird, while it was away
	moved   atomic.Int64 // requests for m-both that the other provider answered
	mu      sync.Mutex
	ids     []string
}

func newKilledPlugin(t *testing.T) *killedPlugin {
	program := buildExample(t)
	sum, err := fileSum(program)
	if err != nil {
		t.Fatal(err)
	}
	up, err := scripted.Start(scripted.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	g := newGateway(t, fmt.Sprintf(`
[catalog]
builtin = false
[providers.bird]
adapter = "parrot"
[providers.other]
adapter = "openai"
base_url = %q
api_key = "sk-other"
allow_private = true
[plugins.example]
path = %q
sha256 = %q
adapters = ["parrot"]
`, up.URL()+"/v1", program, sum)+pluginModel("bird")+`
[[models]]
name = "m-both"
tier = 1
credits_per_1k = 0.002
context_window = 128000
  [[models.deployments]]
  provider = "bird"
  upstream = "m"
  usd_in_per_1m = 1
  usd_out_per_1m = 2
  [[models.deployments]]
  provider = "other"
  upstream = "m"
  usd_in_per_1m = 1
  usd_out_per_1m = 2
`, nil)
	return &killedPlugin{testGateway: g, t: t, entries: pluginEntries(g.cfg)}
}

// client asks until stop is closed. Whatever is killed, each request is answered; while nothing is, well.
func (k *killedPlugin) client(n int, stop <-chan struct{}) {
	text := strings.Repeat("word ", longEnough)
	for ; ; n++ {
		select {
		case <-stop:
			return
		default:
		}
		model, stream := []string{"m-bird", "m-both"}[n%2], n%4 < 2
		before := k.epoch.Load()
		resp, err := k.api.do("POST", chatPath, map[string]any{"model": model, "stream": stream, "messages": user(text)})
		if err != nil {
			k.t.Errorf("no answer: %v", err)
			return
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		good := resp.StatusCode == http.StatusOK && (!stream || strings.HasSuffix(string(answer), "data: [DONE]\n\n"))
		broken := resp.StatusCode == http.StatusOK && !good && strings.Contains(string(answer), `data: {"error":`)
		if resp.StatusCode == http.StatusOK {
			k.mu.Lock()
			k.ids = append(k.ids, resp.Header.Get("X-Request-Id"))
			k.mu.Unlock()
		}
		killed := k.epoch.Load() != before || before%2 == 1
		switch {
		case err != nil && !broken: // a stream that broke off has no clean end
			k.t.Errorf("%s: half an answer: %v after %.300q", model, err, answer)
		case good && resp.Header.Get("X-Pointsman-Provider") == "other":
			k.moved.Add(1)
		case good:
			k.served.Add(1)
		case broken && killed:
			k.cut.Add(1)
		case killed && model == "m-bird" && (resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusServiceUnavailable):
			k.refused.Add(1)
			time.Sleep(afterRefusal)
		default:
			k.t.Errorf("%s, killed meanwhile %v: %d %.300s", model, killed, resp.StatusCode, answer)
		}
	}
}

// load lets clients ask until the function that it returns is called.
func (k *killedPlugin) load(clients int) (end func()) {
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for n := range clients {
		asking.Go(func() { k.client(n, stop) })
	}
	return sync.OnceFunc(func() {
		close(stop)
		asking.Wait()
		k.api.http.CloseIdleConnections()
	})
}

// within waits until something is done, and tells how long that took.
func (k *killedPlugin) within(what string, done func() bool) time.Duration {
	k.t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if done() {
			return time.Since(began)
		}
		if time.Since(began) > time.Minute {
			k.t.Fatalf("%s: not within a minute: %+v", what, k.plugins.Status()[1])
		}
	}
}

// works waits until the plugin has answered clients for a while.
func (k *killedPlugin) works() {
	k.t.Helper()
	want := k.served.Load() + int64(times(20, servedFirst))
	k.within("answers of the plugin", func() bool { return k.served.Load() >= want })
}

// kill ends the process that serves and returns after how long the next one runs, and after how long a client is served by it again.
func (k *killedPlugin) kill() (ready, served time.Duration) {
	k.t.Helper()
	before := k.plugins.Status()[1]
	k.epoch.Add(1)
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil || before.State != plugins.StateRunning {
		k.t.Fatalf("killing %+v: %v", before, err)
	}
	ready = k.within("another process", func() bool {
		now := k.plugins.Status()[1]
		return now.State == plugins.StateRunning && now.PID != before.PID
	})
	if now := k.plugins.Status()[1]; now.Restarts != before.Restarts+1 {
		k.t.Fatalf("one kill of %+v led to %+v", before, now)
	}
	served = ready + k.within("a client that is served", func() bool {
		resp, text := k.api.post(k.t, chatPath, chatBody("m-bird", false))
		if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadGateway && resp.StatusCode != http.StatusServiceUnavailable {
			k.t.Fatalf("%d %s", resp.StatusCode, text)
		}
		return resp.StatusCode == http.StatusOK
	})
	k.epoch.Add(1)
	k.works()
	return ready, served
}

// renew gives the plugin other settings, as an operator does: the process that is started for them is that of a plugin which never failed.
func (k *killedPlugin) renew(n int) {
	k.t.Helper()
	entry := k.entries["example"]
	entry.Env = []string{fmt.Sprintf("NUMBER_%d", n)}
	k.entries["example"] = entry
	if err := k.plugins.Reload(context.Background(), k.entries); err != nil {
		k.t.Fatal(err)
	}
}

// holding is what the process holds on to, besides memory: goroutines, and open descriptors of anything but the gateway's data, of which there
// is more with each request.
func (k *killedPlugin) holding() (goroutines int, descriptors []string) {
	k.t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(target, k.dataDir) { // else it is closed by now
			descriptors = append(descriptors, target)
		}
	}
	return runtime.NumGoroutine(), descriptors
}

// TestF14KilledPlugin kills a proxied provider's plugin again and again under traffic, each time after it has served for a while: all
// requests are answered, or refused while it is away; each that was accepted is settled once; and nothing is left of any process.
func TestF14KilledPlugin(t *testing.T) {
	kills, clients := times(1, 100), times(2, 6)
	if !allFaults() {
		t.Parallel() // then it does not look at what the process holds
	}
	k := newKilledPlugin(t)
	end := k.load(clients)
	k.works()
	if allFaults() {
		k.kill() // so that the other provider has been asked, too
		end()
		time.Sleep(time.Second) // until the gateway has seen its clients leave
	}
	end()
	goroutines, descriptors := k.holding()
	end = k.load(clients)
	defer end()
	var ready, served []time.Duration
	for n := range kills {
		if n > 0 && n%freshFor == 0 {
			k.renew(n)
		}
		r, s := k.kill()
		ready, served = append(ready, r), append(served, s)
		if t.Failed() {
			break
		}
	}
	end()
	slowest := quantile(ready, 1)
	figure(t, "%d kills of a plugin at work: the next process runs after %v, at most %v, and serves a client after %v, at most %v", len(ready),
		quantile(ready, 0.5).Round(time.Millisecond), slowest.Round(time.Millisecond),
		quantile(served, 0.5).Round(time.Millisecond), quantile(served, 1).Round(time.Millisecond))
	figure(t, "%d requests answered by it, %d by another provider, %d refused while it was away, %d streams cut with an error event", k.served.Load(),
		k.moved.Load(), k.refused.Load(), k.cut.Load())
	if len(ready) != kills || slowest > targetReady && allFaults() {
		t.Errorf("%d kills of %d, ready after %v at most, target %v", len(ready), kills, slowest, targetReady)
	}
	if k.served.Load() < 2*k.refused.Load() && allFaults() {
		t.Errorf("%d requests were answered, and %d refused", k.served.Load(), k.refused.Load())
	}
	k.sound(k.ids...)
	if !allFaults() {
		return
	}
	aside := 2 * clients // each may find the other provider busy with another, and both ends of its connection are here
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		g, d := k.holding()
		if more := g > goroutines+aside || len(d) > len(descriptors)+aside; more && time.Now().Before(deadline) {
			continue
		} else if more {
			t.Errorf("goroutines %d before, %d after; descriptors before %q, after %q", goroutines, g, descriptors, d)
		}
		figure(t, "goroutines %d before and %d after, descriptors %d and %d", goroutines, g, len(descriptors), len(d))
		return
	}
}
