package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// process is a gateway in a process of its own, of the binary that users run.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	config string
	data   string
	api    *client // of an account with credits without end
	admin  *client
	stderr bytes.Buffer
	ended  chan error // what Wait returned
}

// startProcess starts a gateway and returns when it takes requests. The test kills it at its end if it still runs.
func startProcess(t *testing.T, toml string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{t: t, config: filepath.Join(dir, "pointsman.toml"), data: filepath.Join(dir, "data"), ended: make(chan error, 1)}
	binary := buildGateway(t, dir)
	p.write([]byte(toml))
	p.cmd = exec.Command(binary, "serve", "--config", p.config, "--data", p.data, "--log", "error")
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "POINTSMAN_MASTER_KEY=" + killMaster}
	p.cmd.Stderr = &p.stderr
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.cmd.Process.Kill() //nolint:errcheck // it ended already
		if t.Failed() {
			t.Logf("the gateway logged:\n%s", p.stderr.Bytes()[max(0, p.stderr.Len()-4000):])
		}
	})
	limit := time.AfterFunc(time.Minute, func() { p.cmd.Process.Kill() })
	defer limit.Stop()
	lines := bufio.NewReader(out)
	for p.admin == nil {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the gateway did not come up: %v", err)
		}
		switch found := bannerAddress.FindStringSubmatch(line); {
		case found == nil:
		case found[1] == "api":
			p.api = newClient(found[2], "")
		default:
			p.admin = newClient(found[2], killMaster)
		}
	}
	go func() {
		io.Copy(io.Discard, lines) //nolint:errcheck // until it ends
		p.ended <- p.cmd.Wait()
	}()
	var key keyEntry
	p.call("accounts", map[string]string{"id": "rich"}, nil)
	p.call("accounts/rich/credits", map[string]string{"amount": "1000000", "reference": "1", "kind": "bonus"}, nil)
	p.call("keys", map[string]string{"account": "rich"}, &key)
	p.api.key = key.Key
	return p
}

func (p *process) call(path string, body, result any) {
	p.t.Helper()
	if err := p.admin.call("POST", "/api/v1/admin/"+path, body, result); err != nil {
		p.t.Fatal(err)
	}
}

// write replaces the configuration as one should, by renaming.
func (p *process) write(text []byte) {
	p.t.Helper()
	if err := os.WriteFile(p.config+".new", text, 0o600); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Rename(p.config+".new", p.config); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the process to end and returns its exit status, -1 for one that a signal ended.
func (p *process) wait(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		p.t.Fatalf("the gateway still runs after %v", limit)
		return 0
	}
}

// memoryOf is a figure of a process's memory in bytes, such as VmRSS, or VmHWM for the highest that was.
func memoryOf(t testing.TB, pid int, figure string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), figure+":")
	value, _, found := strings.Cut(after, " kB\n")
	kib, err := strconv.Atoi(strings.TrimSpace(value))
	if !found || err != nil {
		t.Fatalf("no %s in %s", figure, text)
	}
	return kib << 10
}

// processUsage is what a process holds that it could leak.
type processUsage struct {
	rss, anon   int // bytes; anon are those that are no pages of files
	goroutines  int
	descriptors int // without the files of the databases, which grow in number with what is written
}

func (p *process) usage() (u processUsage) {
	p.t.Helper()
	u.rss, u.anon = memoryOf(p.t, p.cmd.Process.Pid, "VmRSS"), memoryOf(p.t, p.cmd.Process.Pid, "RssAnon")
	dir := fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, file := range files {
		if target, err := os.Readlink(filepath.Join(dir, file.Name())); err == nil && !strings.HasPrefix(target, p.data+"/") {
			u.descriptors++
		}
	}
	_, text := p.admin.send(p.t, "GET", "/metrics", nil)
	_, rest, found := strings.Cut(text, "\ngo_goroutines ")
	line, _, _ := strings.Cut(rest, "\n")
	if u.goroutines, err = strconv.Atoi(line); !found || err != nil {
		p.t.Fatalf("no goroutines in the metrics: %v", err)
	}
	return u
}

func (u processUsage) String() string {
	return fmt.Sprintf("RSS %.1f MiB (%.1f without files), %d goroutines, %d descriptors", float64(u.rss)/(1<<20), float64(u.anon)/(1<<20), u.goroutines, u.descriptors)
}

// outcomes proves the ledger of a process that has ended, in which no hold may be open, and counts the requests by how they ended.
func (p *process) outcomes() map[string]int {
	p.t.Helper()
	if err := badgerdb.Verify(p.data, io.Discard); err != nil {
		p.t.Errorf("ledger: %v", err)
	}
	s, err := badgerdb.Open(badgerdb.Config{Dir: p.data})
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	if n := len(s.Interrupted()); n > 0 {
		p.t.Errorf("%d holds were open after the gateway had stopped", n)
	}
	entries, err := s.Entries("rich", 0, 1<<30)
	if err != nil {
		p.t.Fatal(err)
	}
	holds, outcomes := map[storage.RequestID]int{}, map[string]int{}
	for i := range entries {
		switch e := &entries[i]; {
		case e.Kind == storage.EntryGrant:
		case e.Ends():
			holds[e.Request]--
			outcomes[e.Reason]++
		default:
			holds[e.Request]++
		}
	}
	for id, n := range holds {
		if n != 0 {
			p.t.Errorf("request %s: %d holds more than ends", id, n)
		}
	}
	return outcomes
}

// logged counts the requests in the usage log of a process that has ended, and those that were charged.
func (p *process) logged() (outcomes map[storage.Outcome]int, charged int) {
	p.t.Helper()
	l, err := badgerdb.OpenLog(badgerdb.Config{Dir: p.data})
	if err != nil {
		p.t.Fatal(err)
	}
	defer l.Close()
	outcomes = map[storage.Outcome]int{}
	for cursor := ""; ; {
		page, next, err := l.Usage("rich", cursor, 1000)
		if err != nil {
			p.t.Fatal(err)
		}
		for i := range page {
			if outcomes[page[i].Outcome]++; page[i].Credits > 0 {
				charged++
			}
		}
		if cursor = next; cursor == "" {
			return outcomes, charged
		}
	}
}
