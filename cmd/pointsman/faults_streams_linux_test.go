package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
	"github.com/pointsman/pointsman/storage/badgerdb"
)

// residentKiB is the memory of processes, without what they share with others.
func residentKiB(t *testing.T, pids []int) (sum int) {
	t.Helper()
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(text), "VmRSS:")
		n, err := strconv.Atoi(strings.Fields(after)[0])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// TestF6Stalls stalls many streams at once after their first content. Each ends with an error event at the idle limit, is charged for
// what came, and takes little memory of the gateway's processes meanwhile.
func TestF6Stalls(t *testing.T) {
	streams, idle := times(200, 1000), 5*time.Second
	k := newKilling(t)
	up, toml := upstreams(t, 1)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		chunks := r.Default().Chunks
		return &scripted.Reply{Chunks: [][]byte{append(append([]byte{}, chunks[0]...), chunks[1]...), chunks[2]}, Interval: time.Hour}
	})
	toml = "[server]\nlisten = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n[accounts]\ndefault_credits = 0.01\n" +
		strings.Replace(toml, "timeout_seconds = 2", "timeouts = { idle = "+fmt.Sprint(idle.Seconds())+" }", 1)
	if err := os.WriteFile(k.config, []byte(toml), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run()
	// begin opens a stream and returns when its content is there.
	begin := func() (*bufio.Reader, net.Conn) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(k.api, "http://"))
		if err != nil {
			t.Error(err)
			return nil, nil
		}
		body := inDialect(chatPath, "m", "x", true)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", chatPath, k.keys["rich"], len(body), body)
		r := bufio.NewReaderSize(conn, 512)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Errorf("before the content: %v", err)
				return nil, conn
			}
			if strings.Contains(line, `"content":"Hello"`) {
				return r, conn
			}
		}
	}
	_, warm := begin() // what is made once is there
	if warm != nil {
		defer warm.Close()
	}
	before := residentKiB(t, k.processes())
	var began, ended sync.WaitGroup
	took := make([]time.Duration, streams)
	for i := range streams {
		began.Add(1)
		ended.Go(func() {
			r, conn := begin()
			began.Done()
			if r == nil {
				return
			}
			defer conn.Close()
			stalled := time.Now()
			rest, _ := io.ReadAll(r)
			took[i] = time.Since(stalled)
			if text := string(rest); !strings.Contains(text, "provider_stream_error") || strings.Contains(text, "[DONE]") || strings.HasSuffix(text, "0\r\n\r\n") {
				t.Errorf("the stream ended with %q", text)
			}
		})
		if i%50 == 49 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	began.Wait()
	each := (residentKiB(t, k.processes()) - before) / streams
	ended.Wait()
	if t.Failed() {
		return
	}
	early, late := idle-quantile(took, 0), quantile(took, 1)-idle
	if early > time.Second || late > time.Second && allFaults() {
		t.Errorf("streams ended from %v before to %v after the limit", early, late)
	}
	if each > 64 {
		t.Errorf("a stalled stream takes %d KiB", each)
	}
	k.checkRestart(0) // nothing is held
	if err := k.gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := k.gateway.Wait(); err != nil {
		t.Errorf("stopping the gateway: %v", err)
	}
	k.verify()
	s, err := badgerdb.Open(badgerdb.Config{Dir: k.data})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	requests := map[storage.RequestID]*ledgerRequest{}
	k.collect(s, "rich", requests)
	for id, r := range requests {
		if r.holds != 1 || r.ends != 1 {
			t.Errorf("request %s has %d holds and %d ends", id, r.holds, r.ends)
		}
	}
	figure(t, "%d streams stalled at once: ended with an error event %v to %v after the idle limit of %v, %d KiB of memory each", streams,
		(-early).Round(time.Millisecond), late.Round(time.Millisecond), idle, each)
}

// TestF13Leaves lets clients leave at twenty points of a request: while they send it, while they wait, and after so many bytes of
// the answer. Each request that was accepted ends once, and is charged for what the provider has sent.
func TestF13Leaves(t *testing.T) {
	up, _, toml := faulty(t, 1)
	g := newGateway(t, strings.ReplaceAll(toml, "timeout_seconds = 2", "timeout_seconds = 30"), nil)
	var cut atomic.Int64
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.HoldBeforeFirst, reply.Interval = 2*time.Millisecond, 2*time.Millisecond, 2*time.Millisecond
		go func() {
			<-r.Gone()
			cut.Add(1)
		}()
		return reply
	})
	// each leaves after so much of the request, or of the answer, or of the time.
	type phase struct {
		name    string
		send    float64       // share of the request
		read    int           // bytes of the answer
		wait    time.Duration // instead
		streams bool
	}
	var phases []phase
	for _, share := range []float64{0, 0.2, 0.5, 0.9, 0.999} {
		phases = append(phases, phase{name: fmt.Sprintf("%g of the request", share), send: share})
	}
	for _, wait := range []time.Duration{0, time.Millisecond, 3 * time.Millisecond, 6 * time.Millisecond} {
		phases = append(phases, phase{name: wait.String(), send: 1, wait: wait}, phase{name: wait.String() + " of a stream", send: 1, wait: wait, streams: true})
	}
	for _, read := range []int{1, 100, 700, 1000, 1500, 2000, 1 << 20} {
		phases = append(phases, phase{name: fmt.Sprintf("%d bytes of a stream", read), send: 1, read: read, streams: true})
	}
	address := strings.TrimPrefix(g.api.base, "http://")
	leave := func(p phase, n int) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		path := []string{chatPath, messagesPath, "/v1/responses"}[n%3]
		body := inDialect(path, "m", "x", p.streams)
		request := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, g.firstKey, len(body), body)
		io.WriteString(conn, request[:int(p.send*float64(len(request)))]) //nolint:errcheck // it is about to leave
		if p.read > 0 {
			conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // a whole stream keeps its connection
			r := bufio.NewReader(conn)
			if resp, err := http.ReadResponse(r, nil); err == nil {
				io.CopyN(io.Discard, resp.Body, int64(p.read)) //nolint:errcheck // as much as there is
			}
		} else {
			time.Sleep(p.wait)
		}
		if n%2 == 0 {
			conn.(*net.TCPConn).SetLinger(0) //nolint:errcheck // closing then resets
		}
	}
	each := times(6, 500)
	var clients sync.WaitGroup
	places := make(chan struct{}, 24)
	n := 0
	for ; n < each || cut.Load() == 0 && n < 20*each; n++ { // who leaves is looked for once in a while, which falls between answers this short
		kind := n
		for _, i := range rand.Perm(len(phases)) {
			places <- struct{}{}
			clients.Go(func() {
				defer func() { <-places }()
				leave(phases[i], kind)
			})
		}
	}
	clients.Wait()
	outcomes := map[storage.Outcome]int{}
	for _, u := range g.sound() {
		outcomes[u.Outcome]++
		if u.Outcome == storage.OutcomeOK && u.Credits == 0 {
			t.Errorf("an answer was free: %+v", u)
		}
	}
	for outcome := range outcomes {
		if outcome != storage.OutcomeOK && outcome != storage.OutcomeClientAbort {
			t.Errorf("%d requests ended as %s", outcomes[outcome], outcome)
		}
	}
	if outcomes[storage.OutcomeClientAbort] == 0 || outcomes[storage.OutcomeOK] == 0 || cut.Load() == 0 {
		t.Errorf("the clients did not find every state: %v, %d calls cut", outcomes, cut.Load())
	}
	figure(t, "%d clients left at %d points: each accepted request has one end and one record, %v; %d calls of the provider were cut", n*len(phases), len(phases), outcomes, cut.Load())
}
