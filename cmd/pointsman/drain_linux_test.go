package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

// drained is a gateway with streams that run until they are told to end, or for ever.
type drained struct {
	*process
	finish chan struct{}

	mu   sync.Mutex
	ends map[string]int // how streams ended, as their clients saw it
}

// startDrained starts a gateway whose limit is so many seconds. The provider begins every stream at once; that of model "short" ends
// when finish is closed, that of "long" never does.
func startDrained(t *testing.T, limit int, more string) *drained {
	t.Helper()
	up, toml := upstreams(t, 1)
	d := &drained{finish: make(chan struct{}), ends: map[string]int{}}
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		if len(reply.Chunks) > 2 {
			reply.Chunks = append([][]byte{bytes.Join(reply.Chunks[:2], nil)}, reply.Chunks[2:]...) // content at once
		}
		reply.Interval = time.Hour
		if r.Model == "gpt-short" {
			reply.Release = d.finish
		}
		return reply
	})
	provider, _, _ := strings.Cut(toml, "[[models]]")
	provider = strings.ReplaceAll(provider, "timeout_seconds = 2", "timeouts = { idle = 600 }")
	for _, name := range []string{"short", "long"} {
		provider += fmt.Sprintf("[[models]]\nname = %q\ntier = 1\ncredits_per_1k = 0.002\ncontext_window = 128000\n"+
			"deployments = [{ provider = \"up0\", upstream = \"gpt-%s\", usd_in_per_1m = 1.0, usd_out_per_1m = 2.0 }]\n", name, name)
	}
	d.process = startProcess(t, fmt.Sprintf("[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndrain_limit = %d\n", limit)+provider+more)
	return d
}

// streams opens n streams, in three dialects and of both models, and returns when each has begun. wait waits for their ends.
func (d *drained) streams(n int) (wait func()) {
	d.t.Helper()
	var begun, over sync.WaitGroup
	c := newClient(d.api.base, d.api.key)
	c.http.Timeout = 0
	c.http.Transport = &http.Transport{}
	begun.Add(n)
	for i := range n {
		over.Go(func() {
			how := d.stream(c, []string{"chat", "messages", "responses"}[i%3], []string{"short", "long"}[i%2], begun.Done)
			d.mu.Lock()
			d.ends[how]++
			d.mu.Unlock()
		})
	}
	begun.Wait()
	return over.Wait
}

// stream reads one stream to its end and tells how it ended.
func (d *drained) stream(c *client, dialect, model string, begun func()) string {
	once := sync.OnceFunc(begun)
	defer once()
	path, body := chatPath, ask(model, "stream", true)
	switch dialect {
	case "messages":
		path = "/v1/messages"
	case "responses":
		path, body = "/v1/responses", map[string]any{"model": model, "input": "Hello", "stream": true}
	}
	resp, err := c.do("POST", path, body)
	if err != nil {
		return "failed: " + err.Error()
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Sprint("status ", resp.StatusCode)
	}
	var text strings.Builder
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if strings.HasPrefix(line, "data:") {
			once()
		}
		if err == nil {
			continue
		}
		return model + " " + howEnded(dialect, text.String(), errors.Is(err, io.EOF))
	}
}

// howEnded tells whether a stream ended well, with an error event of a gateway that stops, or neither.
func howEnded(dialect, text string, cleanly bool) string {
	last := strings.TrimSpace(text[strings.LastIndex(strings.TrimSpace(text), "\n\n")+1:])
	good := map[string]string{"chat": "data: [DONE]", "messages": "event: message_stop", "responses": "event: response.completed"}[dialect]
	cut := map[string]string{"chat": `data: {"error":{`, "messages": "event: error\n", "responses": "event: error\n"}[dialect]
	switch {
	case cleanly && strings.HasPrefix(last, good):
		return "whole"
	case !cleanly && strings.HasPrefix(last, cut) && strings.Contains(last, "the gateway is shutting down"):
		return "cut"
	}
	return fmt.Sprintf("%s: neither whole nor cut: %q", dialect, last)
}

// unready asks whether the gateway is ready until it says no, and returns how long after began that was.
func (d *drained) unready(began time.Time) time.Duration {
	d.t.Helper()
	c := newClient(d.api.base, "")
	c.http.Transport = &http.Transport{DisableKeepAlives: true}
	for time.Since(began) < 30*time.Second {
		resp, body := c.send(d.t, "GET", "/health/ready", nil)
		if resp.StatusCode == 503 && strings.Contains(body, `"draining"`) {
			return time.Since(began)
		}
	}
	d.t.Fatal("the gateway is ready all the time")
	return 0
}

// TestF33DrainOf500Streams tells a gateway with 500 live streams to stop. It is not ready from then on and refuses what begins; half of
// the streams end within the limit, the others are cut with an error in their dialect, all are settled, and the gateway exits
// with 0.
func TestF33DrainOf500Streams(t *testing.T) {
	const streams, limit = 500, 5 * time.Second
	d := startDrained(t, int(limit.Seconds()), "")
	wait := d.streams(streams)
	began := time.Now()
	d.signal(syscall.SIGTERM)
	unready := d.unready(began)
	resp, body := d.api.post(t, chatPath, ask("short"))
	if resp.StatusCode != 503 || !strings.Contains(body, `"draining"`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new request: %d %s", resp.StatusCode, body)
	}
	d.signal(syscall.SIGHUP) // means nothing any more
	close(d.finish)
	status := d.wait(limit + time.Minute)
	took := time.Since(began)
	wait()
	if status != 0 {
		t.Errorf("exit status %d", status)
	}
	if took > limit+2*time.Second || took < limit {
		t.Errorf("the gateway stopped after %v", took)
	}
	if d.ends["short whole"] != streams/2 || d.ends["long cut"] != streams/2 {
		t.Errorf("streams: %v", d.ends)
	}
	outcomes := d.outcomes()
	if outcomes[string(storage.OutcomeOK)] != streams/2 || outcomes[string(storage.OutcomeInterrupted)] != streams/2 {
		t.Errorf("the ledger has %v", outcomes)
	}
	usage, charged := d.logged()
	if usage[storage.OutcomeOK] != streams/2 || usage[storage.OutcomeInterrupted] != streams/2 || charged != streams {
		t.Errorf("the usage log has %v, %d charged", usage, charged)
	}
	t.Logf("figure: not ready %v after SIGTERM; of %d streams %d ended well, %d were cut with an error event; exit status %d after %v, limit %v",
		unready.Round(time.Millisecond), streams, d.ends["short whole"], d.ends["long cut"], status, took.Round(time.Millisecond), limit)
	t.Logf("figure: ledger proven, no hold open, ends %v; usage log %v, %d of them charged", outcomes, usage, charged)
}

// TestF33SecondSignal ends a gateway at once that has a minute left for its streams.
func TestF33SecondSignal(t *testing.T) {
	d := startDrained(t, 60, "")
	wait := d.streams(6)
	d.signal(syscall.SIGTERM)
	d.unready(time.Now())
	began := time.Now()
	d.signal(syscall.SIGTERM)
	status := d.wait(time.Minute)
	took := time.Since(began)
	wait()
	if status != -1 || took > 10*time.Second {
		t.Errorf("exit status %d after %v", status, took)
	}
	t.Logf("figure: a second SIGTERM ended the gateway after %v, with 60 s left", took.Round(time.Millisecond))
}

// TestF33DrainOfFollowers drains streams of which most follow another one: each ends as one of its own would.
func TestF33DrainOfFollowers(t *testing.T) {
	const streams = 60
	d := startDrained(t, 3, coalesceOn)
	wait := d.streams(streams)
	if n := metric(t, d.admin, "pointsman_cache_following"); n != streams-6 {
		t.Errorf("%v follow", n)
	}
	began := time.Now()
	d.signal(syscall.SIGTERM)
	d.unready(began)
	close(d.finish)
	if status := d.wait(time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	wait()
	if d.ends["short whole"] != streams/2 || d.ends["long cut"] != streams/2 {
		t.Errorf("streams: %v", d.ends)
	}
	usage, _ := d.logged()
	if usage[storage.OutcomeOK] != streams/2 || usage[storage.OutcomeInterrupted] != streams/2 {
		t.Errorf("the usage log has %v", usage)
	}
}
