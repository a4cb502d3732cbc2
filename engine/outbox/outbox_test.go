package outbox

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pointsman/pointsman/engine/upstream"
	"github.com/pointsman/pointsman/storage"
)

// memoryLog is a log with a request a page.
type memoryLog struct {
	mu      sync.Mutex
	first   int // the pages before are dropped
	records []storage.Usage
	alerted []storage.Alert
	marks   map[string][]byte
	broken  error
}

func (m *memoryLog) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		i := len(m.records)
		m.records = append(m.records, storage.Usage{Request: storage.RequestID{0, 1, byte(i >> 8), byte(i)}, Account: "acme", InputTokens: 3, OutputTokens: 4, Credits: 5})
	}
}

func (m *memoryLog) Forward(after storage.Place, _ time.Time, limit int) (records []storage.Usage, next storage.Place, missed uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := int(after.Page)
	if from < m.first {
		missed, from = uint64(m.first-from), m.first
	}
	to := min(len(m.records), from+limit)
	return m.records[from:to], storage.Place{Page: uint64(to), Ordinal: 1, Count: uint64(to)}, missed, m.broken
}

func (m *memoryLog) Alerts(after storage.Place, limit int) ([]storage.Alert, storage.Place, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from := int(after.Ordinal)
	to := min(len(m.alerted), from+limit)
	return m.alerted[from:to], storage.Place{Ordinal: uint16(to)}, nil
}

func (m *memoryLog) End() storage.Place {
	m.mu.Lock()
	defer m.mu.Unlock()
	return storage.Place{Page: uint64(len(m.records)), Count: uint64(len(m.records))}
}

func (m *memoryLog) Mark(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks[name] == nil {
		return nil, storage.ErrNotFound
	}
	return m.marks[name], nil
}

func (m *memoryLog) SaveMark(name string, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marks == nil {
		m.marks = map[string][]byte{}
	}
	m.marks[name] = value
	return nil
}

func testConfig(source Source, kind string) Config {
	return Config{
		URL: "http://receiver.test/hook", Secret: "whsec_c2VjcmV0", Kind: kind, Code: "requests", Batch: 10, Source: source,
		RetryFirst: time.Second, RetryMost: 5 * time.Minute, Logger: slog.New(slog.DiscardHandler),
	}
}

func startWith(t *testing.T, cfg Config, post func(p *post) (reply, error)) *Sender {
	t.Helper()
	s, err := newSender(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.post = post
	go s.run()
	return s
}

// TestDelivery: whatever the receiver does and however often the sender dies, everything arrives in order, and a message that is sent
// again is the same under the same id.
func TestDelivery(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			r, fate := rand.New(rand.NewPCG(seed, 5)), rand.New(rand.NewPCG(seed, 6))
			log := &memoryLog{}
			before := int(seed%2) * 7
			log.add(before) // before events are switched on
			sent := map[string]string{}
			var order []string
			var mu sync.Mutex
			receive := func(p *post) (reply, error) {
				mu.Lock()
				defer mu.Unlock()
				time.Sleep(time.Duration(fate.IntN(300)) * time.Millisecond)
				id := p.headers[0][1]
				if body, again := sent[id]; again && body != string(p.body) {
					t.Errorf("message %s has changed from %s to %s", id, body, p.body)
				}
				sent[id] = string(p.body)
				switch fate.IntN(4) {
				case 0:
					return reply{}, errors.New("no connection")
				case 1:
					return reply{status: 500 + fate.IntN(4)}, nil
				}
				var message struct {
					Data struct{ Requests []struct{ ID string } }
				}
				if err := json.Unmarshal(p.body, &message); err != nil {
					t.Fatal(err)
				}
				for _, one := range message.Data.Requests {
					if len(order) == 0 || order[len(order)-1] < one.ID {
						order = append(order, one.ID)
					} else if order[len(order)-len(message.Data.Requests)] > one.ID {
						t.Errorf("%s came after %s", one.ID, order[len(order)-1])
					}
				}
				if fate.IntN(3) == 0 {
					return reply{}, errors.New("the answer is lost")
				}
				return reply{status: 204}, nil
			}
			cfg := testConfig(log, "webhook")
			s := startWith(t, cfg, receive)
			for range 30 {
				log.add(r.IntN(30))
				time.Sleep(time.Duration(r.IntN(20)) * time.Second)
				if r.IntN(3) == 0 { // killed: what it remembered is gone
					s.Close()
					cfg.Batch = 1 + r.IntN(20)
					s = startWith(t, cfg, receive)
				}
			}
			time.Sleep(3 * time.Hour)
			s.Close()
			if len(order) != len(log.records)-before {
				t.Errorf("seed %d: %d of %d requests arrived", seed, len(order), len(log.records)-before)
			}
		})
	}
}

// TestBackoff: waits double up to their limit, never exceed what was asked for, and begin anew after a success.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		var at []time.Duration
		began := time.Now()
		answers := []reply{{status: 500}, {status: 500}, {status: 500}, {status: 429, retryAfter: "600"}, {status: 503, retryAfter: "999999"}, {status: 200}}
		s := startWith(t, testConfig(log, "webhook"), func(*post) (reply, error) {
			at = append(at, time.Since(began))
			return answers[len(at)-1], nil
		})
		log.add(1)
		time.Sleep(2 * time.Hour)
		var metrics strings.Builder
		s.WriteMetrics(&metrics)
		s.Close()
		if len(at) != len(answers) {
			t.Fatalf("%d attempts", len(at))
		}
		for i, bounds := range [][2]time.Duration{{time.Second / 2, time.Second}, {time.Second, 2 * time.Second}, {2 * time.Second, 4 * time.Second}, {600 * time.Second, 600 * time.Second}, {time.Hour, time.Hour}} {
			if wait := at[i+1] - at[i]; wait < bounds[0] || wait > bounds[1] {
				t.Errorf("after failure %d it waited %s", i+1, wait)
			}
		}
		for _, want := range []string{"lag_seconds 0\n", "pending 0\n", "delivered_total 1\n", "failures_total 5\n"} {
			if !strings.Contains(metrics.String(), want) {
				t.Errorf("metrics lack %q:\n%s", want, metrics.String())
			}
		}
	})
	if d := parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT", time.Date(2015, 10, 21, 7, 27, 30, 0, time.UTC)); d != 30*time.Second {
		t.Errorf("a date gives %s", d)
	}
	if d := parseRetryAfter("soon", time.Now()); d != 0 {
		t.Errorf("nonsense gives %s", d)
	}
}

// TestLago: events that Lago has are left out of the next attempt, others that it refuses are told and left out, and what retention
// took is counted.
func TestLago(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		var bodies []string
		answers := []reply{
			{status: 422, body: []byte(`{"status":422,"error_details":{"0":{"transaction_id":["value_already_exist"]},"2":{"code":["value_is_mandatory"]}}}`)},
			{status: 422, body: []byte(`{"status":422,"error_details":{"0":{"transaction_id":["value_already_exist"]}}}`)},
			{status: 200},
			{status: 422, body: []byte(`{"status":422,"error":"Unprocessable entity"}`)},
			{status: 200},
		}
		s := startWith(t, testConfig(log, "lago"), func(p *post) (reply, error) {
			if p.path != "/api/v1/events/batch" || p.headers[0] != [2]string{"Authorization", "Bearer whsec_c2VjcmV0"} {
				t.Errorf("%s with %v", p.path, p.headers)
			}
			bodies = append(bodies, string(p.body))
			return answers[len(bodies)-1], nil
		})
		log.add(4)
		time.Sleep(10 * time.Second)
		s.Close()
		log.add(5)
		log.first = 8
		s = startWith(t, testConfig(log, "lago"), s.post)
		time.Sleep(time.Minute)
		s.Close()
		var sent []string
		for _, body := range bodies {
			var message struct{ Events []lagoEvent }
			if err := json.Unmarshal([]byte(body), &message); err != nil {
				t.Fatal(err)
			}
			ids := ""
			for _, e := range message.Events {
				ids += e.TransactionID[6:8]
				if e.SubscriptionID != "acme" || e.Code != "requests" || e.Properties.Tokens != 7 || e.Properties.Credits != "0.000005" {
					t.Errorf("event %+v", e)
				}
			}
			sent = append(sent, ids)
		}
		if got := fmt.Sprint(sent); got != "[00010203 0103 03 08 08]" {
			t.Errorf("sent %s", got)
		}
		if s.missed.Load() != 4 {
			t.Errorf("%d are counted as missed", s.missed.Load())
		}
	})
}

// What the receiver refuses of the requests does not hold up alerts.
func TestAlertsPassRefusedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, alerts := &memoryLog{}, 0
		s := startWith(t, testConfig(log, "webhook"), func(p *post) (reply, error) {
			if strings.Contains(string(p.body), `"type":"alert"`) {
				alerts++
				return reply{status: 200}, nil
			}
			return reply{status: 413}, nil
		})
		log.add(3)
		log.mu.Lock()
		log.alerted = append(log.alerted, storage.Alert{Cap: storage.Cap{Spender: "a:acme", Budget: storage.Budget{Credits: 5e6}}, Percent: 80})
		log.mu.Unlock()
		time.Sleep(time.Hour)
		s.Close()
		if alerts != 1 {
			t.Errorf("%d alerts", alerts)
		}
	})
}

// Nor do refused alerts hold up requests.
func TestRequestsPassRefusedAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		s := startWith(t, testConfig(log, "webhook"), func(p *post) (reply, error) {
			if strings.Contains(string(p.body), `"type":"alert"`) {
				return reply{status: 400}, nil
			}
			return reply{status: 200}, nil
		})
		log.mu.Lock()
		log.alerted = append(log.alerted, storage.Alert{Cap: storage.Cap{Spender: "a:acme", Budget: storage.Budget{Credits: 5e6}}, Percent: 80})
		log.mu.Unlock()
		time.Sleep(time.Hour) // the next attempt is minutes away
		for range 20 {
			log.add(1)
			time.Sleep(10 * time.Second)
			var metrics strings.Builder
			s.WriteMetrics(&metrics)
			if !strings.Contains(metrics.String(), "pending 0\n") {
				t.Fatalf("requests wait:\n%s", metrics.String())
			}
		}
		s.Close()
	})
}

// A wait doubles up to the longest one, whatever the first is and however many failures there were.
func TestBackoffIsBounded(t *testing.T) {
	for _, first := range []time.Duration{10 * time.Millisecond, time.Second, 5 * time.Second, time.Hour} {
		s := &Sender{cfg: Config{RetryFirst: first, RetryMost: 5 * time.Minute}}
		for failed := range 200 {
			want := 5 * time.Minute
			if failed < 20 {
				want = min(want, first<<failed)
			}
			if wait := s.backoff(failed, io.EOF); wait < want/2 || wait > want {
				t.Errorf("after %d failures and %s at first: %s", failed, first, wait)
			}
		}
	}
}

func TestAlertsAndConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &memoryLog{}
		var body string
		s := startWith(t, testConfig(log, "webhook"), func(p *post) (reply, error) { body = string(p.body); return reply{status: 200}, nil })
		log.mu.Lock()
		log.alerted = append(log.alerted, storage.Alert{Cap: storage.Cap{Spender: "a:acme", Budget: storage.Budget{Period: storage.PeriodMonth, Credits: 5e6}}, Time: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC), Percent: 80})
		log.mu.Unlock()
		time.Sleep(time.Minute)
		s.Close()
		if !strings.Contains(body, `"type":"alert"`) || !strings.Contains(body, `"id":"a:acme/month/all/5/80/1777593600"`) || !strings.Contains(body, `"budget_credits":"5"`) {
			t.Errorf("the alert is %s", body)
		}
	})
	for name, change := range map[string]func(c *Config){
		"no secret": func(c *Config) { c.Secret = "" }, "an unknown kind": func(c *Config) { c.Kind = "pigeon" }, "a broken secret": func(c *Config) { c.Secret = "whsec_%" },
	} {
		cfg := testConfig(&memoryLog{}, "webhook")
		change(&cfg)
		if _, err := Start(cfg); err == nil || strings.Contains(err.Error(), "whsec_c2VjcmV0") {
			t.Errorf("%s gave %v", name, err)
		}
	}
}

// TestSignature: the signature is that of Standard Webhooks, by the example of its specification.
func TestSignature(t *testing.T) {
	k, err := newKind(Config{Kind: "webhook", Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil || string(k.(webhook).key) != string(key) {
		t.Fatalf("the key is %q, %v", k.(webhook).key, err)
	}
	if got := sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`)); got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("the signature is %s", got)
	}
}

// TestAddress: a receiver at a private address is refused when it is dialled, unless that is allowed; and the sender ends while a
// receiver hangs.
func TestAddress(t *testing.T) {
	hang := make(chan struct{})
	reached := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		reached <- struct{}{}
		<-hang
	}))
	defer server.Close()
	defer close(hang)
	for _, allowed := range []bool{false, true} {
		log := &memoryLog{}
		cfg := testConfig(log, "webhook")
		cfg.URL, cfg.AllowPrivate, cfg.Timeout = server.URL, allowed, time.Minute
		target, err := upstream.New(upstream.Config{}).Target(cfg.URL, upstream.TargetOptions{AllowPrivate: allowed})
		if err != nil {
			t.Fatal(err)
		}
		if !allowed {
			s, err := newSender(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.send(target, &post{path: "/"}); !errors.Is(err, upstream.ErrAddress) {
				t.Errorf("a private address gave %v", err)
			}
			continue
		}
		log.SaveMark("events.usage", []byte("{}"))
		log.add(3)
		s, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		<-reached
		s.Close()
	}
}
