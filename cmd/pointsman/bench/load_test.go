package bench

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRequestsAreValid(t *testing.T) {
	for _, w := range workloads {
		var body struct {
			Stream   bool
			Messages []struct{ Role, Content string }
		}
		if err := json.Unmarshal([]byte(w.body(shape{})), &body); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		size := 0
		for _, m := range body.Messages {
			size += len(m.Content)
		}
		if size != w.prompt || body.Stream != w.stream {
			t.Errorf("%s: %d bytes of prompt, stream %v", w.name, size, body.Stream)
		}
	}
}

func TestAnswersAreValid(t *testing.T) {
	a := newAnswers()
	_, body, _ := strings.Cut(string(a.plain), "\r\n\r\n")
	if len(body) < 600 || len(body) > 1000 || !json.Valid([]byte(body)) {
		t.Errorf("the plain answer has %d bytes, valid %v", len(body), json.Valid([]byte(body)))
	}
	for _, parts := range [][][]byte{a.stream, a.metered} {
		for _, part := range parts[1 : len(parts)-2] {
			_, event, _ := strings.Cut(string(part), "data: ")
			if event, _, _ = strings.Cut(event, "\n"); !json.Valid([]byte(event)) {
				t.Errorf("not JSON: %s", event)
			}
		}
	}
}

// The upstream's answers pass the check of their workload, and only of theirs.
func TestCheck(t *testing.T) {
	read := func(w workload) string {
		server := startUpstream(t)
		resp, err := http.Post(server+"/v1/chat/completions", "application/json", strings.NewReader(w.body(shape{})))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	chat, stream := workloads[0], workloads[2]
	plain, events := read(chat), read(stream)
	for _, c := range []struct {
		name string
		w    workload
		code int
		body string
		ok   bool
	}{
		{"plain", chat, 200, plain, true},
		{"stream", stream, 200, events, true},
		{"status", chat, 503, plain, false},
		{"another answer", chat, 200, `{"choices":[]}`, false},
		{"a plain answer for a stream", stream, 200, plain, false},
		{"a stream cut short", stream, 200, events[:len(events)-20], false},
		{"a chunk lost", stream, 200, strings.Replace(events, chunkMark, "", 1), false},
	} {
		if err := c.w.check(c.code, []byte(c.body)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// startUpstream runs ServeUpstream for as long as the test process lives.
func startUpstream(t *testing.T) string {
	t.Helper()
	r, w := io.Pipe()
	go ServeUpstream(w) //nolint:errcheck // ends with the process
	line := make([]byte, 64)
	n, err := r.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line[:n]))
}

// A wrong answer ends the round with what was wrong.
func TestWrongAnswerEndsTheRound(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no credits", http.StatusPaymentRequired)
	}))
	defer server.Close()
	l := &load{workload: chat, address: strings.TrimPrefix(server.URL, "http://"), workers: 1, wires: 1, deadline: time.Now().Add(10 * time.Second)}
	l.requests = [][]byte{chat.request(&process{address: server.URL})}
	err := l.run(context.Background(), 0, nil, func() {})
	if err == nil || !strings.Contains(err.Error(), "answered 402: no credits") {
		t.Errorf("got %v", err)
	}
}

// A stall of the target makes every request late that was due meanwhile, not only the one that met it.
func TestOpenLoopCountsFromWhenDue(t *testing.T) {
	const stall = 300 * time.Millisecond
	plain := newAnswers().plain
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if served.Add(1) == 20 {
			time.Sleep(stall)
		}
		_, body, _ := strings.Cut(string(plain), "\r\n\r\n")
		io.WriteString(w, body) //nolint:errcheck // the client would see it
	}))
	defer server.Close()
	l := &load{workload: chat, address: strings.TrimPrefix(server.URL, "http://"), workers: 1, wires: 1, deadline: time.Now().Add(10 * time.Second)}
	l.requests = [][]byte{chat.request(&process{address: server.URL})}
	const every, total = 5 * time.Millisecond, 60
	l.schedule = &schedule{start: time.Now(), every: every, total: total}
	var taken []time.Duration
	if err := l.run(t.Context(), 0, &taken, func() {}); err != nil {
		t.Fatal(err)
	}
	late := 0
	for _, took := range taken {
		if took > stall/2 {
			late++
		}
	}
	if len(taken) != total || late < int(stall/every)/2-5 {
		t.Errorf("%d requests, %d of them late", len(taken), late)
	}
}

func TestWishes(t *testing.T) {
	for text, want := range map[string]wish{
		"":                               {},
		"[upstream delay=50ms] x":        {delay: 50 * time.Millisecond},
		"[upstream pace=1s,cut]":         {pace: time.Second, cut: true},
		"[upstream status=503,other=1] ": {status: 503},
		"[upstream cut,every=4]":         {cut: true, every: 4},
		"[upstream never ended":          {},
		strings.Repeat("x", 2000) + "[upstream cut]": {},
	} {
		if got := parseWish([]byte(text)); got != want {
			t.Errorf("%.40q: %+v, want %+v", text, got, want)
		}
	}
	for name, w := range map[string]workload{"delayed": chat.delayed(time.Second), "slow": slowStream(time.Second)} {
		if got := parseWish([]byte(w.body(shape{}))); got == (wish{}) {
			t.Errorf("%s: no wish in its body", name)
		}
	}
	a := newAnswers()
	failed, row := map[wish]int{}, 0
	for i := range 1200 { // of ten, as a hundred of a mixture are with their repetitions
		wished := wish{status: 500 + i%10, every: 4}
		got := a.spare(wished)
		if got != wished && got != (wish{every: 4}) {
			t.Fatalf("%+v of %+v", got, wished)
		}
		if row++; got == wished {
			failed[got]++
		} else {
			row = 0
		}
		if row > 2 {
			t.Fatalf("%d failures in a row", row)
		}
	}
	for w, n := range failed {
		if n < 15 || n > 45 {
			t.Errorf("of 120 requests that wish for %d, %d fail", w.status, n)
		}
	}
	if len(failed) != 10 {
		t.Errorf("failures are of %d kinds", len(failed))
	}
	if w := (wish{status: 500}); a.spare(w) != w {
		t.Error("a failure that is for all is left out")
	}
	if !asked([]byte(`{"messages":[],"stream": true}`), streamMark) || asked([]byte(`{"stream":false}`), streamMark) {
		t.Error("what asks for a stream is not what should")
	}
}
