package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine"
	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// child is a gateway in a process of its own, so that its limits and figures are its own.
type child struct {
	t          *testing.T
	cmd        *exec.Cmd
	stderr     bytes.Buffer
	data       string
	api, admin *client // with a key of the account "default", and the master key
}

const childMaster = "sk-pointsman-of-a-child-process"

// startChild starts a gateway from TOML text, under a limit of the shell's ulimit unless it is empty, and with more environment.
func startChild(t *testing.T, toml, limit string, env ...string) *child {
	t.Helper()
	dir := t.TempDir()
	binary, file := buildGateway(t, dir), filepath.Join(dir, "pointsman.toml")
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n" + toml
	if err := os.WriteFile(file, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, data: filepath.Join(dir, "data")}
	if limit != "" {
		limit = "ulimit " + limit + "; "
	}
	c.cmd = exec.Command("sh", "-c", limit+`exec "$0" "$@"`, binary, "serve", "--config", file, "--data", c.data, "--log", "warn")
	c.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "POINTSMAN_MASTER_KEY=" + childMaster, "POINTSMAN_ALLOW_DUMPS=true"}, env...)
	c.cmd.Stderr = &c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the kernel sends that signal when the thread ends that started the process
	t.Cleanup(runtime.UnlockOSThread)
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.cmd.Process.Kill() //nolint:errcheck // it may have ended
		c.cmd.Wait()         //nolint:errcheck // likewise
		if t.Failed() {
			t.Logf("the gateway logged:\n%s", c.stderr.Bytes()[max(0, c.stderr.Len()-4000):])
		}
	})
	kill := time.AfterFunc(30*time.Second, func() { c.cmd.Process.Kill() }) //nolint:errcheck // likewise
	defer kill.Stop()
	lines := bufio.NewReader(out)
	for c.admin == nil {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the gateway did not come up: %v\n%s", err, c.stderr.Bytes())
		}
		switch found := bannerAddress.FindStringSubmatch(line); {
		case found == nil:
		case found[1] == "api":
			c.api = newClient(found[2], "")
		default:
			c.admin = newClient(found[2], childMaster)
		}
	}
	go io.Copy(io.Discard, lines) //nolint:errcheck // it ends with the process
	var key keyEntry
	if err := c.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "default"}, &key); err != nil {
		t.Fatal(err)
	}
	c.api.key = key.Key
	return c
}

// stop ends the gateway in order and proves its ledger.
func (c *child) stop() {
	c.t.Helper()
	c.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait tells
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("stopping the gateway: %v\n%s", err, c.stderr.Bytes())
	}
	if err := badgerdb.Verify(c.data, io.Discard); err != nil {
		c.t.Errorf("ledger: %v", err)
	}
}

// status is a figure of the process in KiB, such as VmRSS or VmHWM.
func (c *child) status(name string) int {
	c.t.Helper()
	return memoryOf(c.t, c.cmd.Process.Pid, name) >> 10
}

// processor is the time that the process has used.
func (c *child) processor() time.Duration {
	c.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		c.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond // clock ticks are a hundredth of a second on Linux
}

// ask sends one small request and tells its status, 0 for none.
func (c *child) ask(text string) int {
	resp, err := c.api.do("POST", chatPath, []byte(inDialect(chatPath, "m", text, false)))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status is what counts
	return resp.StatusCode
}

// dial opens connections and closes them with the test. Those that cannot be opened are nil.
func dialMany(t *testing.T, base string, n int) []net.Conn {
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i], _ = net.DialTimeout("tcp", strings.TrimPrefix(base, "http://"), 5*time.Second)
	}
	t.Cleanup(func() { closeAll(conns) })
	return conns
}

func closeAll(conns []net.Conn) {
	for _, conn := range conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// post writes a chat request onto a connection.
func post(conn net.Conn, key, body string) {
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", chatPath, key, len(body), body) //nolint:errcheck // what is read tells
}

// manyOr is the larger number if faults are to be tried in full. Each is so many descriptors of a process.
func manyOr(t *testing.T, few, many, each int) int {
	t.Helper()
	if !allFaults() {
		return few
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < uint64(each*many)+1000 {
		t.Fatalf("a process may have %d descriptors, %v: this takes %d", limit.Cur, err, each*many+1000)
	}
	return many
}

// probe sends small requests one after the other and returns how long each took, and how many had no answer.
func (c *child) probe(n int) (took []time.Duration, failed int) {
	for range n {
		began := time.Now()
		if c.ask("probe") != 200 {
			failed++
		}
		took = append(took, time.Since(began))
	}
	return took, failed
}

// unnoticed fails a test whose fault others notice: beside it their requests take twice as long as before, at p99. On a machine with
// other work small differences say nothing.
func unnoticed(t *testing.T, before, beside []time.Duration) {
	t.Helper()
	then, now := quantile(before, 0.99), quantile(beside, 0.99)
	figure(t, "others: p50 %s, p99 %s beside it; %s, %s without", quantile(beside, 0.5).Round(10*time.Microsecond), now.Round(10*time.Microsecond),
		quantile(before, 0.5).Round(10*time.Microsecond), then.Round(10*time.Microsecond))
	limit := max(2*then, 10*time.Millisecond)
	if !allFaults() {
		limit = 10*then + 100*time.Millisecond
	}
	if now > limit {
		t.Errorf("p99 went from %s to %s", then, now)
	}
}

// slowReaders opens connections with little room for an answer, and asks for a stream on each.
func (c *child) slowReaders(n int) []net.Conn {
	c.t.Helper()
	conns := make([]net.Conn, n)
	c.t.Cleanup(func() { closeAll(conns) })
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }) //nolint:errcheck // a larger one will do
	}}
	var all sync.WaitGroup
	for first := range 16 {
		all.Go(func() {
			for i := first; i < n; i += 16 {
				conn, err := dialer.Dial("tcp", strings.TrimPrefix(c.api.base, "http://"))
				if err != nil {
					c.t.Error(err)
					return
				}
				conns[i] = conn
				post(conn, c.api.key, inDialect(chatPath, "m", "x", true))
			}
		})
	}
	all.Wait()
	return conns
}

// F10: clients that hardly read are cut, their requests settled, and others do not notice. What waits for them is bounded.
func TestF10SlowReaders(t *testing.T) {
	readers := manyOr(t, 500, 2000, 2) // the providers are in this process, too
	patience := time.Duration(times(8, 20)) * time.Second
	up, toml := upstreams(t, 1)
	var text []string
	for range 6000 {
		text = append(text, "some words ") // 200 bytes a chunk, more than a megabyte in all
	}
	chunks := scripted.OpenAIChunks("x", text, scripted.UsageFinal)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		if r.Stream {
			return &scripted.Reply{Chunks: chunks}
		}
		return nil
	})
	c := startChild(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+fmt.Sprintf("[overload]\nwrite_time = %v\n", patience.Seconds()), "")
	base, failed := c.probe(times(50, 300))
	before := c.status("RssAnon") // buffers are no pages of files
	began := time.Now()
	conns := c.slowReaders(readers)
	var beside []time.Duration
	most, waiting, highest, held := 0, 0, 0, ""
	for one := make([]byte, 1); time.Since(began) < patience+60*time.Second; {
		for _, conn := range conns {
			conn.SetReadDeadline(time.Now().Add(time.Microsecond)) //nolint:errcheck // the read tells
			conn.Read(one)                                         //nolint:errcheck // a byte now and then, if it is there
		}
		if most = max(most, int(metric(t, c.admin, "pointsman_requests_running"))); time.Since(began) < patience {
			waiting = max(waiting, c.status("RssAnon"))
		}
		took, lost := c.probe(10)
		beside, failed = append(beside, took...), failed+lost
		highest = max(highest, c.status("RssAnon"))
		if held = c.api.balanceHeld(t); held == "0" && time.Since(began) > time.Second {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	settled := time.Since(began)
	aborted := 0
	for range 200 { // the log is written a moment later
		aborted = 0
		for _, u := range c.api.allUsage(t) {
			if u["outcome"] == "client_abort" {
				aborted++
			}
		}
		if aborted == readers {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	each := float64(waiting-before) / float64(readers)
	figure(t, "%d slow readers at once, all cut and settled after %s (limit %s), %.0f KiB of memory each, %.0f while they are settled", most, settled.Round(100*time.Millisecond), patience, each,
		float64(highest-before)/float64(readers))
	unnoticed(t, base, beside)
	if most != readers {
		t.Errorf("only %d of %d readers were there at once", most, readers)
	}
	if held != "0" || aborted != readers {
		t.Errorf("%s credits are still held, and %d of %d are recorded as aborted", held, aborted, readers)
	}
	if failed > 0 {
		t.Errorf("%d requests of others had no answer", failed)
	}
	if each > float64(times(256, 64)) { // of an answer of a megabyte; what all share counts for more among few
		t.Errorf("%.0f KiB a reader", each)
	}
	closeAll(conns)
	c.stop()
}

// allUsage reads the caller's usage, page by page.
func (c *client) allUsage(t testing.TB) (all []map[string]any) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Data []map[string]any `json:"data"`
			Next string           `json:"next"`
		}
		if err := c.call("GET", "/api/v1/llm/usage?limit=1000&cursor="+cursor, nil, &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Data...)
		if cursor = page.Next; cursor == "" || len(page.Data) == 0 {
			return all
		}
	}
}

// F11: connections that send a request drop by drop are cut when their time is over; of those of one address only so many are
// waited for. Good clients are served.
func TestF11SlowSenders(t *testing.T) {
	drips := manyOr(t, 1000, 5000, 2) // client and server are one process
	_, toml := upstreams(t, 1)
	g := newGateway(t, toml+"[overload]\nslow_per_address = 100\n", nil)
	const readTime = 3 * time.Second
	server := engine.NewServer(g.engine.Handler(), 1<<20)
	server.ReadTimeout, server.Guard = readTime, g.guard
	good := newClient(serveOn(t, server.Serve), g.firstKey)

	var cut, over, open atomic.Int64
	var late atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for i := range drips {
		conn, err := net.Dial("tcp", strings.TrimPrefix(good.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		open.Add(1)
		all.Go(func() {
			defer conn.Close()
			dialled := time.Now()
			drop := "X-Slow: " + strings.Repeat("x", 1000)
			if fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\n", chatPath); i%2 == 0 {
				fmt.Fprintf(conn, "Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{", g.firstKey)
				drop = strings.Repeat(" ", 1000)
			}
			for n := range drop {
				conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)) //nolint:errcheck // the read tells
				answer, err := io.ReadAll(conn)
				if text := string(answer); len(text) > 0 || !os.IsTimeout(err) {
					switch {
					case strings.Contains(text, "HTTP/1.1 503") && strings.Contains(text, "Retry-After"):
						over.Add(1)
					default:
						cut.Add(1)
					}
					if time.Since(dialled) > readTime+10*time.Second {
						late.Add(1)
					}
					return
				}
				if _, err := conn.Write([]byte{drop[n]}); err != nil {
					cut.Add(1)
					return
				}
			}
		})
	}
	ok, bad := 0, 0
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	for running := true; running; {
		if resp, text := good.post(t, chatPath, ask("m")); resp.StatusCode == 200 {
			ok++
		} else {
			bad++
			t.Logf("a good client: %d %s", resp.StatusCode, text)
		}
		select {
		case <-ended:
			running = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	figure(t, "%d slow senders, all gone after %s (time to send: %s): %d cut, %d refused beyond 100 of an address", drips, time.Since(began).Round(100*time.Millisecond), readTime, cut.Load(), over.Load())
	figure(t, "a good client meanwhile: %d of %d served", ok, ok+bad)
	if bad > 0 || late.Load() > 0 || cut.Load()+over.Load() != int64(drips) || over.Load() == 0 {
		t.Errorf("%d good requests lost; %d slow ones cut, %d refused, %d of %d late", bad, cut.Load(), over.Load(), late.Load(), drips)
	}
	for range 100 {
		if g.guard.Stats().Connections < 10 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%d connections are left", g.guard.Stats().Connections)
}

// F12: thousands of connections that do nothing cost little, and nobody notices them.
func TestF12IdleConnections(t *testing.T) {
	n := manyOr(t, 2000, 10_000, 1)
	_, toml := upstreams(t, 1)
	c := startChild(t, toml, "")
	base, failed := c.probe(times(200, 500))
	before := c.status("VmRSS")
	conns := dialMany(t, c.api.base, n)
	get := []byte("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
	answer := make([]byte, 512)
	for i, conn := range conns {
		if conn == nil {
			t.Fatalf("connection %d was not accepted", i)
		}
		if i%2 == 0 { // half of them were of use once
			conn.Write(get) //nolint:errcheck // the read tells
			if _, err := conn.Read(answer); err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
		}
	}
	each := float64(c.status("VmRSS")-before) / float64(n)
	beside, lost := c.probe(times(200, 500))
	figure(t, "%d idle connections, %.1f KiB of memory each (goal: 10)", n, each)
	unnoticed(t, base, beside)
	if failed+lost > 0 {
		t.Errorf("%d requests had no answer", failed+lost)
	}
	if each > float64(times(20, 10)) { // what all share counts for more among few
		t.Errorf("%.1f KiB a connection", each)
	}
	closeAll(conns)
	c.stop()
}

// F34: with 256 descriptors, a thousand clients at once are served or refused, the operator and the ledger have theirs, nothing
// spins, and all is well as soon as they have gone.
func TestF34DescriptorsRunOut(t *testing.T) {
	up, toml := upstreams(t, 1)
	var hold atomic.Bool
	release := make(chan struct{})
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		if hold.Load() && bytes.Contains(r.Body, []byte("held")) {
			reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		}
		return reply
	})
	c := startChild(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1), "-n 256")
	hold.Store(true)
	body := inDialect(chatPath, "m", "held", false)
	for round := range 3 {
		var idle, busy []net.Conn
		for i, conn := range dialMany(t, c.api.base, 1000) {
			if conn == nil {
				continue
			}
			if i%2 == 0 && round > 0 { // half of them only sit there
				idle = append(idle, conn)
				continue
			}
			busy = append(busy, conn)
			post(conn, c.api.key, body)
		}
		time.Sleep(300 * time.Millisecond)
		used, began := c.processor(), time.Now()
		asked := 0
		for time.Since(began) < 2*time.Second { // the operator is served all the time
			if err := c.admin.call("GET", "/api/v1/admin/accounts", nil, nil); err != nil {
				t.Errorf("the admin API: %v", err)
			}
			asked++
			time.Sleep(50 * time.Millisecond)
		}
		share := float64(c.processor()-used) / float64(time.Since(began))
		if err := c.admin.call("POST", "/api/v1/admin/accounts", map[string]string{"id": fmt.Sprint("made-without-descriptors-", round)}, nil); err != nil {
			t.Errorf("a write to the ledger's database: %v", err)
		}
		left := time.Now()
		closeAll(idle)
		closeAll(busy)
		for c.ask("now") != 200 && time.Since(left) < 20*time.Second {
			c.api.http.CloseIdleConnections()
		}
		recovered := time.Since(left)
		figure(t, "256 descriptors, %d clients and %d that only connect: %.0f %% of a processor, %d of %d questions of the operator answered, served again after %s",
			len(busy), len(idle), 100*share, asked, asked, recovered.Round(time.Millisecond))
		if share > 0.20 {
			t.Errorf("it used %.0f %% of a processor", 100*share)
		}
		if recovered > time.Second {
			t.Errorf("it took %s until a request was served", recovered)
		}
	}
	shed := metric(t, c.admin, `pointsman_shed_total{reason="connections"}`)
	figure(t, "%.0f refusals or pauses for want of connections", shed)
	if shed == 0 {
		t.Error("nothing was refused: the test did not reach the limit")
	}
	close(release)
	c.stop()
}

// metric reads one figure of the metrics.
func metric(t testing.TB, admin *client, name string) float64 {
	t.Helper()
	_, text := admin.send(t, "GET", "/metrics", nil)
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// rushTime is how long memory is short: POINTSMAN_MINUTES, else a minute, or five seconds if faults are not to be tried in full.
func rushTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("POINTSMAN_MINUTES")
	if text == "" {
		return time.Duration(times(5, 60)) * time.Second
	}
	minutes, err := strconv.Atoi(text)
	if err != nil || minutes < 1 {
		t.Fatalf("POINTSMAN_MINUTES is %q, not a number from 1", text)
	}
	return time.Duration(minutes) * time.Minute
}

// F35: more large bodies than there is memory for are refused, those that fit are served, small requests go on, and the process
// stays within its limit.
func TestMemoryRunsOut(t *testing.T) {
	const limitMB, bodyMB = 256, 10
	const addressMB = 4 << 10 // half of it is mapped when nothing has come yet: databases, policies
	clients, rush := times(100, 500), rushTime(t)
	up, err := scripted.Start(scripted.Options{Keep: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	_, toml := upstreams(t, 1)
	first := strings.Index(toml, "base_url = \"")
	end := first + strings.Index(toml[first:], "\n")
	toml = toml[:first] + fmt.Sprintf("base_url = %q", up.URL()+"/v1") + toml[end:]
	toml = strings.Replace(strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1), "context_window = 128000", "context_window = 100000000", 1)
	c := startChild(t, toml+"[accounts]\ndefault_credits = 1000000\n", fmt.Sprintf("-v %d", addressMB<<10), fmt.Sprintf("GOMEMLIMIT=%dMiB", limitMB))
	body := []byte(inDialect(chatPath, "m", strings.Repeat("long ", bodyMB<<20/5), false))
	var all sync.WaitGroup
	var served, refused, broken, other atomic.Int64
	over := time.Now().Add(rush)
	for range clients {
		all.Go(func() {
			large := http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
			for time.Now().Before(over) {
				req, err := http.NewRequest("POST", c.api.base+chatPath, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+c.api.key)
				req.Header.Set("Content-Type", "application/json")
				resp, err := large.Do(req)
				if err != nil {
					if broken.Add(1) == 1 {
						t.Logf("the first that broke off: %v", err)
					}
					continue
				}
				text, _ := io.ReadAll(resp.Body) // the status and the code are what counts
				resp.Body.Close()
				switch {
				case resp.StatusCode == 200:
					served.Add(1)
				case resp.StatusCode == 503 && bytes.Contains(text, []byte(`"overloaded"`)) && resp.Header.Get("Retry-After") != "":
					refused.Add(1)
					time.Sleep(time.Second) // as it was told
				default:
					other.Add(1)
					t.Logf("%d %.200s", resp.StatusCode, text)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	good, lost := 0, 0
	for running := true; running; {
		if c.ask("small") == 200 {
			good++
		} else {
			lost++
		}
		select {
		case <-ended:
			running = false
		case <-time.After(5 * time.Millisecond):
		}
	}
	peak := c.status("VmHWM") >> 10
	sent := served.Load() + refused.Load() + broken.Load() + other.Load()
	figure(t, "GOMEMLIMIT %d MiB, RLIMIT_AS %d MiB, %d clients with %d bodies of %d MiB in %s: %d served, %d refused with 503, %d broken off, highest memory %d MiB, of %d MiB of addresses",
		limitMB, addressMB, clients, sent, bodyMB, rush, served.Load(), refused.Load(), broken.Load(), peak, c.status("VmPeak")>>10)
	figure(t, "small requests meanwhile: %d of %d served", good, good+lost)
	if refused.Load() == 0 || served.Load() == 0 || other.Load() > 0 {
		t.Errorf("%d large requests were served, %d refused, %d something else", served.Load(), refused.Load(), other.Load())
	}
	if broken.Load() > sent/20 {
		t.Errorf("%d of %d large requests got no answer at all", broken.Load(), sent)
	}
	if lost*100 > good+lost {
		t.Errorf("%d of %d small requests were not served", lost, good+lost)
	}
	if peak > limitMB*3/2 { // the code of the process is beside what Go's limit is about
		t.Errorf("the process had %d MiB", peak)
	}
	began := time.Now()
	for { // as soon as the rush is over, a large one is served again
		resp, err := c.api.do("POST", chatPath, body)
		if err == nil {
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // the status is what counts
			resp.Body.Close()
			if resp.StatusCode == 200 {
				break
			}
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal("no large request is served after the rush")
		}
		time.Sleep(100 * time.Millisecond)
	}
	figure(t, "a large request is served %s after the rush", time.Since(began).Round(time.Millisecond))
	c.stop()
}
