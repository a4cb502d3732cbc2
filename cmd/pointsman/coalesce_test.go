package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pointsman/pointsman/engine/upstream/scripted"
	"github.com/pointsman/pointsman/storage"
)

const coalesceOn = "[cache]\ncoalesce = true\n"

// reply is what one client got.
type clientReply struct {
	status int
	header http.Header
	body   string
	err    error
}

// atOnce sends the same request n times and calls then once one of them leads and the others follow.
func atOnce(t *testing.T, g *testGateway, c *client, n int, path, body string, then func()) []clientReply {
	t.Helper()
	replies := make([]clientReply, n)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() {
			resp, err := c.do("POST", path, []byte(body))
			if err != nil {
				replies[i].err = err
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			replies[i] = clientReply{resp.StatusCode, resp.Header, string(text), err}
		})
	}
	waitForFollowers(t, g, n-1)
	then()
	all.Wait()
	return replies
}

func waitForFollowers(t *testing.T, g *testGateway, n int) {
	t.Helper()
	waitFor(t, "all who follow", func() bool { return metric(t, g.admin, "pointsman_cache_following") == float64(n) })
}

// held answers as usual once release is closed.
func held(release chan struct{}) func(*scripted.Request) *scripted.Reply {
	return func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Release = time.Minute, release
		return reply
	}
}

// Two hundred same requests at once ask the provider once. All get its answer; one pays the price, the others that of a hit, and each
// has its own record.
func TestSameRequestsAskOnce(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name, path, body, toml string
		share                  storage.Credits // of the price, in quarters
	}{
		{"buffered", chatPath, inDialect(chatPath, "m", "x", false), coalesceOn, 0},
		{"streamed", chatPath, inDialect(chatPath, "m", "x", true), coalesceOn, 0},
		{"streamed messages", messagesPath, inDialect(messagesPath, "m", "x", true), coalesceOn, 0},
		{"streamed responses", "/v1/responses", inDialect("/v1/responses", "m", "x", true), coalesceOn, 0},
		{"for a quarter", chatPath, inDialect(chatPath, "m", "x", false), coalesceOn + "hit_price = 0.25\n", 1},
		{"a stream for a quarter", chatPath, inDialect(chatPath, "m", "x", true), coalesceOn + "hit_price = 0.25\n", 1},
		{"with the cache", chatPath, inDialect(chatPath, "m", "x", true), coalesceOn + "enabled = true\n", 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			const n = 200
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+x.toml, nil)
			release := make(chan struct{})
			up[0].Script(held(release))
			replies := atOnce(t, g, g.api, n, x.path, x.body, func() { close(release) })
			counts, answers, leader := map[string]int{}, map[string]int{}, ""
			for _, r := range replies {
				if r.status != 200 || r.err != nil {
					t.Fatalf("%d %v: %s", r.status, r.err, r.body)
				}
				state := r.header.Get("X-Pointsman-Cache")
				counts[state]++
				answers[unpriced(r.body)]++
				if state == "miss" {
					leader = r.header.Get("X-Request-Id")
				}
			}
			for _, r := range replies {
				if got := r.header.Get("X-Pointsman-Cache-Origin"); r.header.Get("X-Pointsman-Cache") != "miss" && got != leader {
					t.Fatalf("made for %q, want %q", got, leader)
				}
			}
			if up[0].Count() != 1 || counts["miss"] != 1 || counts["coalesced"] != n-1 || len(answers) != 1 {
				t.Errorf("the provider was asked %d times; %v, %d different answers", up[0].Count(), counts, len(answers))
			}
			var usage []map[string]any
			waitFor(t, "all records", func() bool { usage = g.api.allUsage(t); return len(usage) >= n })
			seen, charged, price := map[any]bool{}, storage.Credits(0), storage.Credits(0)
			for _, u := range usage {
				seen[u["request_id"]] = true
				credits, err := storage.ParseCredits(u["credits"].(string))
				if err != nil || u["outcome"] != "ok" || u["output_tokens"] != float64(scripted.OutputTokens) || (u["cache"] == "hit") == (u["request_id"] == leader) {
					t.Fatalf("usage %v: %v", u, err)
				}
				charged += credits
				if u["request_id"] == leader {
					price = credits
				}
			}
			want := price + (n-1)*((x.share*price+3)/4)
			if len(usage) != n || len(seen) != n || charged != want || price == 0 {
				t.Errorf("%d records of %d requests; %s charged, want %s at a price of %s", len(usage), len(seen), charged, want, price)
			}
			balance, err := storage.ParseCredits(g.api.balance(t))
			if err != nil || balance != 1000*storage.CreditsPerCredit-want {
				t.Errorf("the balance is %s: %v", balance, err)
			}
			if hits := metric(t, g.admin, `pointsman_cache_requests_total{result="coalesced",reason=""}`); hits != n-1 {
				t.Errorf("%v are counted", hits)
			}
		})
	}
}

// Nobody waits for the answer to another tenant, nor to another request, nor if the client or the operator does not want it.
func TestOthersAreNotCoalesced(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	toml = strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)
	body := inDialect(chatPath, "m", "x", false)
	for name, x := range map[string]struct {
		toml   string
		second func(g *testGateway) (*client, string, http.Header)
		asked  int64
	}{
		"another account": {coalesceOn, func(g *testGateway) (*client, string, http.Header) { return g.account("other"), body, nil }, 2},
		"another key of the account, scope key": {coalesceOn + "scope = \"key\"\n", func(g *testGateway) (*client, string, http.Header) {
			var key keyEntry
			if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "default"}, &key); err != nil {
				t.Fatal(err)
			}
			return g.client(g.api.base, key.Key), body, nil
		}, 2},
		"another key of the account": {coalesceOn, func(g *testGateway) (*client, string, http.Header) {
			var key keyEntry
			if err := g.admin.call("POST", "/api/v1/admin/keys", map[string]string{"account": "default"}, &key); err != nil {
				t.Fatal(err)
			}
			return g.client(g.api.base, key.Key), body, nil
		}, 1},
		"another request": {coalesceOn, func(g *testGateway) (*client, string, http.Header) {
			return g.api, inDialect(chatPath, "m", "y", false), nil
		}, 2},
		"streamed": {coalesceOn, func(g *testGateway) (*client, string, http.Header) {
			return g.api, inDialect(chatPath, "m", "x", true), nil
		}, 2},
		"not wanted": {coalesceOn, func(g *testGateway) (*client, string, http.Header) {
			return g.api, body, header("X-Pointsman-Cache", "off")
		}, 2},
		"a new one is": {coalesceOn, func(g *testGateway) (*client, string, http.Header) {
			return g.api, body, header("Cache-Control", "no-cache")
		}, 2},
		"not configured": {"", func(g *testGateway) (*client, string, http.Header) { return g.api, body, nil }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, toml+x.toml, nil)
			release := make(chan struct{})
			up[0].Script(held(release))
			before := up[0].Count()
			c, text, h := x.second(g)
			if h == nil {
				h = http.Header{}
			}
			h.Set("Authorization", "Bearer "+c.key)
			var all sync.WaitGroup
			all.Go(func() { g.api.post(t, chatPath, []byte(body)) })
			waitFor(t, "the first one", func() bool { return up[0].Count() == before+1 })
			all.Go(func() { c.raw(t, "POST", chatPath, text, h) })
			if x.asked == 1 {
				waitForFollowers(t, g, 1)
			}
			waitFor(t, "both", func() bool { return up[0].Count() == before+x.asked })
			close(release)
			all.Wait()
			if asked := up[0].Count() - before; asked != x.asked {
				t.Errorf("the provider was asked %d times, want %d", asked, x.asked)
			}
		})
	}
}

// leaderAndFollowers has one request ask the provider, which holds its answer, and n more wait for it.
func leaderAndFollowers(t *testing.T, g *testGateway, up *scripted.Server, n int, stream bool) (leader net.Conn, followers []net.Conn) {
	t.Helper()
	body, before := inDialect(chatPath, "m", "x", stream), up.Count()
	leader = sendAndKeep(t, g, g.firstKey, chatPath, body)
	waitFor(t, "the leader's request", func() bool { return up.Count() == before+1 })
	for range n {
		followers = append(followers, sendAndKeep(t, g, g.firstKey, chatPath, body))
	}
	waitForFollowers(t, g, n)
	t.Cleanup(func() { closeAll(append(followers, leader)) })
	return leader, followers
}

// answerOn reads an answer from a connection.
func answerOn(t *testing.T, conn net.Conn) (int, http.Header, string, error) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // the read tells
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Error(err)
		return 0, nil, "", err
	}
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(text), err
}

// A leader whose client leaves goes on for those who follow; once all have left, the provider's call is cut.
func TestLeaderLeaves(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("stream %v, all leave %v", stream, all), func(t *testing.T) {
				up, toml := upstreams(t, 1)
				g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn, nil)
				release := make(chan struct{})
				up[0].Script(held(release))
				leader, followers := leaderAndFollowers(t, g, up[0], 5, stream)
				leader.Close()
				time.Sleep(time.Second) // it is noticed
				asked := up[0].Requests()[0]
				if !asked.GoneAt().IsZero() {
					t.Fatal("the provider's call was cut with its leader's client")
				}
				if all {
					closeAll(followers)
					select {
					case <-asked.Gone():
					case <-time.After(10 * time.Second):
						t.Error("the provider still works for nobody")
					}
					close(release)
				} else {
					close(release)
					for _, conn := range followers {
						status, h, text, err := answerOn(t, conn)
						if status != 200 || err != nil || h.Get("X-Pointsman-Cache") != "coalesced" || !strings.Contains(text, "upstream") {
							t.Errorf("%d %v %v: %s", status, err, h, text)
						}
					}
				}
				waitFor(t, "the end of all", func() bool { return g.guard.Stats().Running == 0 && g.api.balanceHeld(t) == "0" })
				var usage []map[string]any
				waitFor(t, "all records", func() bool { usage = g.api.allUsage(t); return len(usage) == 6 })
				outcomes := map[any]int{}
				for _, u := range usage {
					outcomes[u["outcome"]]++
				}
				want := map[any]int{"ok": 6}
				if all {
					want = map[any]int{"client_abort": 6}
				}
				if fmt.Sprint(outcomes) != fmt.Sprint(want) || up[0].Count() != 1 {
					t.Errorf("outcomes %v, want %v; %d calls", outcomes, want, up[0].Count())
				}
			})
		}
	}
}

// A leader that fails does not fail its followers: one of them asks anew, for the others too. If that fails again, they have failed.
func TestLeaderFails(t *testing.T) {
	t.Parallel()
	for _, stream := range []bool{false, true} {
		for _, fails := range []int64{1, 1000} {
			t.Run(fmt.Sprintf("stream %v, %d calls fail", stream, fails), func(t *testing.T) {
				up, toml := upstreams(t, 1)
				g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn+"[health]\nprobe = \"off\"\n[retries]\nattempts = 1\n", nil)
				const n = 20
				first, second := make(chan struct{}), make(chan struct{})
				up[0].Script(func(r *scripted.Request) *scripted.Reply {
					reply := r.Default()
					if r.Seq <= fails {
						reply = &scripted.Reply{Status: 400, Body: []byte(`{"error":{"message":"not this time"}}`)}
					}
					reply.HoldBeforeHeaders, reply.Release = time.Minute, first
					if r.Seq > 1 {
						reply.Release = second
					}
					return reply
				})
				replies := atOnce(t, g, g.api, n, chatPath, inDialect(chatPath, "m", "x", stream), func() {
					close(first)
					waitFor(t, "another leader", func() bool { return up[0].Count() == 2 })
					waitForFollowers(t, g, n-2)
					close(second)
				})
				counts := map[int]int{}
				for _, r := range replies {
					counts[r.status]++
				}
				var usage []map[string]any
				waitFor(t, "all records", func() bool { usage = g.api.allUsage(t); return len(usage) == n })
				outcomes := map[any]int{}
				for _, u := range usage {
					outcomes[u["outcome"]]++
				}
				failed := int(min(fails, n))
				if outcomes["upstream_error"] != failed || outcomes["ok"] != n-failed {
					t.Errorf("outcomes %v", outcomes)
				}
				switch calls := up[0].Count(); {
				case fails == 1 && (counts[200] != n-1 || calls != 2):
					t.Errorf("%v after %d calls", counts, calls)
				case fails > 1 && (counts[400] != n || calls != 2):
					t.Errorf("%v after %d calls", counts, calls)
				}
			})
		}
	}
}

// A stream is followed live, from its beginning by those who come later too, and one that breaks off does not end like a success: who
// only followed pays nothing.
func TestFollowedStream(t *testing.T) {
	for _, breaks := range []bool{false, true} {
		t.Run(fmt.Sprintf("it breaks off: %v", breaks), func(t *testing.T) {
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn+"hit_price = 0.5\n", nil)
			release := make(chan struct{})
			up[0].Script(func(r *scripted.Request) *scripted.Reply {
				reply := &scripted.Reply{Chunks: scripted.OpenAIChunks("x", []string{"first", "second", "third"}, scripted.UsageFinal), Interval: time.Minute, Release: release}
				reply.Chunks[0] = append(reply.Chunks[0], reply.Chunks[1]...) // the first content comes at once
				reply.Chunks = append(reply.Chunks[:1], reply.Chunks[2:]...)
				if breaks {
					reply.Cut, reply.CutAfter = scripted.CutRST, 2
				}
				return reply
			})
			var streams []*bufio.Reader
			var conns []*http.Response
			for range 3 { // each comes when the one before has the first content
				resp, err := g.api.do("POST", chatPath, []byte(inDialect(chatPath, "m", "x", true)))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				r := bufio.NewReader(resp.Body)
				for line := ""; !strings.Contains(line, "first"); {
					if line, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
				streams, conns = append(streams, r), append(conns, resp)
			}
			close(release)
			for i, r := range streams {
				rest, err := io.ReadAll(r)
				whole := strings.Contains(string(rest), "third") && strings.HasSuffix(string(rest), "data: [DONE]\n\n") && err == nil
				broken := strings.Contains(string(rest), "provider_stream_error") && !strings.Contains(string(rest), "[DONE]") && err != nil
				if breaks && !broken || !breaks && !whole {
					t.Errorf("stream %d: %v: %s", i, err, rest)
				}
				if state := conns[i].Header.Get("X-Pointsman-Cache"); (state == "coalesced") != (i > 0) {
					t.Errorf("stream %d: %q", i, state)
				}
			}
			if n := up[0].Count(); n != 1 {
				t.Errorf("%d calls", n)
			}
			var usage []map[string]any
			waitFor(t, "all records", func() bool { usage = g.api.allUsage(t); return len(usage) == 3 })
			free := 0
			for _, u := range usage {
				if u["credits"] == "0" {
					free++
				}
			}
			if free != map[bool]int{true: 2, false: 0}[breaks] || g.api.balanceHeld(t) != "0" {
				t.Errorf("%d of 3 paid nothing: %v", free, usage)
			}
		})
	}
}

// The time that a follower waits for the answer is none of the gateway's own.
func TestWaitingIsNoOverhead(t *testing.T) {
	for _, stream := range []bool{false, true} {
		t.Run(fmt.Sprintf("stream %v", stream), func(t *testing.T) {
			t.Parallel()
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn, nil)
			release := make(chan struct{})
			up[0].Script(held(release))
			_, followers := leaderAndFollowers(t, g, up[0], 1, stream)
			time.Sleep(2 * time.Second)
			close(release)
			_, h, _, _ := answerOn(t, followers[0])
			if us, err := strconv.Atoi(h.Get("X-Pointsman-Overhead-Us")); err != nil || us >= 2_000_000 {
				t.Errorf("%d µs, %v", us, err)
			}
		})
	}
}

// After a reload nobody follows who came before: prices and models may be others.
func TestNobodyFollowsBeyondAReload(t *testing.T) {
	up, toml := upstreams(t, 1)
	toml = strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1) + coalesceOn
	g := newGateway(t, toml, nil)
	release := make(chan struct{})
	up[0].Script(held(release))
	var all sync.WaitGroup
	for n := range 2 {
		all.Go(func() {
			if resp, text := g.api.post(t, chatPath, []byte(inDialect(chatPath, "m", "x", false))); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, text)
			}
		})
		waitFor(t, "a call of its own", func() bool { return up[0].Count() == int64(n+1) })
		if _, err := g.reloaded(listening + toml); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	all.Wait()
}

// longStream is a stream of about so many megabytes, which the provider sends at once.
func longStream(megabytes int) *scripted.Reply {
	texts := make([]string, megabytes*50)
	for i := range texts {
		texts[i] = strings.Repeat("some words in one of many pieces ", 600)
	}
	return &scripted.Reply{Chunks: scripted.OpenAIChunks("x", texts, scripted.UsageFinal)}
}

// slowConn is a connection of a client that takes little at a time, on which the body was sent.
func slowConn(t *testing.T, g *testGateway, body string) net.Conn {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }) //nolint:errcheck // a larger one will do
	}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(g.api.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	post(conn, g.firstKey, body)
	return conn
}

// A leader whose client does not read holds nobody up. What is kept for it is bounded: if the stream is longer, it gets no more; if
// nobody else follows, its provider waits.
func TestLeaderReadsSlowly(t *testing.T) {
	t.Parallel()
	const megabytes = 16
	for name, followed := range map[string]bool{"followed": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			up, toml := upstreams(t, 1)
			g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn+"max_entry_kb = 128\n", nil)
			release := make(chan struct{})
			up[0].Script(func(*scripted.Request) *scripted.Reply {
				reply := longStream(megabytes)
				reply.HoldBeforeHeaders, reply.Release = time.Minute, release
				return reply
			})
			body := inDialect(chatPath, "m", "x", true)
			leader := slowConn(t, g, body)
			waitFor(t, "the leader's request", func() bool { return up[0].Count() == 1 })
			if followed {
				follower := sendAndKeep(t, g, g.firstKey, chatPath, body)
				defer follower.Close()
				waitForFollowers(t, g, 1)
				close(release)
				if status, _, text, err := answerOn(t, follower); status != 200 || err != nil || len(text) < megabytes<<19 || !strings.HasSuffix(text, "data: [DONE]\n\n") {
					t.Errorf("the follower: %d %v, %d bytes", status, err, len(text))
				}
			} else {
				close(release)
				waitFor(t, "a full window", func() bool { return metric(t, g.admin, "pointsman_cache_followed_bytes") > 64<<10 })
			}
			if n := metric(t, g.admin, "pointsman_cache_followed_bytes"); n > 256<<10 {
				t.Errorf("%v bytes are kept", n)
			}
			status, _, text, err := answerOn(t, leader)
			switch whole := err == nil && len(text) > megabytes<<19 && strings.HasSuffix(text, "data: [DONE]\n\n"); {
			case status != 200:
				t.Errorf("the leader: %d", status)
			case followed && (err == nil || strings.Contains(text, "[DONE]")):
				t.Errorf("the leader got %d bytes that look whole: %v", len(text), err)
			case !followed && !whole:
				t.Errorf("the leader got %d bytes: %v", len(text), err)
			}
			waitFor(t, "the end of all", func() bool { return g.guard.Stats().Running == 0 && g.api.balanceHeld(t) == "0" })
			if n := metric(t, g.admin, "pointsman_cache_followed_bytes"); n != 0 {
				t.Errorf("%v bytes are left", n)
			}
		})
	}
}

// A stream whose client has a limit of its own leads nobody, for it may end for all.
func TestLimitedStreamLeadsNobody(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn, nil)
	release := make(chan struct{})
	up[0].Script(held(release))
	h := http.Header{"X-Pointsman-Timeout-Ms": {"60000"}, "Authorization": {"Bearer " + g.firstKey}}
	var all sync.WaitGroup
	for n := range 2 {
		all.Go(func() {
			if resp, text := g.api.raw(t, "POST", chatPath, inDialect(chatPath, "m", "x", true), h); resp.StatusCode != 200 || resp.Header.Get("X-Pointsman-Cache") != "miss" {
				t.Errorf("%d %v %s", resp.StatusCode, resp.Header, text)
			}
		})
		waitFor(t, "a call of its own", func() bool { return up[0].Count() == int64(n+1) })
	}
	close(release)
	all.Wait()
}

// A follower waits no longer than its client's own limit, and the leader is not concerned.
func TestFollowerHasItsOwnLimit(t *testing.T) {
	up, toml := upstreams(t, 1)
	g := newGateway(t, strings.Replace(toml, "timeout_seconds = 2", "timeout_seconds = 60", 1)+coalesceOn, nil)
	release := make(chan struct{})
	up[0].Script(held(release))
	var all sync.WaitGroup
	all.Go(func() {
		if resp := g.api.within(t, "x", ""); resp.StatusCode != 200 {
			t.Errorf("the leader: %d", resp.StatusCode)
		}
	})
	waitFor(t, "the leader", func() bool { return up[0].Count() == 1 })
	if resp := g.api.within(t, "x", "100"); resp.StatusCode != 504 {
		t.Errorf("the follower: %d", resp.StatusCode)
	}
	close(release)
	all.Wait()
	if up[0].Count() != 1 {
		t.Errorf("%d calls", up[0].Count())
	}
}

// Whoever leaves whenever, every request ends once and nothing is left.
func TestHammerFollowers(t *testing.T) {
	t.Parallel()
	up, toml := upstreams(t, 1)
	g := newGateway(t, toml+coalesceOn+"hit_price = 0.5\n", nil)
	up[0].Script(func(r *scripted.Request) *scripted.Reply {
		reply := r.Default()
		reply.HoldBeforeHeaders, reply.Interval = time.Duration(rand.IntN(20))*time.Millisecond, time.Duration(rand.IntN(10))*time.Millisecond
		switch rand.IntN(8) {
		case 0:
			reply.Status, reply.Chunks, reply.Body = 500, nil, []byte("{}")
		case 1:
			reply.Cut, reply.CutAfter = scripted.CutRST, rand.IntN(6)
		}
		return reply
	})
	var all sync.WaitGroup
	const clients, each = 40, 15
	for range clients {
		all.Go(func() {
			for range each {
				conn := sendAndKeep(t, g, g.firstKey, chatPath, inDialect(chatPath, "m", fmt.Sprint(rand.IntN(2)), rand.IntN(2) == 0))
				if rand.IntN(3) == 0 {
					time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond)
				} else {
					conn.SetReadDeadline(time.Now().Add(30 * time.Second)) //nolint:errcheck // the read tells
					if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
						t.Error(err)
					} else {
						io.Copy(io.Discard, resp.Body) //nolint:errcheck // some break off
					}
				}
				conn.Close()
			}
		})
	}
	all.Wait()
	waitFor(t, "the end of all", func() bool { return g.guard.Stats().Running == 0 && g.api.balanceHeld(t) == "0" })
	var usage []map[string]any
	waitFor(t, "all records", func() bool { usage = g.api.allUsage(t); return len(usage) == clients*each })
	ids, hits := map[any]bool{}, 0
	for _, u := range usage {
		ids[u["request_id"]] = true
		if u["cache"] == "hit" {
			hits++
		}
	}
	t.Logf("%d requests, %d of which followed; %d calls", len(ids), hits, up[0].Count())
	if len(ids) != clients*each || hits == 0 {
		t.Errorf("%d requests have a record, %d followed", len(ids), hits)
	}
}
